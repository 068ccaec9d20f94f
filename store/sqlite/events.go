package sqlite

import (
	"context"
	"errors"

	"github.com/replicante-io/playbooks/record"
	"github.com/replicante-io/playbooks/store"
)

// followLimit is how many events Follow delivers at once.
const followLimit = 1000

// Events reads events of a run.
func (s *Store) Events(ctx context.Context, runID string, after int64, limit int) ([]record.Event, error) {
	what := "read events of run " + runID
	if limit <= 0 {
		limit = -1
	}
	var docs []string
	found := false
	err := s.read(ctx, what, `SELECT events.doc FROM playbook_runs_data runs LEFT JOIN playbook_run_events_data events
		ON events.run_id = runs.id AND seq > ? WHERE runs.id = ? ORDER BY seq LIMIT ?`,
		[]any{after, runID, limit}, appendTexts(&docs, &found))
	if err == nil && !found {
		err = s.wrap(what, store.ErrNotFound)
	}
	if err != nil {
		return nil, err
	}
	events, err := decode[record.Event](docs)
	return events, s.wrap(what, err)
}

// Follow delivers a run's events as they are committed.
func (s *Store) Follow(ctx context.Context, runID string, after int64, deliver func([]record.Event) error) error {
	s.notifier.subscribe(runID)
	defer s.notifier.unsubscribe(runID)
	for first := true; ; first = false {
		changed := s.notifier.changed(runID) // before the read, so that nothing is missed in between
		events, err := s.Events(ctx, runID, after, followLimit)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil && (first || !errors.Is(err, store.ErrNotFound)):
			return err // a run that was found at first has expired since: there is nothing more to deliver
		case len(events) > 0:
			if err := deliver(events); err != nil {
				return err
			}
			after = events[len(events)-1].Seq
			continue
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		}
	}
}
