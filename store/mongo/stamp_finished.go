package mongo

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/replicante-io/playbooks/store"
)

// sealStep is how many documents one transaction of StampFinished stamps.
const sealStep = 1000

// StampFinished implements store.Store. Each step is a transaction that also touches the run, so that none can follow the commit
// that reopens it.
func (s *Store) StampFinished(ctx context.Context, term int64, runID string) error {
	ctx, cancel := bounded(ctx)
	defer cancel()
	// Refused: it has moved; see where it is now.
	err := s.settle(ctx, func() error { return s.stamp(ctx, term, runID) }, func(context.Context) error { return nil })
	if err != nil {
		return fmt.Errorf("stamp run %s: %w", runID, err)
	}
	return nil
}

func (s *Store) stamp(ctx context.Context, term int64, runID string) error {
	was, err := s.place(ctx, runID)
	switch {
	case err != nil:
		return err
	case was.Term > term:
		return fmt.Errorf("%w: term %d has claimed it, this is %d", store.ErrStaleTerm, was.Term, term)
	case was.FinishTS == nil:
		return fmt.Errorf("%w: it has not ended", store.ErrConflict)
	}
	same := bson.D{{Key: "_id", Value: runID}, {Key: "rev", Value: was.Rev}, {Key: "term", Value: was.Term}, {Key: "finish_ts", Value: *was.FinishTS}}
	touch := func(ctx context.Context, update any) error {
		result, err := s.runs.UpdateOne(ctx, same, update)
		if err == nil && result.MatchedCount == 0 {
			err = errRefused
		}
		return err
	}
	for _, part := range s.owned(runID) {
		ids, err := unstamped(ctx, part.collection, part.of)
		if err != nil {
			return explain(err)
		}
		for len(ids) > 0 {
			step := ids[:min(sealStep, len(ids))]
			err := s.transact(ctx, func(ctx context.Context) error {
				if err := touch(ctx, bson.D{{Key: "$inc", Value: bson.D{{Key: "stamps", Value: 1}}}}); err != nil {
					return err
				}
				return stamp(ctx, part.collection, step, *was.FinishTS)
			})
			if err != nil {
				return err
			}
			ids = ids[len(step):]
		}
	}
	// Open, as record.Run has it: an unsettled action keeps the leader busy with a stamped run.
	unsettled := bson.D{{Key: "$gt", Value: bson.A{"$unsettled", 0}}}
	return s.transact(ctx, func(ctx context.Context) error {
		for _, part := range s.owned(runID) { // which the lists above may not have shown
			if err := part.collection.FindOne(ctx, bson.D{part.of, absent}).Err(); err == nil {
				return errRefused
			} else if !errors.Is(err, mongo.ErrNoDocuments) {
				return err
			}
		}
		return touch(ctx, bson.A{
			bson.D{{Key: "$set", Value: bson.D{{Key: "stamped", Value: true}, {Key: "open", Value: unsettled}}}},
			bson.D{{Key: "$unset", Value: "stamps"}},
		})
	})
}

// unstamped lists the ids of documents without a finish_ts.
func unstamped(ctx context.Context, collection *mongo.Collection, of bson.E) ([]string, error) {
	cursor, err := collection.Find(ctx, bson.D{of, absent}, options.Find().SetProjection(byID(1)).SetSort(byID(1)))
	if err != nil {
		return nil, err
	}
	var docs []struct {
		ID string `bson:"_id"`
	}
	if err := cursor.All(ctx, &docs); err != nil {
		return nil, err
	}
	ids := make([]string, len(docs))
	for i, doc := range docs {
		ids[i] = doc.ID
	}
	return ids, nil
}

func stamp(ctx context.Context, collection *mongo.Collection, ids []string, finish time.Time) error {
	_, err := collection.UpdateMany(ctx, bson.D{{Key: "_id", Value: bson.D{{Key: "$in", Value: ids}}}, absent},
		bson.D{{Key: "$set", Value: bson.D{{Key: "finish_ts", Value: finish}}}})
	return err
}

// unstamp takes back, in the transaction that reopens a run, what StampFinished has stamped.
func (s *Store) unstamp(ctx context.Context, runID string) error {
	for _, part := range s.owned(runID) {
		_, err := part.collection.UpdateMany(ctx, bson.D{part.of, {Key: "finish_ts", Value: bson.D{{Key: "$ne", Value: nil}}}},
			bson.D{{Key: "$unset", Value: bson.D{{Key: "finish_ts", Value: ""}}}})
		if err != nil {
			return fmt.Errorf("take back finish_ts: %w", err)
		}
	}
	return nil
}
