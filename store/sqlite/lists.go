package sqlite

import (
	"context"
	"database/sql"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/replicante-io/playbooks/record"
	"github.com/replicante-io/playbooks/store"
)

// cursor names the list and the keys of the last item before the next page.
func cursor(list string, keys ...any) string {
	text, _ := json.Marshal(append([]any{list}, keys...))
	return base64.RawURLEncoding.EncodeToString(text)
}

// after reads the keys of a cursor of list into keys.
func after(text, list string, keys ...any) error {
	var parts []json.RawMessage
	raw, err := base64.RawURLEncoding.DecodeString(text)
	if err == nil {
		err = json.Unmarshal(raw, &parts)
	}
	if err == nil && len(parts) != len(keys)+1 {
		err = errors.New("it is of another list")
	}
	for i, key := range append([]any{new(string)}, keys...) {
		if err == nil {
			err = json.Unmarshal(parts[i], key)
		}
		if name, ok := key.(*string); i == 0 && ok && err == nil && *name != list {
			err = errors.New("it is of another list")
		}
	}
	if err != nil {
		return fmt.Errorf("cursor %q: %w: %w", text, err, store.ErrConflict)
	}
	return nil
}

// one more than the page tells whether there is a next one.
func limit(page store.Page) int {
	if page.Limit <= 0 {
		return -1
	}
	return page.Limit + 1
}

// cut takes the one more away, and returns the cursor after the last that stays.
func cut[T any](items []T, page store.Page, cursor func(last T) string) ([]T, string) {
	if page.Limit <= 0 || len(items) <= page.Limit {
		return items, ""
	}
	items = items[:page.Limit]
	return items, cursor(items[page.Limit-1])
}

// where collects conditions.
type where struct {
	terms []string
	args  []any
}

func (w *where) and(term string, args ...any) {
	w.terms = append(w.terms, term)
	w.args = append(w.args, args...)
}

func in[T ~string](w *where, column string, values []T) {
	if len(values) > 0 {
		w.terms = append(w.terms, column+" IN "+tuples(1, len(values)))
		for _, value := range values {
			w.args = append(w.args, string(value))
		}
	}
}

func (w *where) String() string { return strings.Join(append([]string{"true"}, w.terms...), " AND ") }

// OpenRuns lists the open runs, first in line first.
func (s *Store) OpenRuns(ctx context.Context) ([]record.Run, error) {
	var runs []record.Run
	err := s.read(ctx, "list open runs", "SELECT doc FROM playbook_runs_data WHERE open", nil, into(&runs))
	slices.SortFunc(runs, store.CompareQueued)
	return runs, err
}

// Runs pages through runs, newest first.
func (s *Store) Runs(ctx context.Context, filter store.RunFilter, page store.Page) ([]record.Run, string, error) {
	var only where
	if page.Cursor != "" {
		var created int64
		var id string
		if err := after(page.Cursor, "runs", &created, &id); err != nil {
			return nil, "", err
		}
		only.and("(created_ms, id) < (?, ?)", created, id)
	}
	if filter.Cluster != "" {
		only.and("cluster = ?", filter.Cluster)
	}
	if filter.Playbook != "" {
		only.and("doc ->> '$.playbook.name' = ?", filter.Playbook)
	}
	in(&only, "state", filter.States)
	var runs []record.Run
	err := s.read(ctx, "list runs", "SELECT doc FROM playbook_runs_data WHERE "+only.String()+" ORDER BY created_ms DESC, id DESC LIMIT ?",
		append(only.args, limit(page)), into(&runs))
	runs, next := cut(runs, page, func(last record.Run) string { return cursor("runs", last.CreatedTS.UnixMilli(), last.ID) })
	return runs, next, err
}

// RunNodes pages through node records.
func (s *Store) RunNodes(ctx context.Context, runID string, states []record.NodeState, page store.Page) ([]record.RunNode, string, error) {
	what := "list nodes of run " + runID
	var only where
	if page.Cursor != "" {
		var node string
		if err := after(page.Cursor, "run nodes", &node); err != nil {
			return nil, "", err
		}
		only.and("node > ?", node)
	}
	in(&only, "nodes.state", states)
	var docs []string
	found := false
	err := s.read(ctx, what, "SELECT nodes.doc FROM playbook_runs_data runs LEFT JOIN playbook_run_agents_data nodes ON run_id = id AND "+
		only.String()+" WHERE id = ? ORDER BY node LIMIT ?", append(only.args, runID, limit(page)), collect(&docs, &found))
	if err == nil && !found {
		err = s.say(what, store.ErrNotFound)
	}
	if err != nil {
		return nil, "", err
	}
	nodes, err := decode[record.RunNode](docs)
	nodes, next := cut(nodes, page, func(last record.RunNode) string { return cursor("run nodes", last.Node) })
	return nodes, next, s.say(what, err)
}

// SaveNodes inserts or replaces known nodes.
func (s *Store) SaveNodes(ctx context.Context, term int64, nodes []record.Node) error {
	what := "save known nodes"
	docs, err := texts(nodes)
	if err != nil {
		return s.say(what, err)
	}
	values := make([]any, 0, 4*len(nodes))
	for i, doc := range docs {
		values = append(values, nodes[i].ClusterID, nodes[i].NodeID, nodes[i].Present, doc)
	}
	return s.write(ctx, what, func(w *writer) error {
		if err := w.fence(term); err != nil {
			return err
		}
		return w.insertMany("INSERT INTO nodes_data (cluster_id, node_id, present, doc) VALUES ",
			" ON CONFLICT DO UPDATE SET present = excluded.present, doc = excluded.doc", 4, values)
	})
}

// ForgetNode removes a known node.
func (s *Store) ForgetNode(ctx context.Context, term int64, key record.NodeKey, effect *record.IdempotencyRecord) error {
	return s.write(ctx, fmt.Sprintf("forget node %s of cluster %s", key.Node, key.Cluster), func(w *writer) error {
		if err := w.fence(term); err != nil {
			return err
		}
		if effect != nil {
			if err := w.keep([]record.IdempotencyRecord{*effect}); err != nil {
				return err
			}
		}
		gone, err := w.exec("DELETE FROM nodes_data WHERE cluster_id = ? AND node_id = ?", key.Cluster, key.Node)
		if err == nil && gone == 0 {
			err = store.ErrNotFound
		}
		return err
	})
}

// Node reads a known node.
func (s *Store) Node(ctx context.Context, key record.NodeKey) (record.Node, error) {
	what := fmt.Sprintf("read node %s of cluster %s", key.Node, key.Cluster)
	var found []record.Node
	err := s.read(ctx, what, "SELECT doc FROM nodes_data WHERE cluster_id = ? AND node_id = ?", []any{key.Cluster, key.Node}, into(&found))
	switch {
	case err != nil:
		return record.Node{}, err
	case len(found) == 0:
		return record.Node{}, s.say(what, store.ErrNotFound)
	}
	return found[0], nil
}

// Nodes pages through known nodes.
func (s *Store) Nodes(ctx context.Context, cluster string, page store.Page) ([]record.Node, string, error) {
	var only where
	if page.Cursor != "" {
		var key record.NodeKey
		if err := after(page.Cursor, "known nodes", &key.Cluster, &key.Node); err != nil {
			return nil, "", err
		}
		only.and("(cluster_id, node_id) > (?, ?)", key.Cluster, key.Node)
	}
	if cluster != "" {
		only.and("cluster_id = ?", cluster)
	}
	var nodes []record.Node
	err := s.read(ctx, "list known nodes", "SELECT doc FROM nodes_data WHERE "+only.String()+" ORDER BY cluster_id, node_id LIMIT ?",
		append(only.args, limit(page)), into(&nodes))
	nodes, next := cut(nodes, page, func(last record.Node) string { return cursor("known nodes", last.ClusterID, last.NodeID) })
	return nodes, next, err
}

// Clusters counts known nodes by cluster.
func (s *Store) Clusters(ctx context.Context) ([]store.Cluster, error) {
	var clusters []store.Cluster
	err := s.read(ctx, "list clusters", "SELECT cluster_id, count(*), sum(present) FROM nodes_data GROUP BY cluster_id ORDER BY cluster_id", nil,
		func(row *sql.Rows) error {
			var cluster store.Cluster
			err := row.Scan(&cluster.ClusterID, &cluster.Nodes, &cluster.Present)
			clusters = append(clusters, cluster)
			return err
		})
	return clusters, err
}
