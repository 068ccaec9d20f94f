package sqlite

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/replicante-io/playbooks/record"
	"github.com/replicante-io/playbooks/store"
)

// SaveNodes inserts or replaces nodes.
func (s *Store) SaveNodes(ctx context.Context, term int64, nodes []record.Node) error {
	what := "save nodes"
	docs, err := encode(nodes)
	if err != nil {
		return s.wrap(what, err)
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

// ForgetNode deletes a node.
func (s *Store) ForgetNode(ctx context.Context, term int64, node record.NodeKey, key *record.IdempotencyRecord) error {
	return s.write(ctx, fmt.Sprintf("forget node %s of cluster %s", node.Node, node.Cluster), func(w *writer) error {
		if err := w.fence(term); err != nil {
			return err
		}
		if err := w.insertKeys(store.KeyList(key)); err != nil {
			return err
		}
		deleted, err := w.exec("DELETE FROM nodes_data WHERE cluster_id = ? AND node_id = ?", node.Cluster, node.Node)
		if err == nil && deleted == 0 {
			err = store.ErrNotFound
		}
		return err
	})
}

// Node reads a node.
func (s *Store) Node(ctx context.Context, key record.NodeKey) (record.Node, error) {
	what := fmt.Sprintf("read node %s of cluster %s", key.Node, key.Cluster)
	var found []record.Node
	err := s.read(ctx, what, "SELECT doc FROM nodes_data WHERE cluster_id = ? AND node_id = ?", []any{key.Cluster, key.Node}, appendJSON(&found))
	return first(s, what, found, err)
}

// Nodes pages through nodes.
func (s *Store) Nodes(ctx context.Context, cluster string, page store.Page) ([]record.Node, string, error) {
	var where conditions
	if page.Cursor != "" {
		var key record.NodeKey
		if err := parseCursor(page.Cursor, "nodes", &key.Cluster, &key.Node); err != nil {
			return nil, "", err
		}
		where.and("(cluster_id, node_id) > (?, ?)", key.Cluster, key.Node)
	}
	if cluster != "" {
		where.and("cluster_id = ?", cluster)
	}
	var nodes []record.Node
	err := s.read(ctx, "list nodes", "SELECT doc FROM nodes_data WHERE "+where.String()+" ORDER BY cluster_id, node_id LIMIT ?",
		append(where.args, limitOf(page)), appendJSON(&nodes))
	nodes, next := trim(nodes, page, func(last record.Node) string { return formatCursor("nodes", last.ClusterID, last.NodeID) })
	return nodes, next, err
}

// Clusters counts nodes by cluster.
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
