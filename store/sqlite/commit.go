package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/replicante-io/playbooks/record"
	"github.com/replicante-io/playbooks/store"
)

// head reads a run without its playbook's text.
func (w *writer) head(runID string) (record.Run, error) {
	var run record.Run
	var doc string
	err := w.row("SELECT doc FROM playbook_runs_data WHERE id = ?", []any{runID}, &doc)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return run, store.ErrNotFound
	case err != nil:
		return run, err
	}
	return run, json.Unmarshal([]byte(doc), &run)
}

// putHead writes a run without its playbook's text.
func (w *writer) putHead(run record.Run) error {
	run.Playbook.Spec = nil
	doc, err := json.Marshal(run)
	if err != nil {
		return err
	}
	var finish any
	if run.FinishTS != nil {
		finish = run.FinishTS.UnixMilli()
	}
	_, err = w.exec(`INSERT INTO playbook_runs_data (id, cluster, state, open, created_ms, finish_ms, doc)
		VALUES (?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT DO UPDATE SET state = excluded.state, open = excluded.open, finish_ms = excluded.finish_ms, doc = excluded.doc`,
		run.ID, run.Cluster, string(run.State), run.Open(), run.CreatedTS.UnixMilli(), finish, string(doc))
	return err
}

// encodedCommit has the values of a commit's node records and events as they are inserted.
type encodedCommit struct{ nodes, events []any }

// encodeCommit does what needs no transaction.
func encodeCommit(commit record.Commit) (encodedCommit, error) {
	var item *itemError
	nodes, err := encode(commit.Nodes)
	if errors.As(err, &item) {
		return encodedCommit{}, &store.RecordError{Node: commit.Nodes[item.index].Node, Err: fmt.Errorf("its record: %w", err)}
	}
	events, err := encode(commit.Events)
	if errors.As(err, &item) {
		if err = fmt.Errorf("events: %w", err); commit.Events[item.index].Node != "" {
			err = &store.RecordError{Node: commit.Events[item.index].Node, Err: err}
		}
		return encodedCommit{}, err
	}
	encoded := encodedCommit{nodes: make([]any, 0, 4*len(nodes)), events: make([]any, 0, 3*len(events))}
	run := any(commit.Run.ID)
	for i, doc := range nodes {
		encoded.nodes = append(encoded.nodes, run, commit.Nodes[i].Node, string(commit.Nodes[i].State), doc)
	}
	for i, doc := range events {
		encoded.events = append(encoded.events, run, commit.Events[i].Seq, doc)
	}
	return encoded, nil
}

// applyCommit writes commit, except the playbook's text. run is the run after it.
func (w *writer) applyCommit(term int64, commit record.Commit, run record.Run, encoded encodedCommit) error {
	run.CommitID, run.Term, run.Stamped = commit.ID, term, false
	if err := w.insertKeys(commit.Idempotency); err != nil {
		return err
	}
	if err := w.putHead(run); err != nil {
		return err
	}
	if err := w.insertMany("INSERT INTO playbook_run_agents_data (run_id, node, state, doc) VALUES ",
		" ON CONFLICT DO UPDATE SET state = excluded.state, doc = excluded.doc", 4, encoded.nodes); err != nil {
		return err
	}
	return w.insertMany("INSERT INTO playbook_run_events_data (run_id, seq, doc) VALUES ", "", 3, encoded.events)
}

// Create stores a new run.
func (s *Store) Create(ctx context.Context, term int64, create record.Commit) error {
	what := "create run " + create.Run.ID
	encoded, err := encodeCommit(create)
	if err != nil {
		return s.wrap(what, err)
	}
	spec, err := json.Marshal(create.Run.Playbook.Spec)
	if err != nil {
		return s.wrap(what, err)
	}
	err = s.write(ctx, what, func(w *writer) error {
		if err := w.fence(term); err != nil {
			return err
		}
		if _, err := w.head(create.Run.ID); err == nil {
			return store.ErrExists
		} else if !errors.Is(err, store.ErrNotFound) {
			return err
		}
		if _, err := w.exec("INSERT INTO playbook_run_specs_data (run_id, doc) VALUES (?, ?)", create.Run.ID, string(spec)); err != nil {
			return err
		}
		return w.applyCommit(term, create, create.Run, encoded)
	})
	if err == nil {
		s.notifier.notify(create.Run.ID)
	}
	return err
}

// Commit applies commit to its run.
func (s *Store) Commit(ctx context.Context, term int64, commit record.Commit) error {
	what := "commit to run " + commit.Run.ID
	encoded, err := encodeCommit(commit)
	if err != nil {
		return s.wrap(what, err)
	}
	err = s.write(ctx, what, func(w *writer) error {
		stored, err := w.head(commit.Run.ID)
		switch {
		case err != nil:
			return err
		case stored.Term > term:
			return staleTerm(stored, term)
		case stored.CommitID == commit.ID:
			return nil
		}
		if commit.Fence {
			if err := w.fence(term); err != nil {
				return err
			}
		}
		if stored.Term != term || stored.Rev != commit.Run.Rev-1 || stored.CommitID != commit.After {
			return fmt.Errorf("it is at revision %d of term %d after commit %s, not at %d of %d after %s: %w",
				stored.Rev, stored.Term, stored.CommitID, commit.Run.Rev-1, term, commit.After, store.ErrConflict)
		}
		if stored.FinishTS != nil && commit.Run.FinishTS == nil {
			if err := w.removeStamps(stored.ID); err != nil {
				return err
			}
		}
		run := commit.Run
		store.KeepImmutable(&run, &stored)
		return w.applyCommit(term, commit, run, encoded)
	})
	if err == nil && len(commit.Events) > 0 {
		s.notifier.notify(commit.Run.ID)
	}
	return err
}

// Claim takes a run for term.
func (s *Store) Claim(ctx context.Context, term int64, runID string) (record.Run, []record.RunNode, error) {
	what := "claim run " + runID
	var run record.Run
	var spec string
	var docs []string
	err := s.write(ctx, what, func(w *writer) (err error) {
		if run, err = w.head(runID); err != nil {
			return err
		}
		if run.Term > term {
			return staleTerm(run, term)
		}
		run.Term = term
		run.Rev++
		if err := w.putHead(run); err != nil {
			return err
		}
		switch err := w.row("SELECT doc FROM playbook_run_specs_data WHERE run_id = ?", []any{runID}, &spec); {
		case errors.Is(err, sql.ErrNoRows):
			return fmt.Errorf("its playbook: %w", store.ErrNotFound)
		case err != nil:
			return err
		}
		docs, err = w.texts("SELECT doc FROM playbook_run_agents_data WHERE run_id = ? ORDER BY node", runID)
		return err
	})
	if err != nil {
		return record.Run{}, nil, err
	}
	if err := json.Unmarshal([]byte(spec), &run.Playbook.Spec); err != nil {
		return record.Run{}, nil, s.wrap(what, err)
	}
	nodes, err := decode[record.RunNode](docs)
	return run, nodes, s.wrap(what, err)
}

// SetWaiting records what a run waits for. The rest of its document stays as it is, whoever wrote it.
func (s *Store) SetWaiting(ctx context.Context, term int64, runID string, wait record.Wait) error {
	what := "record what run " + runID + " waits for"
	doc, err := json.Marshal(wait)
	if err != nil {
		return s.wrap(what, err)
	}
	return s.write(ctx, what, func(w *writer) error {
		run, err := w.head(runID)
		switch {
		case err != nil:
			return err
		case run.Term > term:
			return staleTerm(run, term)
		}
		_, err = w.exec("UPDATE playbook_runs_data SET doc = json_set(doc, '$.waiting', json(?)) WHERE id = ?", string(doc), runID)
		return err
	})
}

// staleTerm is the error of a write of an earlier term than the one that has claimed the run.
func staleTerm(run record.Run, term int64) error {
	return fmt.Errorf("term %d has claimed the run, this is term %d: %w", run.Term, term, store.ErrStaleTerm)
}
