package sqlite

import (
	"context"
	"database/sql"
	"errors"

	"github.com/replicante-io/playbooks/record"
	"github.com/replicante-io/playbooks/store"
)

// followMany is how many events are delivered at once.
const followMany = 1000

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
		[]any{after, runID, limit}, collect(&docs, &found))
	if err == nil && !found {
		err = s.say(what, store.ErrNotFound)
	}
	if err != nil {
		return nil, err
	}
	events, err := decode[record.Event](docs)
	return events, s.say(what, err)
}

// collect appends the rows' text to docs; a row without text only says that there is something to have records of.
func collect(docs *[]string, found *bool) func(row *sql.Rows) error {
	return func(row *sql.Rows) error {
		*found = true
		var doc sql.NullString
		err := row.Scan(&doc)
		if doc.Valid {
			*docs = append(*docs, doc.String)
		}
		return err
	}
}

// Follow delivers a run's events as they land.
func (s *Store) Follow(ctx context.Context, runID string, after int64, deliver func([]record.Event) error) error {
	s.bells.listen(runID)
	defer s.bells.leave(runID)
	for first := true; ; first = false {
		rung := s.bells.next(runID)
		events, err := s.Events(ctx, runID, after, followMany)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil && (first || !errors.Is(err, store.ErrNotFound)):
			return err // a run that was there has expired: nothing more will come
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
		case <-rung:
		}
	}
}
