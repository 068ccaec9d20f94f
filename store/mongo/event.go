package mongo

import (
	"context"
	"errors"
	"fmt"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/replicante-io/playbooks/record"
	"github.com/replicante-io/playbooks/store"
)

// slice is how many events Follow reads at a time.
const slice = 1000

// maxReads is how often Follow looks, within 10 s or so, for events that were announced.
const maxReads = 100

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
	find, cancel := bounded(ctx)
	err := s.exists(find, runID)
	cancel()
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return fmt.Errorf("follow run %s: %w", runID, err)
	}
	follower := s.hub.join(runID)
	defer s.hub.leave(follower)
	for attempt := 0; ; attempt++ {
		// What is known before the read must be in it, or be read again.
		known := follower.last()
		for {
			read, cancel := bounded(ctx)
			events, err := s.eventsAfter(read, runID, after, slice)
			cancel()
			if ctx.Err() != nil {
				return nil
			}
			if err != nil && !errors.Is(err, store.ErrUnavailable) {
				return fmt.Errorf("follow run %s: %w", runID, err)
			}
			if len(events) == 0 {
				if err != nil {
					known = max(known, after+1)
				}
				break
			}
			if err := deliver(events); err != nil {
				return err
			}
			after, attempt = events[len(events)-1].Seq, 0
		}
		if known > after && attempt < maxReads { // a server that does not know of them yet, or none that answers
			if !pause(ctx, attempt) {
				return nil
			}
			continue
		}
		select {
		case <-follower.wake:
			attempt = 0
		case <-ctx.Done():
			return nil
		}
	}
}
