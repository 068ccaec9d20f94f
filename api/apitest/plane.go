// Package apitest is a control plane for the tests of what talks to one: the real interface on a store in memory, with
// an owner that only records what it is told. The test moves its runs.
package apitest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/google/uuid"
	"github.com/hashicorp/go-hclog"

	"github.com/replicante-io/playbooks/api"
	"github.com/replicante-io/playbooks/election"
	"github.com/replicante-io/playbooks/internal/transport"
	"github.com/replicante-io/playbooks/record"
	"github.com/replicante-io/playbooks/store"
	"github.com/replicante-io/playbooks/store/storetest"
)

// Playbook is a playbook that may be applied; its name is restart.
const Playbook = `apiVersion: replicante.io/v1
kind: Playbook
metadata: {name: restart, version: "1"}
spec:
  params:
    - {name: grace, type: string, default: none}
    - {name: count, type: int, default: 1}
  stages:
    - name: restart
      steps:
        - {name: restart, action: agent.replicante.io/test.success}
`

// Plane is a control plane of replicas on one store. The replica that leads is the owner of its runs.
type Plane struct {
	*storetest.Memory
	t    testing.TB
	term int64

	mu       sync.Mutex
	leader   election.Leader
	requests []record.Request
	starts   []record.RunRequest
	commands []record.Command
	refuse   error
	waits    string // the owner's runs wait for the store
}

// New makes a plane that knows the nodes node-1 to node-3 of the cluster demo. Nobody leads it.
func New(t testing.TB) *Plane {
	p := &Plane{Memory: storetest.NewMemory(), t: t}
	term, err := p.BeginTerm(t.Context(), 0)
	p.must(err)
	p.term = term.Term
	p.Nodes("demo", "node-1", "node-2", "node-3")
	return p
}

func (p *Plane) must(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

// Nodes makes nodes known.
func (p *Plane) Nodes(cluster string, names ...string) {
	p.t.Helper()
	now := record.Now()
	nodes := make([]record.Node, len(names))
	for i, name := range names {
		nodes[i] = record.Node{ClusterID: cluster, NodeID: name, AgentURL: "http://" + name, Present: true,
			Status: record.StatusHealthy, ObservedTS: &now}
	}
	p.must(p.SaveNodes(context.Background(), p.term, nodes))
}

// Replica is the interface of one replica; change may change its configuration.
func (p *Plane) Replica(name string, change ...func(*api.Config)) http.Handler {
	config := api.Config{Store: p.Memory, Name: name, Instance: name + "-instance", Version: "test", Log: hclog.NewNullLogger(),
		Leader: func() (election.Leader, bool) {
			p.mu.Lock()
			defer p.mu.Unlock()
			return p.leader, p.leader.Name != ""
		},
		Owner: func() api.Owner {
			p.mu.Lock()
			defer p.mu.Unlock()
			if p.leader.Name != name {
				return nil
			}
			return p
		},
	}
	for _, change := range change {
		change(&config)
	}
	return transport.NewServer(transport.ServerConfig{Handler: api.New(config), MaxBody: api.MaxBody}).Handler()
}

// Serve starts a replica on a port of its own.
func (p *Plane) Serve(name string, change ...func(*api.Config)) *httptest.Server {
	server := httptest.NewServer(p.Replica(name, change...))
	p.t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	return server
}

// Elect makes a replica lead; "" makes none.
func (p *Plane) Elect(name, advertise string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.leader = election.Leader{Name: name, Advertise: advertise, Instance: name + "-instance", Term: p.term}
}

// Refuse makes the owner answer err, if it is not nil.
func (p *Plane) Refuse(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refuse = err
}

// Keep makes the owner say that its runs wait for the store, in these words; "" ends it. What it recalls is what is stored.
func (p *Plane) Keep(words string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.waits = words
}

// CommittedRun recalls what is stored.
func (p *Plane) CommittedRun(runID string) (run record.Run, waits, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	run, err := p.Run(context.Background(), runID)
	if p.waits != "" {
		run.Waiting = &record.Wait{For: record.WaitStore, Since: record.Now(), Message: p.waits}
	}
	return run, p.waits != "", err == nil && run.FinishTS == nil
}

// CommittedNodes recalls what is stored.
func (p *Plane) CommittedNodes(runID string) ([]record.RunNode, bool) {
	nodes, _, err := p.RunNodes(context.Background(), runID, nil, store.Page{})
	return nodes, err == nil
}

// CommittedRuns recalls what is stored.
func (p *Plane) CommittedRuns() []record.Run {
	runs, _, err := p.Runs(context.Background(), store.RunFilter{}, store.Page{})
	p.must(err)
	open := []record.Run{}
	for _, run := range runs {
		if recalled, _, ok := p.CommittedRun(run.ID); ok {
			recalled.Playbook.Spec = nil
			open = append(open, recalled)
		}
	}
	return open
}

// Told is what the owner was told, in order.
func (p *Plane) Told() ([]record.Request, []record.RunRequest, []record.Command) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.requests, p.starts, p.commands
}

// Start makes a run with a record per node and one event.
func (p *Plane) Start(ctx context.Context, request record.Request, start record.RunRequest) (record.Run, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.requests, p.starts = append(p.requests, request), append(p.starts, start)
	if p.refuse != nil {
		return record.Run{}, p.refuse
	}
	if run, found, err := p.repeated(ctx, request); found || err != nil {
		return run, err
	}
	book, err := p.Memory.Playbook(ctx, start.Playbook, start.Revision)
	if errors.Is(err, store.ErrNotFound) {
		return record.Run{}, &record.RejectedError{Code: record.CodePlaybookNotFound, Data: record.Document{"playbook": start.Playbook}}
	}
	if err != nil {
		return record.Run{}, err
	}
	now := record.Now()
	run := record.Run{ID: uuid.NewString(), Cluster: start.Cluster, Params: start.Params, Reason: start.Reason,
		Playbook: record.PlaybookCopy{Name: book.Name, Revision: book.Revision, Version: book.Version, Spec: book.Spec},
		State:    record.RunRunning, RequestedBy: request.Actor, IdempotencyKey: request.Key, Term: p.term, CreatedTS: now,
		StartTS: &now, UpdateTS: now, Rev: 1, Seq: 1, Counts: map[record.NodeState]int{}, CommitID: uuid.NewString(),
		Stages: []record.RunStage{{Name: "restart", State: record.StagePending}}}
	known, _, err := p.Memory.Nodes(ctx, start.Cluster, store.Page{})
	if err != nil {
		return run, err
	}
	commit := record.Commit{ID: run.CommitID, Fence: true, Events: []record.Event{{RunID: run.ID, Seq: 1, TS: now, Type: record.EventRunCreated}}}
	for _, node := range known {
		commit.Nodes = append(commit.Nodes, record.RunNode{RunID: run.ID, Cluster: run.Cluster, Node: node.NodeID,
			State: record.NodePending, Membership: record.MemberKnown})
		run.Counts[record.NodePending]++
	}
	commit.Run, commit.Idempotency = run, effects(request, run.ID)
	return run, p.Create(ctx, p.term, commit)
}

func effects(request record.Request, runID string) []record.IdempotencyRecord {
	if request.Key == "" {
		return nil
	}
	return []record.IdempotencyRecord{{Key: request.Key, Digest: request.Digest, RunID: runID}}
}

// repeated finds the run of a request that was answered before.
func (p *Plane) repeated(ctx context.Context, request record.Request) (record.Run, bool, error) {
	if request.Key == "" {
		return record.Run{}, false, nil
	}
	effect, err := p.IdempotencyRecord(ctx, request.Key, request.Digest)
	if errors.Is(err, store.ErrNotFound) {
		return record.Run{}, false, nil
	}
	if err != nil {
		return record.Run{}, false, err
	}
	run, err := p.Run(ctx, effect.RunID)
	return run, true, err
}

// Command moves a run as its verb says, at once.
func (p *Plane) Command(ctx context.Context, request record.Request, runID string, command record.Command) (record.Run, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.requests, p.commands = append(p.requests, request), append(p.commands, command)
	if p.refuse != nil {
		return record.Run{}, p.refuse
	}
	if run, found, err := p.repeated(ctx, request); found || err != nil {
		return run, err
	}
	change := map[record.Verb]Change{
		record.VerbPause:   {State: record.RunPaused, Event: record.EventRunPaused},
		record.VerbResume:  {State: record.RunRunning, Event: record.EventRunResumed},
		record.VerbCancel:  {State: record.RunCancelled, Event: record.EventRunFinished},
		record.VerbResolve: {State: record.RunRunning, Event: record.EventNodeResolved},
	}[command.Verb]
	return p.move(ctx, runID, effects(request, runID), change)
}

// Forget forgets a node.
func (p *Plane) Forget(ctx context.Context, request record.Request, key record.NodeKey) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.requests = append(p.requests, request)
	if p.refuse != nil {
		return p.refuse
	}
	if _, found, err := p.repeated(ctx, request); found {
		return nil
	} else if err != nil {
		return err
	}
	var effect *record.IdempotencyRecord
	for _, e := range effects(request, "") {
		effect = &e
	}
	return p.ForgetNode(ctx, p.term, key, effect)
}

// Change is what becomes of a run: its state, with an event, and the records of some nodes.
type Change struct {
	State  record.RunState
	Event  record.EventType
	Nodes  []record.RunNode
	Stages []record.RunStage
	Error  *record.Error
}

// Move changes a run. A final state ends it.
func (p *Plane) Move(runID string, change Change) record.Run {
	p.t.Helper()
	run, err := p.move(context.Background(), runID, nil, change)
	p.must(err)
	return run
}

func (p *Plane) move(ctx context.Context, runID string, effects []record.IdempotencyRecord, change Change) (record.Run, error) {
	run, err := p.Run(ctx, runID)
	if err != nil {
		return run, err
	}
	commit := record.Commit{ID: uuid.NewString(), After: run.CommitID, Nodes: change.Nodes, Idempotency: effects}
	now := record.Now()
	run.Rev, run.Seq, run.CommitID, run.State, run.UpdateTS = run.Rev+1, run.Seq+1, commit.ID, change.State, now
	if change.Stages != nil {
		run.Stages = change.Stages
	}
	run.Error = change.Error
	for i := range change.Nodes {
		node := &change.Nodes[i]
		node.RunID, node.Cluster = run.ID, run.Cluster
		was, err := p.RunNode(ctx, run.ID, node.Node)
		if err != nil {
			return run, fmt.Errorf("node %s: %w", node.Node, err)
		}
		if run.Counts[was.State]--; run.Counts[was.State] == 0 {
			delete(run.Counts, was.State)
		}
		run.Counts[node.State]++
	}
	run.FinishTS = nil
	if run.State.Final() {
		run.FinishTS = &now
	}
	commit.Events = []record.Event{{RunID: run.ID, Seq: run.Seq, TS: now, Type: change.Event, Data: map[string]any{"state": string(run.State)}}}
	commit.Run = run
	return run, p.Commit(ctx, p.term, commit)
}
