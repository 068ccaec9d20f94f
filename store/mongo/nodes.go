package mongo

import (
	"context"
	"fmt"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/replicante-io/playbooks/record"
	"github.com/replicante-io/playbooks/store"
)

// SaveNodes implements store.Store.
func (s *Store) SaveNodes(ctx context.Context, term int64, nodes []record.Node) error {
	ctx, cancel := withTimeout(ctx)
	defer cancel()
	var docs []encodedDocument
	for i := range nodes {
		id := clusterNodeID{ClusterID: nodes[i].ClusterID, NodeID: nodes[i].NodeID}
		raw, err := encode("node "+nodes[i].NodeID, clusterNodeDocument{ID: id, Node: nodes[i]})
		if err != nil {
			return fmt.Errorf("save nodes: %w", err)
		}
		docs = append(docs, encodedDocument{id, raw})
	}
	err := s.writeOrExplain(ctx, func() error {
		return s.transact(ctx, func(ctx context.Context) error {
			if err := s.requireLatest(ctx, term); err != nil {
				return err
			}
			return s.upsert(ctx, s.nodes, docs)
		})
	}, func(ctx context.Context) error { return s.explainFence(ctx, term) })
	if err != nil {
		return fmt.Errorf("save nodes: %w", err)
	}
	return nil
}

// ForgetNode implements store.Store.
func (s *Store) ForgetNode(ctx context.Context, term int64, node record.NodeKey, key *record.IdempotencyRecord) error {
	ctx, cancel := withTimeout(ctx)
	defer cancel()
	keys := store.KeyList(key)
	docs, err := encodeKeys(keys)
	if err != nil {
		return err
	}
	err = s.writeOrExplain(ctx, func() error {
		return s.transact(ctx, func(ctx context.Context) error {
			if err := s.requireLatest(ctx, term); err != nil {
				return err
			}
			if err := s.insertKeys(ctx, docs); err != nil {
				return err
			}
			result, err := s.nodes.DeleteOne(ctx, byID(clusterNodeID{ClusterID: node.Cluster, NodeID: node.Node}))
			if err == nil && result.DeletedCount == 0 {
				err = store.ErrNotFound
			}
			return err
		})
	}, func(ctx context.Context) error {
		if err := s.explainFence(ctx, term); err != nil {
			return err
		}
		return s.explainKeys(ctx, keys)
	})
	if err != nil {
		return fmt.Errorf("forget node %s of cluster %s: %w", node.Node, node.Cluster, err)
	}
	return nil
}

// Node implements store.Store.
func (s *Store) Node(ctx context.Context, key record.NodeKey) (record.Node, error) {
	ctx, cancel := withTimeout(ctx)
	defer cancel()
	var doc clusterNodeDocument
	if err := s.nodes.FindOne(ctx, byID(clusterNodeID{ClusterID: key.Cluster, NodeID: key.Node})).Decode(&doc); err != nil {
		return record.Node{}, fmt.Errorf("node %s of cluster %s: %w", key.Node, key.Cluster, translate(err))
	}
	return doc.Node, nil
}

// Nodes implements store.Store.
func (s *Store) Nodes(ctx context.Context, cluster string, page store.Page) ([]record.Node, string, error) {
	ctx, cancel := withTimeout(ctx)
	defer cancel()
	list := "nodes of cluster " + cluster
	after, ok, err := parseCursor(list, page.Cursor)
	if err != nil {
		return nil, "", fmt.Errorf("list nodes: %w", err)
	}
	where := bson.D{}
	if cluster != "" {
		where = append(where, bson.E{Key: "cluster_id", Value: cluster})
	}
	if ok {
		where = append(where, bson.E{Key: "$or", Value: bson.A{
			bson.D{{Key: "cluster_id", Value: bson.D{{Key: "$gt", Value: after.Key}}}},
			bson.D{{Key: "cluster_id", Value: after.Key}, {Key: "node_id", Value: bson.D{{Key: "$gt", Value: after.More}}}},
		}})
	}
	find := options.Find().SetSort(bson.D{{Key: "cluster_id", Value: 1}, {Key: "node_id", Value: 1}})
	nodes, next, err := readPage(ctx, s.nodes, where, find, page.Limit, func(node *record.Node) position {
		return position{List: list, Key: node.ClusterID, More: node.NodeID}
	})
	if err != nil {
		return nil, "", fmt.Errorf("list nodes: %w", err)
	}
	return nodes, next, nil
}

// Clusters implements store.Store.
func (s *Store) Clusters(ctx context.Context) ([]store.Cluster, error) {
	ctx, cancel := withTimeout(ctx)
	defer cancel()
	cursor, err := s.nodes.Aggregate(ctx, mongo.Pipeline{
		{{Key: "$group", Value: bson.D{
			{Key: "_id", Value: "$cluster_id"},
			{Key: "nodes", Value: bson.D{{Key: "$sum", Value: 1}}},
			{Key: "present", Value: bson.D{{Key: "$sum", Value: bson.D{{Key: "$cond", Value: bson.A{"$present", 1, 0}}}}}},
		}}},
		{{Key: "$sort", Value: byID(1)}},
		{{Key: "$project", Value: bson.D{{Key: "cluster_id", Value: "$_id"}, {Key: "nodes", Value: 1}, {Key: "present", Value: 1}}}},
	})
	if err != nil {
		return nil, fmt.Errorf("count clusters: %w", translate(err))
	}
	var clusters []store.Cluster
	if err := cursor.All(ctx, &clusters); err != nil {
		return nil, fmt.Errorf("count clusters: %w", translate(err))
	}
	return clusters, nil
}
