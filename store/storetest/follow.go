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

// followed follows a run from the event after seq to the one numbered last, and checks that it gets each once and in order.
func followed(ctx context.Context, s store.Store, runID string, seq, last int64) error {
	next := seq + 1
	enough := errors.New("enough")
	err := s.Follow(ctx, runID, seq, func(events []record.Event) error {
		if len(events) == 0 {
			return errors.New("delivered no events")
		}
		for _, event := range events {
			if event.Seq != next || event.RunID != runID || event.Data["n"] != event.Seq {
				return fmt.Errorf("event %d (%v) of run %s instead of event %d of run %s", event.Seq, event.Data, event.RunID, next, runID)
			}
			next++
		}
		if next > last {
			return enough
		}
		return nil
	})
	switch {
	case errors.Is(err, enough):
		return nil
	case err == nil:
		return fmt.Errorf("ended before event %d of %d", next, last)
	}
	return err
}

// writeEvents makes commits of different sizes until the run has n events.
func writeEvents(ctx context.Context, s store.Store, term int64, run record.Run, n int64) error {
	for size := 1; run.Seq < n; size = size%7 + 1 {
		commit := nextCommit(run)
		addEvents(&commit, int(min(int64(size), n-run.Seq)))
		if err := s.Commit(ctx, term, commit); err != nil {
			return err
		}
		run = commit.Run
	}
	return nil
}

func followDeliversInOrder(t *testing.T, backend Backend) {
	s := open(t, backend)
	followWhileWriting(t, s, s)
}

func replicaFollows(t *testing.T, backend Backend) {
	database := backend(t)
	if !database.Shared {
		t.Skip("a store for one replica")
	}
	followWhileWriting(t, openDatabase(t, database, neverExpires), openDatabase(t, database, neverExpires))
}

func followWhileWriting(t *testing.T, writer, reader store.Store) {
	term := beginTerm(t, writer)
	const n = 400
	group, ctx := errgroup.WithContext(t.Context())
	for range 2 {
		run := create(t, writer, term, 1)
		group.Go(func() error { return writeEvents(ctx, writer, term, run, n) })
		for _, from := range []int64{0, 1, 2, 150, n - 1} {
			group.Go(func() error { return followed(ctx, reader, run.ID, from, n) })
		}
	}
	must(t, group.Wait())
}

func followEnds(t *testing.T, backend Backend) {
	s := open(t, backend)
	term := beginTerm(t, s)
	run := create(t, s, term, 1)
	full := errors.New("full")
	wantError(t, "follow", s.Follow(t.Context(), run.ID, 0, func([]record.Event) error { return full }), full)

	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	delivered := make(chan struct{}, 100)
	go func() {
		ended <- s.Follow(ctx, run.ID, 0, func([]record.Event) error {
			delivered <- struct{}{}
			return nil
		})
	}()
	<-delivered
	stop()
	must(t, <-ended)
	must(t, s.Follow(ctx, run.ID, 0, func([]record.Event) error { return nil }))
}
