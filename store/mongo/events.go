package mongo

import (
	"context"
	"fmt"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/replicante-io/playbooks/record"
)

// followLimit is how many events Follow reads at a time.
const followLimit = 1000

// Events implements store.Store.
func (s *Store) Events(ctx context.Context, runID string, after int64, limit int) ([]record.Event, error) {
	ctx, cancel := withTimeout(ctx)
	defer cancel()
	events, err := s.eventsAfter(ctx, runID, after, limit)
	if err == nil && len(events) == 0 {
		err = s.exists(ctx, runID)
	}
	if err != nil {
		return nil, fmt.Errorf("events of run %s: %w", runID, err)
	}
	return events, nil
}

func (s *Store) eventsAfter(ctx context.Context, runID string, after int64, limit int) ([]record.Event, error) {
	id := eventID(runID, max(0, after))
	find := options.Find().SetSort(byID(1)).SetLimit(int64(max(0, limit)))
	cursor, err := s.events.Find(ctx, bson.D{belongsTo(runID, id[len(runID)+1:])}, find)
	if err != nil {
		return nil, translate(err)
	}
	var events []record.Event
	err = cursor.All(ctx, &events)
	return events, translate(err)
}
