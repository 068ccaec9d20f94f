// Package apitest is a control plane for tests of its clients: the real API on a store in memory, with a controller that only
// records what it is asked for. The test changes the runs.
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
	"github.com/replicante-io/playbooks/internal/idempotency"
	"github.com/replicante-io/playbooks/internal/transport"
	"github.com/replicante-io/playbooks/record"
	"github.com/replicante-io/playbooks/store"
	"github.com/replicante-io/playbooks/store/storetest"
)

// Playbook is a playbook named restart.
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

// Plane is a control plane of replicas on one store. It is the controller of the replica that leads.
type Plane struct {
	*storetest.Memory
	t    testing.TB
	term int64
	keys idempotency.Keys

	mu       sync.Mutex
	leader   election.Leader
	leading  bool
	requests []record.Request
	starts   []record.RunRequest
	commands []record.Command
	failure  error
	planned  record.Plan
	delayed  string // message of the runs' wait for the store; "" where they do not wait
}

// New makes a plane that knows the nodes node-1 to node-3 of the cluster demo. No replica leads.
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

// Replica is the API of one replica; change may change its configuration.
func (p *Plane) Replica(name string, change ...func(*api.Config)) http.Handler {
	config := api.Config{Store: p.Memory, Name: name, Instance: name + "-instance", Version: "test", Log: hclog.NewNullLogger(),
		Leader: func() (election.Leader, bool) {
			p.mu.Lock()
			defer p.mu.Unlock()
			return p.leader, p.leader.Name != ""
		},
	}
	for _, change := range change {
		change(&config)
	}
	handler := api.New(config, func() (*Plane, bool) {
		p.mu.Lock()
		defer p.mu.Unlock()
		return p, p.leader.Name == name && p.leading
	})
	return transport.NewServer(transport.ServerConfig{Handler: handler, Guard: api.Guard([]string{"example.com"}), MaxBody: api.MaxBody}).Handler()
}

// Serve serves a replica on a port of its own.
func (p *Plane) Serve(name string, change ...func(*api.Config)) *httptest.Server {
	server := httptest.NewServer(p.Replica(name, change...))
	p.t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	return server
}

// Elect makes a replica lead; "" makes none.
func (p *Plane) Elect(name, advertise string) { p.elect(name, advertise, true) }

// ElectOnly makes a replica win the election, and not lead yet.
func (p *Plane) ElectOnly(name, advertise string) { p.elect(name, advertise, false) }

func (p *Plane) elect(name, advertise string, leading bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.leader = election.Leader{Name: name, Advertise: advertise, Instance: name + "-instance", Term: p.term}
	p.leading = leading
}

// Apply stores documents.
func (p *Plane) Apply(ctx context.Context, documents record.Documents, key *record.IdempotencyRecord,
	answer func(record.Documents) string) (record.Documents, error) {
	return p.Memory.Apply(ctx, p.term, documents, key, answer)
}

// Suspend suspends or resumes a schedule.
func (p *Plane) Suspend(ctx context.Context, request record.Request, name string, suspended bool) error {
	return p.write(ctx, request, func(key *record.IdempotencyRecord) error {
		schedule, err := p.Memory.Schedule(ctx, name)
		if err != nil {
			return err
		}
		schedule.Spec.Suspended, schedule.Rev = suspended, schedule.Rev+1
		return p.SaveSchedule(ctx, p.term, schedule, key)
	})
}

// DeleteSchedule deletes a schedule.
func (p *Plane) DeleteSchedule(ctx context.Context, request record.Request, name string) error {
	return p.write(ctx, request, func(key *record.IdempotencyRecord) error { return p.Memory.DeleteSchedule(ctx, p.term, name, key) })
}

// DeleteFreeze deletes a freeze.
func (p *Plane) DeleteFreeze(ctx context.Context, request record.Request, name string) error {
	return p.write(ctx, request, func(key *record.IdempotencyRecord) error { return p.Memory.DeleteFreeze(ctx, p.term, name, key) })
}

// write carries out a request that is about no run, unless it was before.
func (p *Plane) write(ctx context.Context, request record.Request, do func(key *record.IdempotencyRecord) error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.requests = append(p.requests, request)
	if p.failure != nil {
		return p.failure
	}
	_, err := p.once(ctx, request, func(key *record.IdempotencyRecord) (record.Run, error) { return record.Run{}, do(key) })
	return err
}

// Fail makes requests to the controller fail with err, if it is not nil.
func (p *Plane) Fail(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.failure = err
}

// Delay makes the controller report that the commits of its runs wait for the store, with this message; "" ends it.
func (p *Plane) Delay(message string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.delayed = message
}

// CommittedRun is what is stored.
func (p *Plane) CommittedRun(runID string) (run record.Run, delayed, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	run, err := p.Run(context.Background(), runID)
	if p.delayed != "" {
		run.Waiting = &record.Wait{For: record.WaitStore, Since: record.Now(), Message: p.delayed}
	}
	return run, p.delayed != "", err == nil && run.FinishTS == nil
}

// CommittedNodes is what is stored.
func (p *Plane) CommittedNodes(runID string) ([]record.RunNode, bool) {
	nodes, _, err := p.RunNodes(context.Background(), runID, nil, store.Page{})
	return nodes, err == nil
}

// CommittedRuns is what is stored.
func (p *Plane) CommittedRuns() []record.Run {
	runs, _, err := p.Runs(context.Background(), store.RunFilter{}, store.Page{})
	p.must(err)
	open := []record.Run{}
	for _, run := range runs {
		if committed, _, ok := p.CommittedRun(run.ID); ok {
			committed.Playbook.Spec = nil
			open = append(open, committed)
		}
	}
	return open
}

// Received is what the controller was asked for, in order.
func (p *Plane) Received() ([]record.Request, []record.RunRequest, []record.Command) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.requests, p.starts, p.commands
}

// once carries a request out, unless it was before.
func (p *Plane) once(ctx context.Context, request record.Request, do func(key *record.IdempotencyRecord) (record.Run, error)) (record.Run, error) {
	return idempotency.Do(ctx, &p.keys, idempotency.Write[record.Run]{
		Request: request,
		Find:    p.IdempotencyRecord,
		Replay: func(ctx context.Context, done record.IdempotencyRecord) (record.Run, error) {
			if done.RunID == "" {
				return record.Run{}, nil
			}
			return p.Run(ctx, done.RunID)
		},
		Do: func(_ context.Context, key *record.IdempotencyRecord) (record.Run, error) { return do(key) },
	})
}

// Planned makes the controller answer with a plan.
func (p *Plane) Planned(plan record.Plan) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.planned = plan
}

// Plan is what Planned said.
func (p *Plane) Plan(_ context.Context, request record.Request, start record.RunRequest) (record.Plan, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.requests, p.starts = append(p.requests, request), append(p.starts, start)
	return p.planned, p.failure
}

// Start makes a run with a record per node and one event.
func (p *Plane) Start(ctx context.Context, request record.Request, start record.RunRequest) (record.Run, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.requests, p.starts = append(p.requests, request), append(p.starts, start)
	if p.failure != nil {
		return record.Run{}, p.failure
	}
	return p.once(ctx, request, func(key *record.IdempotencyRecord) (record.Run, error) { return p.create(ctx, request, start, key) })
}

func (p *Plane) create(ctx context.Context, request record.Request, start record.RunRequest, key *record.IdempotencyRecord) (record.Run, error) {
	playbook, err := p.Memory.Playbook(ctx, start.Playbook, start.Revision)
	if errors.Is(err, store.ErrNotFound) {
		return record.Run{}, &record.RejectedError{Code: record.CodePlaybookNotFound, Data: record.Document{"playbook": start.Playbook}}
	}
	if err != nil {
		return record.Run{}, err
	}
	now := record.Now()
	run := record.Run{ID: uuid.NewString(), Cluster: start.Cluster, Params: start.Params, Reason: start.Reason,
		Playbook: record.PlaybookCopy{Name: playbook.Name, Revision: playbook.Revision, Version: playbook.Version, Spec: playbook.Spec},
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
	commit.Run, commit.Idempotency = run, keysOf(key, run.ID)
	return run, p.Create(ctx, p.term, commit)
}

func keysOf(key *record.IdempotencyRecord, runID string) []record.IdempotencyRecord {
	if key == nil {
		return nil
	}
	key.RunID = runID
	return []record.IdempotencyRecord{*key}
}

// Command changes a run's state at once.
func (p *Plane) Command(ctx context.Context, request record.Request, runID string, command record.Command) (record.Run, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.requests, p.commands = append(p.requests, request), append(p.commands, command)
	if p.failure != nil {
		return record.Run{}, p.failure
	}
	change := map[record.Verb]Change{
		record.VerbPause:   {State: record.RunPaused, Event: record.EventRunPaused},
		record.VerbResume:  {State: record.RunRunning, Event: record.EventRunResumed},
		record.VerbCancel:  {State: record.RunCancelled, Event: record.EventRunFinished},
		record.VerbResolve: {State: record.RunRunning, Event: record.EventNodeResolved},
		record.VerbApprove: {State: record.RunPending, Event: record.EventRunApproved},
		record.VerbReject:  {State: record.RunCancelled, Event: record.EventRunRejected},
	}[command.Verb]
	return p.once(ctx, request, func(key *record.IdempotencyRecord) (record.Run, error) {
		return p.move(ctx, runID, keysOf(key, runID), change)
	})
}

// Forget forgets a node.
func (p *Plane) Forget(ctx context.Context, request record.Request, node record.NodeKey) error {
	return p.write(ctx, request, func(key *record.IdempotencyRecord) error { return p.ForgetNode(ctx, p.term, node, key) })
}

// Change is a change of a run: its state, with an event, and the records of some nodes.
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

func (p *Plane) move(ctx context.Context, runID string, keys []record.IdempotencyRecord, change Change) (record.Run, error) {
	run, err := p.Run(ctx, runID)
	if err != nil {
		return run, err
	}
	commit := record.Commit{ID: uuid.NewString(), After: run.CommitID, Nodes: change.Nodes, Idempotency: keys}
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
	run.EndTS, run.FinishTS = nil, nil
	if run.State.Final() {
		run.EndTS, run.FinishTS = &now, &now
	}
	commit.Events = []record.Event{{RunID: run.ID, Seq: run.Seq, TS: now, Type: change.Event, Data: map[string]any{"state": string(run.State)}}}
	commit.Run = run
	return run, p.Commit(ctx, p.term, commit)
}
