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

// slice is how many events Follow reads at a time.
const slice = 1000

// Events implements store.Store.
func (s *Store) Events(ctx context.Context, runID string, after int64, limit int) ([]record.Event, error) {
	ctx, cancel := bounded(ctx)
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
	cursor, err := s.events.Find(ctx, bson.D{ofRun(runID, id[len(runID)+1:])}, find)
	if err != nil {
		return nil, explain(err)
	}
	var events []record.Event
	err = cursor.All(ctx, &events)
	return events, explain(err)
}

// Follow implements store.Store. What it delivers it has read from the collection; the change stream only says when to.
func (s *Store) Follow(ctx context.Context, runID string, after int64, deliver func([]record.Event) error) error {
	if ctx.Err() != nil {
		return nil
	}
	wake := s.hub.join(runID)
	defer s.hub.leave(runID, wake)
	first := true
	tries := backoff()
	for {
		events, err := s.eventsSince(ctx, runID, after)
		if err == nil && first {
			err = s.found(ctx, runID)
			first = err != nil
		}
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, store.ErrUnavailable):
			tries.Wait(ctx)
			continue
		case err != nil:
			return fmt.Errorf("follow run %s: %w", runID, err)
		}
		tries.Reset()
		if len(events) > 0 {
			if err := deliver(events); err != nil {
				return err
			}
			after = events[len(events)-1].Seq
			continue
		}
		select {
		case <-wake:
		case <-ctx.Done():
			return nil
		}
	}
}

// eventsSince reads the next slice of events, on a server that knows all that the hub has announced.
func (s *Store) eventsSince(ctx context.Context, runID string, after int64) (events []record.Event, err error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	err = s.client.UseSession(ctx, func(ctx context.Context) error {
		if announced := s.hub.last(); !announced.IsZero() {
			if err := mongo.SessionFromContext(ctx).AdvanceOperationTime(&announced); err != nil {
				return err
			}
		}
		events, err = s.eventsAfter(ctx, runID, after, slice)
		return err
	})
	return events, explain(err)
}

// found is exists with a bound of its own.
func (s *Store) found(ctx context.Context, runID string) error {
	ctx, cancel := bounded(ctx)
	defer cancel()
	return s.exists(ctx, runID)
}
