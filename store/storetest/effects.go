package storetest

import (
	"testing"

	"github.com/replicante-io/playbooks/record"
	"github.com/replicante-io/playbooks/store"
)

func effectIsFound(t *testing.T, backend Backend) {
	s := open(t, backend)
	ctx := t.Context()
	term := lead(t, s)
	first := newRun(term, 1)
	first.Idempotency = []record.IdempotencyRecord{{Key: "create", Digest: "d1", RunID: first.Run.ID, Answer: `{"a": 1}`}}
	must(t, s.Create(ctx, term, first))
	commit := after(first.Run)
	commit.Idempotency = []record.IdempotencyRecord{{Key: "pause", Digest: "d2", RunID: first.Run.ID}, {Key: "cancel", Digest: "d3", RunID: first.Run.ID}}
	must(t, s.Commit(ctx, term, commit))
	for _, want := range append(first.Idempotency, commit.Idempotency...) {
		got, err := s.IdempotencyRecord(ctx, want.Key, want.Digest)
		must(t, err)
		same(t, "effect", got, want)
		_, err = s.IdempotencyRecord(ctx, want.Key, "another")
		refused(t, "effect of another digest", err, store.ErrKeyReused)
	}
}

func usedKeyKeepsCommit(t *testing.T, backend Backend) {
	s := open(t, backend)
	ctx := t.Context()
	term := lead(t, s)
	first := newRun(term, 1)
	used := record.IdempotencyRecord{Key: "used", Digest: "d", RunID: first.Run.ID}
	other := record.IdempotencyRecord{Key: "used", Digest: "another", RunID: first.Run.ID}
	first.Idempotency = []record.IdempotencyRecord{used}
	must(t, s.Create(ctx, term, first))
	known := record.Node{NodeID: "n", ClusterID: "c", Status: record.StatusHealthy}
	must(t, s.SaveNodes(ctx, term, []record.Node{known}))
	for want, effect := range map[error]record.IdempotencyRecord{store.ErrExists: used, store.ErrKeyReused: other} {
		unchanged(t, s, first.Run.ID, func() {
			commit := after(first.Run)
			commit.Idempotency = []record.IdempotencyRecord{effect}
			addEvents(&commit, 1)
			refused(t, "commit", s.Commit(ctx, term, commit), want)
		})
		second := newRun(term, 1)
		second.Idempotency = []record.IdempotencyRecord{effect}
		refused(t, "create", s.Create(ctx, term, second), want)
		_, err := s.Run(ctx, second.Run.ID)
		refused(t, "run", err, store.ErrNotFound)
		_, err = s.Apply(ctx, []record.Playbook{{Name: "p", Digest: "d", CreatedTS: start}}, &effect, func([]record.Playbook) string { return "" })
		refused(t, "apply", err, want)
		_, err = s.Playbook(ctx, "p", 0)
		refused(t, "playbook", err, store.ErrNotFound)
		refused(t, "forget", s.ForgetNode(ctx, term, known.Key(), &effect), want)
		_, err = s.Node(ctx, known.Key())
		must(t, err)
	}
}

func failedCommitLeavesNoKey(t *testing.T, backend Backend) {
	s := open(t, backend)
	ctx := t.Context()
	term := lead(t, s)
	run := create(t, s, term, 1)
	conflict := after(run)
	conflict.After = "another"
	conflict.Idempotency = []record.IdempotencyRecord{{Key: "k", Digest: "d", RunID: run.ID}}
	refused(t, "commit", s.Commit(ctx, term, conflict), store.ErrConflict)
	_, err := s.IdempotencyRecord(ctx, "k", "d")
	refused(t, "effect", err, store.ErrNotFound)
	key := record.NodeKey{Cluster: "c", Node: "n"}
	refused(t, "forget", s.ForgetNode(ctx, term, key, &record.IdempotencyRecord{Key: "k", Digest: "d"}), store.ErrNotFound)
	_, err = s.IdempotencyRecord(ctx, "k", "d")
	refused(t, "effect", err, store.ErrNotFound)
	commit := after(run)
	commit.Idempotency = []record.IdempotencyRecord{{Key: "k", Digest: "other", RunID: run.ID}}
	must(t, s.Commit(ctx, term, commit))
}
