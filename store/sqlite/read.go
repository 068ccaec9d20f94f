package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"slices"

	"github.com/replicante-io/playbooks/record"
	"github.com/replicante-io/playbooks/store"
)

// OpenRuns lists the open runs in the order of store.CompareQueued.
func (s *Store) OpenRuns(ctx context.Context) ([]record.Run, error) {
	var runs []record.Run
	err := s.read(ctx, "list open runs", "SELECT doc FROM playbook_runs_data WHERE open", nil, appendJSON(&runs))
	slices.SortFunc(runs, store.CompareQueued)
	return runs, err
}

// Run reads a run.
func (s *Store) Run(ctx context.Context, runID string) (record.Run, error) {
	what := "read run " + runID
	var run record.Run
	var spec record.Document
	err := s.read(ctx, what, "SELECT runs.doc, specs.doc FROM playbook_runs_data runs, playbook_run_specs_data specs WHERE id = ? AND run_id = id",
		[]any{runID}, func(row *sql.Rows) error { return scanJSON(row, &run, &spec) })
	if err == nil && run.ID == "" {
		err = s.wrap(what, store.ErrNotFound)
	}
	run.Playbook.Spec = spec
	return run, err
}

// Runs pages through runs, newest first.
func (s *Store) Runs(ctx context.Context, filter store.RunFilter, page store.Page) ([]record.Run, string, error) {
	var where conditions
	if page.Cursor != "" {
		var created int64
		var id string
		if err := parseCursor(page.Cursor, "runs", &created, &id); err != nil {
			return nil, "", err
		}
		where.and("(created_ms, id) < (?, ?)", created, id)
	}
	if filter.Cluster != "" {
		where.and("cluster = ?", filter.Cluster)
	}
	if filter.Playbook != "" {
		where.and("doc ->> '$.playbook.name' = ?", filter.Playbook)
	}
	andOneOf(&where, "state", filter.States)
	var runs []record.Run
	err := s.read(ctx, "list runs", "SELECT doc FROM playbook_runs_data WHERE "+where.String()+" ORDER BY created_ms DESC, id DESC LIMIT ?",
		append(where.args, limitOf(page)), appendJSON(&runs))
	runs, next := trim(runs, page, func(last record.Run) string { return formatCursor("runs", last.CreatedTS.UnixMilli(), last.ID) })
	return runs, next, err
}

// RunNode reads one node record.
func (s *Store) RunNode(ctx context.Context, runID, node string) (record.RunNode, error) {
	what := fmt.Sprintf("read node %s of run %s", node, runID)
	var found []record.RunNode
	err := s.read(ctx, what, `SELECT nodes.doc FROM playbook_runs_data runs, playbook_run_agents_data nodes
		WHERE runs.id = ? AND run_id = runs.id AND node = ?`, []any{runID, node}, appendJSON(&found))
	return first(s, what, found, err)
}

// RunNodes pages through node records.
func (s *Store) RunNodes(ctx context.Context, runID string, states []record.NodeState, page store.Page) ([]record.RunNode, string, error) {
	what := "list nodes of run " + runID
	var where conditions
	if page.Cursor != "" {
		var node string
		if err := parseCursor(page.Cursor, "run nodes", &node); err != nil {
			return nil, "", err
		}
		where.and("node > ?", node)
	}
	andOneOf(&where, "nodes.state", states)
	var docs []string
	found := false
	err := s.read(ctx, what, "SELECT nodes.doc FROM playbook_runs_data runs LEFT JOIN playbook_run_agents_data nodes ON run_id = id AND "+
		where.String()+" WHERE id = ? ORDER BY node LIMIT ?", append(where.args, runID, limitOf(page)), appendTexts(&docs, &found))
	if err == nil && !found {
		err = s.wrap(what, store.ErrNotFound)
	}
	if err != nil {
		return nil, "", err
	}
	nodes, err := decode[record.RunNode](docs)
	nodes, next := trim(nodes, page, func(last record.RunNode) string { return formatCursor("run nodes", last.Node) })
	return nodes, next, s.wrap(what, err)
}

// first is the only record that a query found, or ErrNotFound.
func first[T any](s *Store, what string, found []T, err error) (record T, _ error) {
	switch {
	case err != nil:
		return record, err
	case len(found) == 0:
		return record, s.wrap(what, store.ErrNotFound)
	}
	return found[0], nil
}
