package storetest

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/replicante-io/playbooks/record"
	"github.com/replicante-io/playbooks/store"
)

// SaveNodes inserts or replaces nodes.
func (m *Memory) SaveNodes(ctx context.Context, term int64, nodes []record.Node) error {
	nodes = clone(nodes)
	return m.write(ctx, "SaveNodes", func() error {
		if err := m.fence(term); err != nil {
			return err
		}
		for _, node := range nodes {
			m.nodes[node.Key()] = node
		}
		return nil
	})
}

// ForgetNode deletes a node.
func (m *Memory) ForgetNode(ctx context.Context, term int64, node record.NodeKey, key *record.IdempotencyRecord) error {
	return m.write(ctx, "ForgetNode", func() error {
		if err := m.fence(term); err != nil {
			return err
		}
		if err := m.checkKeys(store.KeyList(key)); err != nil {
			return err
		}
		if _, ok := m.nodes[node]; !ok {
			return fmt.Errorf("node %s of cluster %s: %w", node.Node, node.Cluster, store.ErrNotFound)
		}
		delete(m.nodes, node)
		m.putKeys(store.KeyList(key))
		return nil
	})
}

// Node reads a node.
func (m *Memory) Node(ctx context.Context, key record.NodeKey) (record.Node, error) {
	var found record.Node
	err := m.locked(ctx, func() error {
		node, ok := m.nodes[key]
		if !ok {
			return fmt.Errorf("node %s of cluster %s: %w", key.Node, key.Cluster, store.ErrNotFound)
		}
		found = clone(node)
		return nil
	})
	return found, err
}

// Nodes pages through nodes.
func (m *Memory) Nodes(ctx context.Context, cluster string, page store.Page) ([]record.Node, string, error) {
	var found []record.Node
	var next string
	err := m.locked(ctx, func() (err error) {
		for key, node := range m.nodes {
			if cluster == "" || cluster == key.Cluster {
				found = append(found, clone(node))
			}
		}
		slices.SortFunc(found, func(a, b record.Node) int {
			return cmp.Or(cmp.Compare(a.ClusterID, b.ClusterID), cmp.Compare(a.NodeID, b.NodeID))
		})
		found, next, err = readPage("nodes of cluster "+cluster, found, page, func(node record.Node) string {
			return node.ClusterID + "\x00" + node.NodeID
		})
		return err
	})
	return found, next, err
}

// Clusters counts nodes by cluster.
func (m *Memory) Clusters(ctx context.Context) ([]store.Cluster, error) {
	var clusters []store.Cluster
	err := m.locked(ctx, func() error {
		counts := map[string]*store.Cluster{}
		for key, node := range m.nodes {
			if counts[key.Cluster] == nil {
				counts[key.Cluster] = &store.Cluster{ClusterID: key.Cluster}
			}
			counts[key.Cluster].Nodes++
			if node.Present {
				counts[key.Cluster].Present++
			}
		}
		for _, name := range slices.Sorted(maps.Keys(counts)) {
			clusters = append(clusters, *counts[name])
		}
		return nil
	})
	return clusters, err
}
