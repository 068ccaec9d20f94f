package store

import (
	"context"

	"github.com/replicante-io/playbooks/record"
)

// Interceptor is a store each of whose calls, but Maintain and Close, goes through Call. Call is told the method's name, and
// does what was asked for by do, once or not at all; what it returns is the answer.
type Interceptor struct {
	Store
	Call func(ctx context.Context, method string, do func() error) error
}

var _ Store = (*Interceptor)(nil)

// one is a call that answers one thing.
func one[T any](ctx context.Context, a *Interceptor, method string, do func() (T, error)) (answer T, err error) {
	err = a.Call(ctx, method, func() (err error) {
		answer, err = do()
		return err
	})
	return answer, err
}

// page is a call that answers a page of things.
func page[T any](ctx context.Context, a *Interceptor, method string, do func() ([]T, string, error)) (items []T, cursor string, err error) {
	err = a.Call(ctx, method, func() (err error) {
		items, cursor, err = do()
		return err
	})
	return items, cursor, err
}

func (a *Interceptor) Check(ctx context.Context) ([]string, error) {
	return one(ctx, a, "Check", func() ([]string, error) { return a.Store.Check(ctx) })
}

func (a *Interceptor) Init(ctx context.Context) error {
	return a.Call(ctx, "Init", func() error { return a.Store.Init(ctx) })
}

func (a *Interceptor) Term(ctx context.Context) (record.Term, error) {
	return one(ctx, a, "Term", func() (record.Term, error) { return a.Store.Term(ctx) })
}

func (a *Interceptor) BeginTerm(ctx context.Context, floor int64) (record.Term, error) {
	return one(ctx, a, "BeginTerm", func() (record.Term, error) { return a.Store.BeginTerm(ctx, floor) })
}

func (a *Interceptor) IdempotencyRecord(ctx context.Context, key, digest string) (record.IdempotencyRecord, error) {
	return one(ctx, a, "IdempotencyRecord", func() (record.IdempotencyRecord, error) { return a.Store.IdempotencyRecord(ctx, key, digest) })
}

func (a *Interceptor) Apply(ctx context.Context, playbooks []record.Playbook, effect *record.IdempotencyRecord, answer func([]record.Playbook) string) ([]record.Playbook, error) {
	return one(ctx, a, "Apply", func() ([]record.Playbook, error) { return a.Store.Apply(ctx, playbooks, effect, answer) })
}

func (a *Interceptor) Playbook(ctx context.Context, name string, revision int64) (record.Playbook, error) {
	return one(ctx, a, "Playbook", func() (record.Playbook, error) { return a.Store.Playbook(ctx, name, revision) })
}

func (a *Interceptor) Playbooks(ctx context.Context, p Page) ([]record.Playbook, string, error) {
	return page(ctx, a, "Playbooks", func() ([]record.Playbook, string, error) { return a.Store.Playbooks(ctx, p) })
}

func (a *Interceptor) Revisions(ctx context.Context, name string, p Page) ([]record.Playbook, string, error) {
	return page(ctx, a, "Revisions", func() ([]record.Playbook, string, error) { return a.Store.Revisions(ctx, name, p) })
}

func (a *Interceptor) Create(ctx context.Context, term int64, create record.Commit) error {
	return a.Call(ctx, "Create", func() error { return a.Store.Create(ctx, term, create) })
}

func (a *Interceptor) Claim(ctx context.Context, term int64, runID string) (run record.Run, nodes []record.RunNode, err error) {
	err = a.Call(ctx, "Claim", func() (err error) {
		run, nodes, err = a.Store.Claim(ctx, term, runID)
		return err
	})
	return run, nodes, err
}

func (a *Interceptor) Commit(ctx context.Context, term int64, commit record.Commit) error {
	return a.Call(ctx, "Commit", func() error { return a.Store.Commit(ctx, term, commit) })
}

func (a *Interceptor) StampFinished(ctx context.Context, term int64, runID string) error {
	return a.Call(ctx, "StampFinished", func() error { return a.Store.StampFinished(ctx, term, runID) })
}

func (a *Interceptor) OpenRuns(ctx context.Context) ([]record.Run, error) {
	return one(ctx, a, "OpenRuns", func() ([]record.Run, error) { return a.Store.OpenRuns(ctx) })
}

func (a *Interceptor) Run(ctx context.Context, runID string) (record.Run, error) {
	return one(ctx, a, "Run", func() (record.Run, error) { return a.Store.Run(ctx, runID) })
}

func (a *Interceptor) Runs(ctx context.Context, filter RunFilter, p Page) ([]record.Run, string, error) {
	return page(ctx, a, "Runs", func() ([]record.Run, string, error) { return a.Store.Runs(ctx, filter, p) })
}

func (a *Interceptor) RunNode(ctx context.Context, runID, node string) (record.RunNode, error) {
	return one(ctx, a, "RunNode", func() (record.RunNode, error) { return a.Store.RunNode(ctx, runID, node) })
}

func (a *Interceptor) RunNodes(ctx context.Context, runID string, states []record.NodeState, p Page) ([]record.RunNode, string, error) {
	return page(ctx, a, "RunNodes", func() ([]record.RunNode, string, error) { return a.Store.RunNodes(ctx, runID, states, p) })
}

func (a *Interceptor) Events(ctx context.Context, runID string, after int64, limit int) ([]record.Event, error) {
	return one(ctx, a, "Events", func() ([]record.Event, error) { return a.Store.Events(ctx, runID, after, limit) })
}

func (a *Interceptor) Follow(ctx context.Context, runID string, after int64, deliver func([]record.Event) error) error {
	return a.Call(ctx, "Follow", func() error { return a.Store.Follow(ctx, runID, after, deliver) })
}

func (a *Interceptor) SaveNodes(ctx context.Context, term int64, nodes []record.Node) error {
	return a.Call(ctx, "SaveNodes", func() error { return a.Store.SaveNodes(ctx, term, nodes) })
}

func (a *Interceptor) ForgetNode(ctx context.Context, term int64, key record.NodeKey, effect *record.IdempotencyRecord) error {
	return a.Call(ctx, "ForgetNode", func() error { return a.Store.ForgetNode(ctx, term, key, effect) })
}

func (a *Interceptor) Node(ctx context.Context, key record.NodeKey) (record.Node, error) {
	return one(ctx, a, "Node", func() (record.Node, error) { return a.Store.Node(ctx, key) })
}

func (a *Interceptor) Nodes(ctx context.Context, cluster string, p Page) ([]record.Node, string, error) {
	return page(ctx, a, "Nodes", func() ([]record.Node, string, error) { return a.Store.Nodes(ctx, cluster, p) })
}

func (a *Interceptor) Clusters(ctx context.Context) ([]Cluster, error) {
	return one(ctx, a, "Clusters", func() ([]Cluster, error) { return a.Store.Clusters(ctx) })
}
