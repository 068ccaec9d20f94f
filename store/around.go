package store

import (
	"context"

	"github.com/replicante-io/playbooks/record"
)

// Around is a store each of whose calls, but Maintain and Close, goes through Call. Call is told the method's name, and
// does what was asked for by do, once or not at all; what it returns is the answer.
type Around struct {
	Store
	Call func(ctx context.Context, method string, do func() error) error
}

var _ Store = (*Around)(nil)

// one is a call that answers one thing.
func one[T any](ctx context.Context, a *Around, method string, do func() (T, error)) (answer T, err error) {
	err = a.Call(ctx, method, func() (err error) {
		answer, err = do()
		return err
	})
	return answer, err
}

// page is a call that answers a page of things.
func page[T any](ctx context.Context, a *Around, method string, do func() ([]T, string, error)) (items []T, cursor string, err error) {
	err = a.Call(ctx, method, func() (err error) {
		items, cursor, err = do()
		return err
	})
	return items, cursor, err
}

func (a *Around) Check(ctx context.Context) ([]string, error) {
	return one(ctx, a, "Check", func() ([]string, error) { return a.Store.Check(ctx) })
}

func (a *Around) Init(ctx context.Context) error {
	return a.Call(ctx, "Init", func() error { return a.Store.Init(ctx) })
}

func (a *Around) Term(ctx context.Context) (record.Term, error) {
	return one(ctx, a, "Term", func() (record.Term, error) { return a.Store.Term(ctx) })
}

func (a *Around) Lead(ctx context.Context, floor int64) (record.Term, error) {
	return one(ctx, a, "Lead", func() (record.Term, error) { return a.Store.Lead(ctx, floor) })
}

func (a *Around) Effect(ctx context.Context, key, digest string) (record.Effect, error) {
	return one(ctx, a, "Effect", func() (record.Effect, error) { return a.Store.Effect(ctx, key, digest) })
}

func (a *Around) Apply(ctx context.Context, playbooks []record.Playbook, effect *record.Effect, answer func([]record.Playbook) string) ([]record.Playbook, error) {
	return one(ctx, a, "Apply", func() ([]record.Playbook, error) { return a.Store.Apply(ctx, playbooks, effect, answer) })
}

func (a *Around) Playbook(ctx context.Context, name string, revision int64) (record.Playbook, error) {
	return one(ctx, a, "Playbook", func() (record.Playbook, error) { return a.Store.Playbook(ctx, name, revision) })
}

func (a *Around) Playbooks(ctx context.Context, p Page) ([]record.Playbook, string, error) {
	return page(ctx, a, "Playbooks", func() ([]record.Playbook, string, error) { return a.Store.Playbooks(ctx, p) })
}

func (a *Around) Revisions(ctx context.Context, name string, p Page) ([]record.Playbook, string, error) {
	return page(ctx, a, "Revisions", func() ([]record.Playbook, string, error) { return a.Store.Revisions(ctx, name, p) })
}

func (a *Around) Create(ctx context.Context, term int64, create record.Commit) error {
	return a.Call(ctx, "Create", func() error { return a.Store.Create(ctx, term, create) })
}

func (a *Around) Claim(ctx context.Context, term int64, runID string) (run record.Run, nodes []record.Node, err error) {
	err = a.Call(ctx, "Claim", func() (err error) {
		run, nodes, err = a.Store.Claim(ctx, term, runID)
		return err
	})
	return run, nodes, err
}

func (a *Around) Commit(ctx context.Context, term int64, commit record.Commit) error {
	return a.Call(ctx, "Commit", func() error { return a.Store.Commit(ctx, term, commit) })
}

func (a *Around) Seal(ctx context.Context, term int64, runID string) error {
	return a.Call(ctx, "Seal", func() error { return a.Store.Seal(ctx, term, runID) })
}

func (a *Around) OpenRuns(ctx context.Context) ([]record.Run, error) {
	return one(ctx, a, "OpenRuns", func() ([]record.Run, error) { return a.Store.OpenRuns(ctx) })
}

func (a *Around) Run(ctx context.Context, runID string) (record.Run, error) {
	return one(ctx, a, "Run", func() (record.Run, error) { return a.Store.Run(ctx, runID) })
}

func (a *Around) Runs(ctx context.Context, filter RunFilter, p Page) ([]record.Run, string, error) {
	return page(ctx, a, "Runs", func() ([]record.Run, string, error) { return a.Store.Runs(ctx, filter, p) })
}

func (a *Around) RunNode(ctx context.Context, runID, node string) (record.Node, error) {
	return one(ctx, a, "RunNode", func() (record.Node, error) { return a.Store.RunNode(ctx, runID, node) })
}

func (a *Around) RunNodes(ctx context.Context, runID string, states []record.NodeState, p Page) ([]record.Node, string, error) {
	return page(ctx, a, "RunNodes", func() ([]record.Node, string, error) { return a.Store.RunNodes(ctx, runID, states, p) })
}

func (a *Around) Events(ctx context.Context, runID string, after int64, limit int) ([]record.Event, error) {
	return one(ctx, a, "Events", func() ([]record.Event, error) { return a.Store.Events(ctx, runID, after, limit) })
}

func (a *Around) Follow(ctx context.Context, runID string, after int64, deliver func([]record.Event) error) error {
	return a.Call(ctx, "Follow", func() error { return a.Store.Follow(ctx, runID, after, deliver) })
}

func (a *Around) SaveNodes(ctx context.Context, term int64, nodes []record.KnownNode) error {
	return a.Call(ctx, "SaveNodes", func() error { return a.Store.SaveNodes(ctx, term, nodes) })
}

func (a *Around) ForgetNode(ctx context.Context, term int64, key record.NodeKey, effect *record.Effect) error {
	return a.Call(ctx, "ForgetNode", func() error { return a.Store.ForgetNode(ctx, term, key, effect) })
}

func (a *Around) KnownNode(ctx context.Context, key record.NodeKey) (record.KnownNode, error) {
	return one(ctx, a, "KnownNode", func() (record.KnownNode, error) { return a.Store.KnownNode(ctx, key) })
}

func (a *Around) KnownNodes(ctx context.Context, cluster string, p Page) ([]record.KnownNode, string, error) {
	return page(ctx, a, "KnownNodes", func() ([]record.KnownNode, string, error) { return a.Store.KnownNodes(ctx, cluster, p) })
}

func (a *Around) Clusters(ctx context.Context) ([]Cluster, error) {
	return one(ctx, a, "Clusters", func() ([]Cluster, error) { return a.Store.Clusters(ctx) })
}
