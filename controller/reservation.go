package controller

import (
	"sync"

	"github.com/replicante-io/playbooks/controller/policy"
	"github.com/replicante-io/playbooks/record"
)

// reservations say which run's action a node is busy with: one action at a time per node, across runs.
type reservations struct {
	mu    sync.Mutex
	nodes map[record.NodeKey]*reservation
}

type reservation struct {
	runner  *runner
	waiting []*runner
}

// reserve takes a node for a run, or tells who has it; the run is told by Freed when it may try again.
func (r *reservations) reserve(key record.NodeKey, by *runner) (policy.Holder, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	held := r.nodes[key]
	if held == nil {
		r.nodes[key] = &reservation{runner: by}
		return policy.Holder{}, true
	}
	if held.runner.id == by.id {
		held.runner = by
		return policy.Holder{}, true
	}
	for _, waiting := range held.waiting {
		if waiting == by {
			return policy.Holder{RunID: held.runner.id, Unsettled: held.runner.ended.Load()}, false
		}
	}
	held.waiting = append(held.waiting, by)
	return policy.Holder{RunID: held.runner.id, Unsettled: held.runner.ended.Load()}, false
}

// release gives a node back and tells who waits for it.
func (r *reservations) release(key record.NodeKey, by *runner) {
	r.mu.Lock()
	held := r.nodes[key]
	if held == nil || held.runner.id != by.id {
		r.mu.Unlock()
		return
	}
	delete(r.nodes, key)
	r.mu.Unlock()
	for _, waiting := range held.waiting {
		waiting.mailbox.Freed(key.Node)
	}
}

// restore makes what a run holds exactly the nodes that its records say are busy.
func (r *reservations) restore(by *runner, busy map[string]bool) {
	for node := range busy {
		r.reserve(record.NodeKey{Cluster: by.cluster, Node: node}, by)
	}
	var idle []record.NodeKey
	r.mu.Lock()
	for key, held := range r.nodes {
		if held.runner.id == by.id && !busy[key.Node] {
			idle = append(idle, key)
		}
	}
	r.mu.Unlock()
	for _, key := range idle {
		r.release(key, by)
	}
}

// ended tells the runs that wait for a node of by that nobody waits for its action any more.
func (r *reservations) ended(by *runner) {
	r.mu.Lock()
	waiting := map[*runner][]string{}
	for key, held := range r.nodes {
		if held.runner == by {
			for _, other := range held.waiting {
				waiting[other] = append(waiting[other], key.Node)
			}
		}
	}
	r.mu.Unlock()
	for other, names := range waiting {
		for _, name := range names {
			other.mailbox.Freed(name)
		}
	}
}
