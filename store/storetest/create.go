package storetest

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/replicante-io/playbooks/record"
	"github.com/replicante-io/playbooks/store"
)

func createIsVisibleAtOnce(t *testing.T, backend Backend) {
	s := open(t, backend)
	term := beginTerm(t, s)
	const n = 10_000
	commit := newRun(term, n)
	ctx, stop := context.WithCancel(t.Context())
	seen := make(chan struct{})
	var readers errgroup.Group
	readers.Go(func() error {
		defer close(seen)
		for {
			run, err := s.Run(ctx, commit.Run.ID)
			switch {
			case ctx.Err() != nil:
				return errors.New("the run was never seen")
			case errors.Is(err, store.ErrNotFound):
				continue
			case err != nil:
				return err
			}
			nodes, _, err := s.RunNodes(ctx, run.ID, nil, store.Page{})
			if err != nil {
				return err
			}
			events, err := s.Events(ctx, run.ID, 0, 0)
			if err != nil {
				return err
			}
			if len(nodes) != n || int64(len(events)) != run.Seq {
				return fmt.Errorf("the run is visible with %d of %d nodes and %d of %d events", len(nodes), n, len(events), run.Seq)
			}
			return nil
		}
	})
	err := s.Create(t.Context(), term, commit)
	if err == nil {
		<-seen
	}
	stop()
	must(t, err)
	must(t, readers.Wait())
}

func staleCreateIsRefused(t *testing.T, backend Backend) {
	s := open(t, backend)
	term := beginTerm(t, s)
	beginTerm(t, s)
	commit := newRun(term, 2)
	commit.Idempotency = []record.IdempotencyRecord{{Key: "stale", Digest: "d", RunID: commit.Run.ID}}
	wantError(t, "create", s.Create(t.Context(), term, commit), store.ErrStaleTerm)
	_, err := s.Run(t.Context(), commit.Run.ID)
	wantError(t, "run", err, store.ErrNotFound)
	_, err = s.IdempotencyRecord(t.Context(), "stale", "d")
	wantError(t, "idempotency record", err, store.ErrNotFound)
}

func repeatedCreateIsRefused(t *testing.T, backend Backend) {
	s := open(t, backend)
	term := beginTerm(t, s)
	commit := newRun(term, 2)
	must(t, s.Create(t.Context(), term, commit))
	unchanged(t, s, commit.Run.ID, func() {
		wantError(t, "the same create", s.Create(t.Context(), term, commit), store.ErrExists)
		other := newRun(term, 3)
		other.Run.ID = commit.Run.ID
		for i := range other.Nodes {
			other.Nodes[i].RunID = commit.Run.ID
		}
		for i := range other.Events {
			other.Events[i].RunID = commit.Run.ID
		}
		wantError(t, "another create of the same run", s.Create(t.Context(), term, other), store.ErrExists)
	})
}

func missingRunsAreNotFound(t *testing.T, backend Backend) {
	s := open(t, backend)
	term := beginTerm(t, s)
	ctx := t.Context()
	run := create(t, s, term, 1)
	_, err := s.Run(ctx, "none")
	wantError(t, "run", err, store.ErrNotFound)
	_, _, err = s.Claim(ctx, term, "none")
	wantError(t, "claim", err, store.ErrNotFound)
	wantError(t, "commit", s.Commit(ctx, term, nextCommit(newRun(term, 1).Run)), store.ErrNotFound)
	wantError(t, "stamp", s.StampFinished(ctx, term, "none"), store.ErrNotFound)
	wantError(t, "waiting", s.SetWaiting(ctx, term, "none", record.Wait{For: record.WaitLeader, Since: start}), store.ErrNotFound)
	_, err = s.RunNode(ctx, "none", "node")
	wantError(t, "node of no run", err, store.ErrNotFound)
	_, err = s.RunNode(ctx, run.ID, "node")
	wantError(t, "no node of a run", err, store.ErrNotFound)
	_, _, err = s.RunNodes(ctx, "none", nil, store.Page{})
	wantError(t, "nodes", err, store.ErrNotFound)
	_, err = s.Events(ctx, "none", 0, 0)
	wantError(t, "events", err, store.ErrNotFound)
	wantError(t, "follow", s.Follow(ctx, "none", 0, func([]record.Event) error { return nil }), store.ErrNotFound)
	_, err = s.Playbook(ctx, "none", 0)
	wantError(t, "playbook", err, store.ErrNotFound)
	_, _, err = s.Revisions(ctx, "none", store.Page{})
	wantError(t, "revisions", err, store.ErrNotFound)
	_, err = s.Node(ctx, record.NodeKey{Cluster: "none", Node: "none"})
	wantError(t, "node", err, store.ErrNotFound)
	_, err = s.IdempotencyRecord(ctx, "none", "d")
	wantError(t, "idempotency record", err, store.ErrNotFound)
}
