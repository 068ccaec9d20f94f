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

// rows are the values of a commit's node records and events as they are inserted.
type rows struct{ nodes, events []any }

// encode is the work that needs no turn to write.
func encode(commit record.Commit) (rows, error) {
	nodes, err := texts(commit.Nodes)
	if err != nil {
		return rows{}, fmt.Errorf("node records: %w", err)
	}
	events, err := texts(commit.Events)
	if err != nil {
		return rows{}, fmt.Errorf("events: %w", err)
	}
	made := rows{nodes: make([]any, 0, 4*len(nodes)), events: make([]any, 0, 3*len(events))}
	run := any(commit.Run.ID)
	for i, doc := range nodes {
		made.nodes = append(made.nodes, run, commit.Nodes[i].Node, string(commit.Nodes[i].State), doc)
	}
	for i, doc := range events {
		made.events = append(made.events, run, commit.Events[i].Seq, doc)
	}
	return made, nil
}

// land writes all of commit but what is immutable. run is what it makes of the run.
func (w *writer) land(term int64, commit record.Commit, run record.Run, made rows) error {
	run.CommitID, run.Term, run.Stamped = commit.ID, term, false
	if err := w.keep(commit.Idempotency); err != nil {
		return err
	}
	if err := w.putHead(run); err != nil {
		return err
	}
	if err := w.insertMany("INSERT INTO playbook_run_agents_data (run_id, node, state, doc) VALUES ",
		" ON CONFLICT DO UPDATE SET state = excluded.state, doc = excluded.doc", 4, made.nodes); err != nil {
		return err
	}
	return w.insertMany("INSERT INTO playbook_run_events_data (run_id, seq, doc) VALUES ", "", 3, made.events)
}

// Create stores a new run.
func (s *Store) Create(ctx context.Context, term int64, create record.Commit) error {
	what := "create run " + create.Run.ID
	made, err := encode(create)
	if err != nil {
		return s.say(what, err)
	}
	spec, err := json.Marshal(create.Run.Playbook.Spec)
	if err != nil {
		return s.say(what, err)
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
		return w.land(term, create, create.Run, made)
	})
	if err == nil {
		s.bells.ring(create.Run.ID)
	}
	return err
}

// Commit lands commit on its run.
func (s *Store) Commit(ctx context.Context, term int64, commit record.Commit) error {
	what := "commit to run " + commit.Run.ID
	made, err := encode(commit)
	if err != nil {
		return s.say(what, err)
	}
	err = s.write(ctx, what, func(w *writer) error {
		was, err := w.head(commit.Run.ID)
		switch {
		case err != nil:
			return err
		case was.Term > term:
			return fmt.Errorf("term %d, its term is %d: %w", term, was.Term, store.ErrStaleTerm)
		case was.CommitID == commit.ID:
			return nil
		}
		if commit.Fence {
			if err := w.fence(term); err != nil {
				return err
			}
		}
		if was.Term != term || was.Rev != commit.Run.Rev-1 || was.CommitID != commit.After {
			return fmt.Errorf("it is at revision %d of term %d after commit %s, not at %d of %d after %s: %w",
				was.Rev, was.Term, was.CommitID, commit.Run.Rev-1, term, commit.After, store.ErrConflict)
		}
		if was.FinishTS != nil && commit.Run.FinishTS == nil {
			if err := w.unstamp(was.ID); err != nil {
				return err
			}
		}
		run := commit.Run
		run.Playbook, run.Params, run.Cluster, run.Concurrency = was.Playbook, was.Params, was.Cluster, was.Concurrency
		run.Reason, run.RequestedBy, run.IdempotencyKey, run.CreatedTS = was.Reason, was.RequestedBy, was.IdempotencyKey, was.CreatedTS
		return w.land(term, commit, run, made)
	})
	if err == nil && len(commit.Events) > 0 {
		s.bells.ring(commit.Run.ID)
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
			return fmt.Errorf("term %d, its term is %d: %w", term, run.Term, store.ErrStaleTerm)
		}
		run.Term = term
		run.Rev++
		if err := w.putHead(run); err != nil {
			return err
		}
		if err := w.row("SELECT doc FROM playbook_run_specs_data WHERE run_id = ?", []any{runID}, &spec); err != nil {
			return err
		}
		docs, err = w.texts("SELECT doc FROM playbook_run_agents_data WHERE run_id = ? ORDER BY node", runID)
		return err
	})
	if err != nil {
		return record.Run{}, nil, err
	}
	if err := json.Unmarshal([]byte(spec), &run.Playbook.Spec); err != nil {
		return record.Run{}, nil, s.say(what, err)
	}
	nodes, err := decode[record.RunNode](docs)
	return run, nodes, s.say(what, err)
}

// Run reads a run.
func (s *Store) Run(ctx context.Context, runID string) (record.Run, error) {
	what := "read run " + runID
	var run record.Run
	var spec record.Document
	err := s.read(ctx, what, "SELECT runs.doc, specs.doc FROM playbook_runs_data runs, playbook_run_specs_data specs WHERE id = ? AND run_id = id",
		[]any{runID}, func(row *sql.Rows) error { return scan(row, &run, &spec) })
	if err == nil && run.ID == "" {
		err = s.say(what, store.ErrNotFound)
	}
	run.Playbook.Spec = spec
	return run, err
}

// RunNode reads one node record.
func (s *Store) RunNode(ctx context.Context, runID, node string) (record.RunNode, error) {
	what := fmt.Sprintf("read node %s of run %s", node, runID)
	var found []record.RunNode
	err := s.read(ctx, what, `SELECT nodes.doc FROM playbook_runs_data runs, playbook_run_agents_data nodes
		WHERE runs.id = ? AND run_id = runs.id AND node = ?`, []any{runID, node}, into(&found))
	switch {
	case err != nil:
		return record.RunNode{}, err
	case len(found) == 0:
		return record.RunNode{}, s.say(what, store.ErrNotFound)
	}
	return found[0], nil
}
