package store

import (
	"context"

	"github.com/replicante-io/playbooks/record"
)

// Interceptor is a Store that passes every call of another one, except Maintain and Close, through Call.
//
// Call gets the name of the Store's method and do, which makes the call. It runs do once or not at all; what it returns is
// the error of the method.
type Interceptor struct {
	Store
	Call func(ctx context.Context, method string, do func() error) error
}

var _ Store = (*Interceptor)(nil)

// result passes a call with one result through Call.
func result[T any](ctx context.Context, i *Interceptor, method string, do func() (T, error)) (value T, err error) {
	err = i.Call(ctx, method, func() (err error) {
		value, err = do()
		return err
	})
	return value, err
}

// page passes a call that returns a page of a list through Call.
func page[T any](ctx context.Context, i *Interceptor, method string, do func() ([]T, string, error)) (items []T, cursor string, err error) {
	err = i.Call(ctx, method, func() (err error) {
		items, cursor, err = do()
		return err
	})
	return items, cursor, err
}

func (i *Interceptor) Check(ctx context.Context) ([]string, error) {
	return result(ctx, i, "Check", func() ([]string, error) { return i.Store.Check(ctx) })
}

func (i *Interceptor) Init(ctx context.Context) error {
	return i.Call(ctx, "Init", func() error { return i.Store.Init(ctx) })
}

func (i *Interceptor) Ping(ctx context.Context) error {
	return i.Call(ctx, "Ping", func() error { return i.Store.Ping(ctx) })
}

func (i *Interceptor) Term(ctx context.Context) (record.Term, error) {
	return result(ctx, i, "Term", func() (record.Term, error) { return i.Store.Term(ctx) })
}

func (i *Interceptor) BeginTerm(ctx context.Context, floor int64) (record.Term, error) {
	return result(ctx, i, "BeginTerm", func() (record.Term, error) { return i.Store.BeginTerm(ctx, floor) })
}

func (i *Interceptor) IdempotencyRecord(ctx context.Context, key, digest string) (record.IdempotencyRecord, error) {
	return result(ctx, i, "IdempotencyRecord", func() (record.IdempotencyRecord, error) { return i.Store.IdempotencyRecord(ctx, key, digest) })
}

func (i *Interceptor) Apply(ctx context.Context, term int64, documents record.Documents, key *record.IdempotencyRecord, answer func(record.Documents) string) (record.Documents, error) {
	return result(ctx, i, "Apply", func() (record.Documents, error) { return i.Store.Apply(ctx, term, documents, key, answer) })
}

func (i *Interceptor) Playbook(ctx context.Context, name string, revision int64) (record.Playbook, error) {
	return result(ctx, i, "Playbook", func() (record.Playbook, error) { return i.Store.Playbook(ctx, name, revision) })
}

func (i *Interceptor) Playbooks(ctx context.Context, p Page) ([]record.Playbook, string, error) {
	return page(ctx, i, "Playbooks", func() ([]record.Playbook, string, error) { return i.Store.Playbooks(ctx, p) })
}

func (i *Interceptor) Revisions(ctx context.Context, name string, p Page) ([]record.Playbook, string, error) {
	return page(ctx, i, "Revisions", func() ([]record.Playbook, string, error) { return i.Store.Revisions(ctx, name, p) })
}

func (i *Interceptor) Schedule(ctx context.Context, name string) (record.Schedule, error) {
	return result(ctx, i, "Schedule", func() (record.Schedule, error) { return i.Store.Schedule(ctx, name) })
}

func (i *Interceptor) Schedules(ctx context.Context, p Page) ([]record.Schedule, string, error) {
	return page(ctx, i, "Schedules", func() ([]record.Schedule, string, error) { return i.Store.Schedules(ctx, p) })
}

func (i *Interceptor) SaveSchedule(ctx context.Context, term int64, schedule record.Schedule, key *record.IdempotencyRecord) error {
	return i.Call(ctx, "SaveSchedule", func() error { return i.Store.SaveSchedule(ctx, term, schedule, key) })
}

func (i *Interceptor) DeleteSchedule(ctx context.Context, term int64, name string, key *record.IdempotencyRecord) error {
	return i.Call(ctx, "DeleteSchedule", func() error { return i.Store.DeleteSchedule(ctx, term, name, key) })
}

func (i *Interceptor) Freeze(ctx context.Context, name string) (record.Freeze, error) {
	return result(ctx, i, "Freeze", func() (record.Freeze, error) { return i.Store.Freeze(ctx, name) })
}

func (i *Interceptor) Freezes(ctx context.Context, p Page) ([]record.Freeze, string, error) {
	return page(ctx, i, "Freezes", func() ([]record.Freeze, string, error) { return i.Store.Freezes(ctx, p) })
}

func (i *Interceptor) DeleteFreeze(ctx context.Context, term int64, name string, key *record.IdempotencyRecord) error {
	return i.Call(ctx, "DeleteFreeze", func() error { return i.Store.DeleteFreeze(ctx, term, name, key) })
}

func (i *Interceptor) Create(ctx context.Context, term int64, create record.Commit) error {
	return i.Call(ctx, "Create", func() error { return i.Store.Create(ctx, term, create) })
}

func (i *Interceptor) Claim(ctx context.Context, term int64, runID string) (run record.Run, nodes []record.RunNode, err error) {
	err = i.Call(ctx, "Claim", func() (err error) {
		run, nodes, err = i.Store.Claim(ctx, term, runID)
		return err
	})
	return run, nodes, err
}

func (i *Interceptor) Commit(ctx context.Context, term int64, commit record.Commit) error {
	return i.Call(ctx, "Commit", func() error { return i.Store.Commit(ctx, term, commit) })
}

func (i *Interceptor) SetWaiting(ctx context.Context, term int64, runID string, wait record.Wait) error {
	return i.Call(ctx, "SetWaiting", func() error { return i.Store.SetWaiting(ctx, term, runID, wait) })
}

func (i *Interceptor) StampFinished(ctx context.Context, term int64, runID string) error {
	return i.Call(ctx, "StampFinished", func() error { return i.Store.StampFinished(ctx, term, runID) })
}

func (i *Interceptor) OpenRuns(ctx context.Context) ([]record.Run, error) {
	return result(ctx, i, "OpenRuns", func() ([]record.Run, error) { return i.Store.OpenRuns(ctx) })
}

func (i *Interceptor) Run(ctx context.Context, runID string) (record.Run, error) {
	return result(ctx, i, "Run", func() (record.Run, error) { return i.Store.Run(ctx, runID) })
}

func (i *Interceptor) Runs(ctx context.Context, filter RunFilter, p Page) ([]record.Run, string, error) {
	return page(ctx, i, "Runs", func() ([]record.Run, string, error) { return i.Store.Runs(ctx, filter, p) })
}

func (i *Interceptor) RunNode(ctx context.Context, runID, node string) (record.RunNode, error) {
	return result(ctx, i, "RunNode", func() (record.RunNode, error) { return i.Store.RunNode(ctx, runID, node) })
}

func (i *Interceptor) RunNodes(ctx context.Context, runID string, states []record.NodeState, p Page) ([]record.RunNode, string, error) {
	return page(ctx, i, "RunNodes", func() ([]record.RunNode, string, error) { return i.Store.RunNodes(ctx, runID, states, p) })
}

func (i *Interceptor) Events(ctx context.Context, runID string, after int64, limit int) ([]record.Event, error) {
	return result(ctx, i, "Events", func() ([]record.Event, error) { return i.Store.Events(ctx, runID, after, limit) })
}

func (i *Interceptor) Follow(ctx context.Context, runID string, after int64, deliver func([]record.Event) error) error {
	return i.Call(ctx, "Follow", func() error { return i.Store.Follow(ctx, runID, after, deliver) })
}

func (i *Interceptor) SaveNodes(ctx context.Context, term int64, nodes []record.Node) error {
	return i.Call(ctx, "SaveNodes", func() error { return i.Store.SaveNodes(ctx, term, nodes) })
}

func (i *Interceptor) ForgetNode(ctx context.Context, term int64, node record.NodeKey, key *record.IdempotencyRecord) error {
	return i.Call(ctx, "ForgetNode", func() error { return i.Store.ForgetNode(ctx, term, node, key) })
}

func (i *Interceptor) Node(ctx context.Context, key record.NodeKey) (record.Node, error) {
	return result(ctx, i, "Node", func() (record.Node, error) { return i.Store.Node(ctx, key) })
}

func (i *Interceptor) Nodes(ctx context.Context, cluster string, p Page) ([]record.Node, string, error) {
	return page(ctx, i, "Nodes", func() ([]record.Node, string, error) { return i.Store.Nodes(ctx, cluster, p) })
}

func (i *Interceptor) Clusters(ctx context.Context) ([]Cluster, error) {
	return result(ctx, i, "Clusters", func() ([]Cluster, error) { return i.Store.Clusters(ctx) })
}
