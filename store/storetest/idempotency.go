package storetest

import (
	"testing"

	"github.com/replicante-io/playbooks/record"
	"github.com/replicante-io/playbooks/store"
)

func keyIsFound(t *testing.T, backend Backend) {
	s := open(t, backend)
	ctx := t.Context()
	term := beginTerm(t, s)
	first := newRun(term, 1)
	first.Idempotency = []record.IdempotencyRecord{{Key: "create", Digest: "d1", RunID: first.Run.ID, Answer: `{"a": 1}`}}
	must(t, s.Create(ctx, term, first))
	commit := nextCommit(first.Run)
	commit.Idempotency = []record.IdempotencyRecord{{Key: "pause", Digest: "d2", RunID: first.Run.ID}, {Key: "cancel", Digest: "d3", RunID: first.Run.ID}}
	must(t, s.Commit(ctx, term, commit))
	for _, want := range append(first.Idempotency, commit.Idempotency...) {
		got, err := s.IdempotencyRecord(ctx, want.Key, want.Digest)
		must(t, err)
		same(t, "idempotency record", got, want)
		_, err = s.IdempotencyRecord(ctx, want.Key, "another")
		wantError(t, "key with another digest", err, store.ErrKeyReused)
	}
}

func usedKeyRefusesWrite(t *testing.T, backend Backend) {
	s := open(t, backend)
	ctx := t.Context()
	term := beginTerm(t, s)
	first := newRun(term, 1)
	used := record.IdempotencyRecord{Key: "used", Digest: "d", RunID: first.Run.ID}
	other := record.IdempotencyRecord{Key: "used", Digest: "another", RunID: first.Run.ID}
	first.Idempotency = []record.IdempotencyRecord{used}
	must(t, s.Create(ctx, term, first))
	node := record.Node{NodeID: "n", ClusterID: "c", Status: record.StatusHealthy}
	must(t, s.SaveNodes(ctx, term, []record.Node{node}))
	for want, key := range map[error]record.IdempotencyRecord{store.ErrExists: used, store.ErrKeyReused: other} {
		unchanged(t, s, first.Run.ID, func() {
			commit := nextCommit(first.Run)
			commit.Idempotency = []record.IdempotencyRecord{key}
			addEvents(&commit, 1)
			wantError(t, "commit", s.Commit(ctx, term, commit), want)
		})
		second := newRun(term, 1)
		second.Idempotency = []record.IdempotencyRecord{key}
		wantError(t, "create", s.Create(ctx, term, second), want)
		_, err := s.Run(ctx, second.Run.ID)
		wantError(t, "run", err, store.ErrNotFound)
		_, err = s.Apply(ctx, term, record.Documents{Playbooks: []record.Playbook{{Name: "p", Digest: "d", CreatedTS: start}}}, &key,
			func(record.Documents) string { return "" })
		wantError(t, "apply", err, want)
		_, err = s.Playbook(ctx, "p", 0)
		wantError(t, "playbook", err, store.ErrNotFound)
		wantError(t, "forget", s.ForgetNode(ctx, term, node.Key(), &key), want)
		_, err = s.Node(ctx, node.Key())
		must(t, err)
	}
}

func failedWriteRecordsNoKey(t *testing.T, backend Backend) {
	s := open(t, backend)
	ctx := t.Context()
	term := beginTerm(t, s)
	run := create(t, s, term, 1)
	conflict := nextCommit(run)
	conflict.After = "another"
	conflict.Idempotency = []record.IdempotencyRecord{{Key: "k", Digest: "d", RunID: run.ID}}
	wantError(t, "commit", s.Commit(ctx, term, conflict), store.ErrConflict)
	_, err := s.IdempotencyRecord(ctx, "k", "d")
	wantError(t, "idempotency record", err, store.ErrNotFound)
	key := record.NodeKey{Cluster: "c", Node: "n"}
	wantError(t, "forget", s.ForgetNode(ctx, term, key, &record.IdempotencyRecord{Key: "k", Digest: "d"}), store.ErrNotFound)
	_, err = s.IdempotencyRecord(ctx, "k", "d")
	wantError(t, "idempotency record", err, store.ErrNotFound)
	commit := nextCommit(run)
	commit.Idempotency = []record.IdempotencyRecord{{Key: "k", Digest: "other", RunID: run.ID}}
	must(t, s.Commit(ctx, term, commit))
}
