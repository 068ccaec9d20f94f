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

// stampLimit is how many documents one transaction of StampFinished stamps.
const stampLimit = 1000

// StampFinished implements store.Store. Each step is a transaction that also writes the run, so that none can follow the
// commit that reopens it.
func (s *Store) StampFinished(ctx context.Context, term int64, runID string) error {
	ctx, cancel := withTimeout(ctx)
	defer cancel()
	// Where it is refused the run has changed: it is read again.
	err := s.writeOrExplain(ctx, func() error { return s.stamp(ctx, term, runID) }, func(context.Context) error { return nil })
	if err != nil {
		return fmt.Errorf("stamp run %s: %w", runID, err)
	}
	return nil
}

func (s *Store) stamp(ctx context.Context, term int64, runID string) error {
	stored, err := s.runVersion(ctx, runID)
	switch {
	case err != nil:
		return err
	case stored.Term > term:
		return staleTerm(stored, term)
	case stored.FinishTS == nil:
		return fmt.Errorf("%w: it is not finished", store.ErrConflict)
	}
	unchanged := bson.D{{Key: "_id", Value: runID}, {Key: "rev", Value: stored.Rev}, {Key: "term", Value: stored.Term}, {Key: "finish_ts", Value: *stored.FinishTS}}
	updateRun := func(ctx context.Context, update any) error {
		result, err := s.runs.UpdateOne(ctx, unchanged, update)
		if err == nil && result.MatchedCount == 0 {
			err = errRefused
		}
		return err
	}
	for _, records := range s.recordsOf(runID) {
		ids, err := unstamped(ctx, records.collection, records.ofRun)
		if err != nil {
			return translate(err)
		}
		for len(ids) > 0 {
			step := ids[:min(stampLimit, len(ids))]
			err := s.transact(ctx, func(ctx context.Context) error {
				if err := updateRun(ctx, bson.D{{Key: "$inc", Value: bson.D{{Key: "stamps", Value: 1}}}}); err != nil {
					return err
				}
				return stamp(ctx, records.collection, step, *stored.FinishTS)
			})
			if err != nil {
				return err
			}
			ids = ids[len(step):]
		}
	}
	return s.transact(ctx, func(ctx context.Context) error {
		for _, records := range s.recordsOf(runID) { // of which the reads above may have missed some
			if err := records.collection.FindOne(ctx, bson.D{records.ofRun, withoutFinishTS}).Err(); err == nil {
				return errRefused
			} else if !errors.Is(err, mongo.ErrNoDocuments) {
				return err
			}
		}
		return updateRun(ctx, bson.D{
			{Key: "$set", Value: bson.D{{Key: "stamped", Value: true}, {Key: "open", Value: false}}},
			{Key: "$unset", Value: bson.D{{Key: "stamps", Value: ""}}},
		})
	})
}

// unstamped lists the ids of documents without a finish_ts.
func unstamped(ctx context.Context, collection *mongo.Collection, ofRun bson.E) ([]string, error) {
	cursor, err := collection.Find(ctx, bson.D{ofRun, withoutFinishTS}, options.Find().SetProjection(byID(1)).SetSort(byID(1)))
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
	_, err := collection.UpdateMany(ctx, bson.D{{Key: "_id", Value: bson.D{{Key: "$in", Value: ids}}}, withoutFinishTS},
		bson.D{{Key: "$set", Value: bson.D{{Key: "finish_ts", Value: finish}}}})
	return err
}

// removeStamps removes, in the transaction that reopens a run, what StampFinished has stamped.
func (s *Store) removeStamps(ctx context.Context, runID string) error {
	for _, records := range s.recordsOf(runID) {
		_, err := records.collection.UpdateMany(ctx, bson.D{records.ofRun, {Key: "finish_ts", Value: bson.D{{Key: "$ne", Value: nil}}}},
			bson.D{{Key: "$unset", Value: bson.D{{Key: "finish_ts", Value: ""}}}})
		if err != nil {
			return fmt.Errorf("remove finish_ts: %w", err)
		}
	}
	return nil
}

// withoutFinishTS selects documents without a finish_ts.
var withoutFinishTS = bson.E{Key: "finish_ts", Value: nil}

// runRecords are the records of a run in one collection.
type runRecords struct {
	collection *mongo.Collection
	ofRun      bson.E // selects them
}

// recordsOf is where a run has records.
func (s *Store) recordsOf(runID string) []runRecords {
	return []runRecords{
		{s.agents, belongsTo(runID, "")},
		{s.events, belongsTo(runID, "")},
		{s.keys, bson.E{Key: "run_id", Value: runID}},
	}
}
