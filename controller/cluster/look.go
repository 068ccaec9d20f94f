package cluster

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/replicante-io/playbooks/record"
)

const (
	// firstPatience is how long a look waits for an agent; where its last answer took longer than half of that, it waits slowPatience
	// times as long as that took.
	firstPatience = 3 * time.Second
	slowPatience  = 2
	// silentPatience is how long it waits for one that has not answered to the end of its last question.
	silentPatience = 500 * time.Millisecond
	// lookEvery is how often it is looked whether a question could be put.
	lookEvery = 50 * time.Millisecond
)

// Look asks the agents of nodes of one cluster again and again. A question that an agent does not answer soon goes on, and keeps
// neither the others' answers back nor other questions from being put: the facts of a look are never older than its slowest prompt
// agent. It is for one goroutine.
type Look struct {
	inventory *Inventory
	cluster   string
	open      map[string]*question // that went on when a round ended
}

// question is one to one agent.
type question struct {
	node   record.Node
	called atomic.Pointer[time.Time] // nil while it cannot be put
	took   time.Duration
	done   chan struct{}
}

// NewLook makes a look at nodes of a cluster.
func (v *Inventory) NewLook(cluster string) *Look {
	return &Look{inventory: v, cluster: cluster, open: map[string]*question{}}
}

// Round asks the agents of nodes what they are like now. All facts were observed since the first round began. A node whose agent does
// not answer is UNREACHABLE, among several also one that answers later than the others: a later round has its answer. Round returns
// early, with nothing, when ctx ends, which has to be that of all rounds.
func (l *Look) Round(ctx context.Context, names []string) []record.Node {
	v := l.inventory
	nodes := v.of(l.cluster, names)
	questions := make([]*question, len(nodes))
	var round sync.WaitGroup
	for i := range nodes {
		if q := l.open[nodes[i].NodeID]; q != nil && q.node.AgentURL == nodes[i].AgentURL {
			questions[i] = q
			continue
		}
		questions[i] = &question{node: nodes[i], done: make(chan struct{})}
		patience := time.Duration(0) // a node alone keeps nobody back
		if len(nodes) > 1 {
			patience = v.patience(nodes[i].Key())
		}
		round.Add(1)
		v.limiter.Do(ctx, l.cluster, func() {
			defer round.Done()
			go questions[i].put(ctx, v)
			questions[i].await(patience)
		}, round.Done)
	}
	round.Wait()
	if ctx.Err() != nil {
		return nil
	}
	var answered []*record.Node
	for i, q := range questions {
		name := nodes[i].NodeID
		select {
		case <-q.done:
			delete(l.open, name)
			v.learn(q)
			nodes[i] = q.node
			answered = append(answered, &nodes[i])
		default:
			l.open[name] = q
			nodes[i] = v.unanswered(nodes[i])
		}
	}
	v.keep(answered)
	return nodes
}

// put asks the agent.
func (q *question) put(ctx context.Context, v *Inventory) {
	defer close(q.done)
	begun := time.Now()
	v.askNode(ctx, &q.node, &q.called)
	q.took = time.Since(begun)
}

// await waits for the answer, not longer than the patience, where there is one, after the agent was called.
func (q *question) await(patience time.Duration) {
	if patience == 0 {
		<-q.done
		return
	}
	for {
		left := patience
		if called := q.called.Load(); called != nil {
			if left -= time.Since(*called); left <= 0 {
				return
			}
		} else {
			left = lookEvery
		}
		select {
		case <-q.done:
			return
		case <-time.After(left):
		}
	}
}

// of is what is known of nodes.
func (v *Inventory) of(cluster string, names []string) []record.Node {
	v.mu.Lock()
	defer v.mu.Unlock()
	nodes := make([]record.Node, len(names))
	for i, name := range names {
		nodes[i] = record.Node{NodeID: name, ClusterID: cluster}
		if known := v.nodes[cluster][name]; known != nil {
			nodes[i] = *known
		}
	}
	return nodes
}

// patience is how long a node's agent is waited for beside others.
func (v *Inventory) patience(node record.NodeKey) time.Duration {
	v.mu.Lock()
	defer v.mu.Unlock()
	if took, known := v.took[node]; known {
		return took
	}
	return firstPatience
}

// learn notes how long an agent took, where that is unusual.
func (v *Inventory) learn(q *question) {
	v.mu.Lock()
	defer v.mu.Unlock()
	switch {
	case q.node.Status == record.StatusUnreachable:
		v.took[q.node.Key()] = silentPatience
	case slowPatience*q.took > firstPatience:
		v.took[q.node.Key()] = slowPatience * q.took
	default:
		delete(v.took, q.node.Key())
	}
}

// unanswered is a node whose agent has not answered yet: nothing is known of what it is like now.
func (v *Inventory) unanswered(n record.Node) record.Node {
	now := v.Clock.Now()
	n.ObservedTS, n.Status, n.Role, n.Shards = &now, record.StatusUnreachable, "", nil
	n.StatusReason = record.CleanText(fmt.Sprintf("its agent (%s) has not answered yet", n.AgentURL), record.MaxReason)
	return n
}
