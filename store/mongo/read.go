package mongo

import (
	"context"
	"fmt"
	"slices"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/replicante-io/playbooks/record"
	"github.com/replicante-io/playbooks/store"
)

// withoutSpec is a projection without the text of the playbook.
var withoutSpec = bson.D{{Key: "playbook.spec", Value: 0}}

// OpenRuns implements store.Store.
func (s *Store) OpenRuns(ctx context.Context) ([]record.Run, error) {
	ctx, cancel := withTimeout(ctx)
	defer cancel()
	var runs []record.Run
	err := s.linearized(ctx, func(ctx context.Context) error {
		cursor, err := s.runs.Find(ctx, bson.D{{Key: "open", Value: true}}, options.Find().SetProjection(withoutSpec))
		if err != nil {
			return err
		}
		return cursor.All(ctx, &runs)
	})
	if err != nil {
		return nil, fmt.Errorf("list open runs: %w", translate(err))
	}
	slices.SortFunc(runs, store.CompareQueued)
	return runs, nil
}

// Run implements store.Store.
func (s *Store) Run(ctx context.Context, runID string) (record.Run, error) {
	ctx, cancel := withTimeout(ctx)
	defer cancel()
	var run record.Run
	if err := s.runs.FindOne(ctx, byID(runID)).Decode(&run); err != nil {
		return record.Run{}, fmt.Errorf("run %s: %w", runID, translate(err))
	}
	return run, nil
}

// Runs implements store.Store.
func (s *Store) Runs(ctx context.Context, filter store.RunFilter, page store.Page) ([]record.Run, string, error) {
	ctx, cancel := withTimeout(ctx)
	defer cancel()
	const list = "runs"
	after, ok, err := parseCursor(list, page.Cursor)
	if err != nil {
		return nil, "", fmt.Errorf("list runs: %w", err)
	}
	where := bson.D{}
	if filter.Cluster != "" {
		where = append(where, bson.E{Key: "cluster", Value: filter.Cluster})
	}
	if filter.Playbook != "" {
		where = append(where, bson.E{Key: "playbook.name", Value: filter.Playbook})
	}
	if len(filter.States) > 0 {
		where = append(where, bson.E{Key: "state", Value: bson.D{{Key: "$in", Value: filter.States}}})
	}
	if ok {
		created := time.UnixMilli(after.Time)
		where = append(where, bson.E{Key: "$or", Value: bson.A{
			bson.D{{Key: "created_ts", Value: bson.D{{Key: "$lt", Value: created}}}},
			bson.D{{Key: "created_ts", Value: created}, {Key: "_id", Value: bson.D{{Key: "$lt", Value: after.Key}}}},
		}})
	}
	find := options.Find().SetProjection(withoutSpec).SetSort(bson.D{{Key: "created_ts", Value: -1}, {Key: "_id", Value: -1}})
	runs, next, err := readPage(ctx, s.runs, where, find, page.Limit, func(run *record.Run) position {
		return position{List: list, Time: run.CreatedTS.UnixMilli(), Key: run.ID}
	})
	if err != nil {
		return nil, "", fmt.Errorf("list runs: %w", err)
	}
	return runs, next, nil
}

// RunNode implements store.Store.
func (s *Store) RunNode(ctx context.Context, runID, node string) (record.RunNode, error) {
	ctx, cancel := withTimeout(ctx)
	defer cancel()
	var found record.RunNode
	if err := s.agents.FindOne(ctx, byID(runNodeID(runID, node))).Decode(&found); err != nil {
		return record.RunNode{}, fmt.Errorf("node %s of run %s: %w", node, runID, translate(err))
	}
	return found, nil
}

// RunNodes implements store.Store.
func (s *Store) RunNodes(ctx context.Context, runID string, states []record.NodeState, page store.Page) ([]record.RunNode, string, error) {
	ctx, cancel := withTimeout(ctx)
	defer cancel()
	list := "nodes of " + runID
	after, _, err := parseCursor(list, page.Cursor)
	if err != nil {
		return nil, "", fmt.Errorf("list nodes of run %s: %w", runID, err)
	}
	where := bson.D{belongsTo(runID, after.Key)}
	if len(states) > 0 {
		where = append(where, bson.E{Key: "state", Value: bson.D{{Key: "$in", Value: states}}})
	}
	nodes, next, err := readPage(ctx, s.agents, where, options.Find().SetSort(byID(1)), page.Limit, func(node *record.RunNode) position {
		return position{List: list, Key: node.Node}
	})
	if err == nil && len(nodes) == 0 {
		err = s.exists(ctx, runID)
	}
	if err != nil {
		return nil, "", fmt.Errorf("list nodes of run %s: %w", runID, err)
	}
	return nodes, next, nil
}

// exists is ErrNotFound where there is no such run.
func (s *Store) exists(ctx context.Context, runID string) error {
	return translate(s.runs.FindOne(ctx, byID(runID), options.FindOne().SetProjection(byID(1))).Err())
}
