package mongo

import (
	"context"
	"errors"
	"fmt"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/replicante-io/playbooks/record"
	"github.com/replicante-io/playbooks/store"
)

// latest refuses the transaction unless term is the latest.
func (s *Store) latest(ctx context.Context, term int64) error {
	err := s.terms.FindOne(ctx, bson.D{{Key: "_id", Value: termsID}, {Key: "term", Value: term}}, options.FindOne().SetProjection(byID(1))).Err()
	if errors.Is(err, mongo.ErrNoDocuments) {
		return errRefused
	}
	return err
}

// SaveNodes implements store.Store.
func (s *Store) SaveNodes(ctx context.Context, term int64, nodes []record.Node) error {
	ctx, cancel := bounded(ctx)
	defer cancel()
	var docs []stored
	for i := range nodes {
		id := knownID{ClusterID: nodes[i].ClusterID, NodeID: nodes[i].NodeID}
		raw, err := encode("known node "+nodes[i].NodeID, knownDocument{ID: id, Node: nodes[i]})
		if err != nil {
			return fmt.Errorf("save nodes: %w", err)
		}
		docs = append(docs, stored{id, raw})
	}
	err := s.settle(ctx, func() error {
		return s.transact(ctx, func(ctx context.Context) error {
			if err := s.latest(ctx, term); err != nil {
				return err
			}
			return s.put(ctx, s.nodes, docs)
		})
	}, func(ctx context.Context) error { return s.fenceOut(ctx, term) })
	if err != nil {
		return fmt.Errorf("save nodes: %w", err)
	}
	return nil
}

// ForgetNode implements store.Store.
func (s *Store) ForgetNode(ctx context.Context, term int64, key record.NodeKey, effect *record.IdempotencyRecord) error {
	ctx, cancel := bounded(ctx)
	defer cancel()
	err := s.settle(ctx, func() error {
		return s.transact(ctx, func(ctx context.Context) error {
			if err := s.latest(ctx, term); err != nil {
				return err
			}
			if err := s.insertKey(ctx, effect); err != nil {
				return err
			}
			result, err := s.nodes.DeleteOne(ctx, byID(knownID{ClusterID: key.Cluster, NodeID: key.Node}))
			if err == nil && result.DeletedCount == 0 {
				err = store.ErrNotFound
			}
			return err
		})
	}, func(ctx context.Context) error {
		if err := s.fenceOut(ctx, term); err != nil || effect == nil {
			return err
		}
		return s.used(ctx, []record.IdempotencyRecord{*effect})
	})
	if err != nil {
		return fmt.Errorf("forget node %s of cluster %s: %w", key.Node, key.Cluster, err)
	}
	return nil
}

// Node implements store.Store.
func (s *Store) Node(ctx context.Context, key record.NodeKey) (record.Node, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	var doc knownDocument
	if err := s.nodes.FindOne(ctx, byID(knownID{ClusterID: key.Cluster, NodeID: key.Node})).Decode(&doc); err != nil {
		return record.Node{}, fmt.Errorf("node %s of cluster %s: %w", key.Node, key.Cluster, explain(err))
	}
	return doc.Node, nil
}

// Nodes implements store.Store.
func (s *Store) Nodes(ctx context.Context, cluster string, page store.Page) ([]record.Node, string, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	list := "known nodes of " + cluster
	at, ok, err := from(list, page.Cursor)
	if err != nil {
		return nil, "", fmt.Errorf("list known nodes: %w", err)
	}
	where := bson.D{}
	if cluster != "" {
		where = append(where, bson.E{Key: "cluster_id", Value: cluster})
	}
	if ok {
		where = append(where, bson.E{Key: "$or", Value: bson.A{
			bson.D{{Key: "cluster_id", Value: bson.D{{Key: "$gt", Value: at.Key}}}},
			bson.D{{Key: "cluster_id", Value: at.Key}, {Key: "node_id", Value: bson.D{{Key: "$gt", Value: at.More}}}},
		}})
	}
	find := options.Find().SetSort(bson.D{{Key: "cluster_id", Value: 1}, {Key: "node_id", Value: 1}})
	nodes, next, err := part(ctx, s.nodes, where, find, page.Limit, func(node *record.Node) position {
		return position{List: list, Key: node.ClusterID, More: node.NodeID}
	})
	if err != nil {
		return nil, "", fmt.Errorf("list known nodes: %w", err)
	}
	return nodes, next, nil
}

// Clusters implements store.Store.
func (s *Store) Clusters(ctx context.Context) ([]store.Cluster, error) {
	ctx, cancel := bounded(ctx)
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
		return nil, fmt.Errorf("count clusters: %w", explain(err))
	}
	var clusters []store.Cluster
	if err := cursor.All(ctx, &clusters); err != nil {
		return nil, fmt.Errorf("count clusters: %w", explain(err))
	}
	return clusters, nil
}
