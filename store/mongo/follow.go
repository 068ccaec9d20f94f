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

// Follow implements store.Store. It delivers what it reads from the collection; the change stream only says when to read.
func (s *Store) Follow(ctx context.Context, runID string, after int64, deliver func([]record.Event) error) error {
	if ctx.Err() != nil {
		return nil
	}
	wake := s.notifier.subscribe(runID)
	defer s.notifier.unsubscribe(runID, wake)
	first := true
	tries := backoff()
	for {
		events, err := s.eventsSince(ctx, runID, after)
		if err == nil && first {
			err = s.existsWithTimeout(ctx, runID)
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

// eventsSince reads the next events, on a server that has everything that the notifier has announced.
func (s *Store) eventsSince(ctx context.Context, runID string, after int64) (events []record.Event, err error) {
	ctx, cancel := withTimeout(ctx)
	defer cancel()
	err = s.client.UseSession(ctx, func(ctx context.Context) error {
		if announced := s.notifier.last(); !announced.IsZero() {
			if err := mongo.SessionFromContext(ctx).AdvanceOperationTime(&announced); err != nil {
				return err
			}
		}
		events, err = s.eventsAfter(ctx, runID, after, followLimit)
		return err
	})
	return events, translate(err)
}

func (s *Store) existsWithTimeout(ctx context.Context, runID string) error {
	ctx, cancel := withTimeout(ctx)
	defer cancel()
	return s.exists(ctx, runID)
}

// Maintain implements store.Store: it feeds Follow. Expiry is done by TTL indexes.
func (s *Store) Maintain(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-s.notifier.needed:
	}
	tries := backoff()
	for {
		opened, err := s.watch(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if opened {
			tries.Reset()
		}
		s.log.Warn("the change stream of events was lost; will open it again", "error", err)
		if !tries.Wait(ctx) {
			return nil
		}
	}
}

// watch reads a change stream until it is lost. The stream begins at a time up to which a majority has everything; all
// followers are woken to read what came before that time. So a new stream need not continue where the last one ended.
func (s *Store) watch(ctx context.Context) (opened bool, err error) {
	session, err := s.client.StartSession()
	if err != nil {
		return false, err
	}
	defer session.EndSession(context.WithoutCancel(ctx))
	// The operation time of a majority read is that of the last commit that it could see.
	err = s.events.FindOne(mongo.NewSessionContext(ctx, session), byID("")).Err()
	if err != nil && !errors.Is(err, mongo.ErrNoDocuments) {
		return false, fmt.Errorf("find where to begin: %w", translate(err))
	}
	begin := session.OperationTime()
	stream, err := s.events.Watch(ctx, mongo.Pipeline{
		{{Key: "$match", Value: bson.D{{Key: "operationType", Value: "insert"}}}},
		{{Key: "$project", Value: bson.D{{Key: "documentKey", Value: 1}, {Key: "clusterTime", Value: 1}}}},
	}, options.ChangeStream().SetStartAtOperationTime(begin))
	if err != nil {
		return false, fmt.Errorf("open: %w", translate(err))
	}
	defer func() {
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
		defer cancel()
		_ = stream.Close(closing)
	}()
	s.notifier.announce(nil, *begin)
	runs := map[string]bool{} // of the current batch
	for stream.Next(ctx) {
		var change struct {
			Key struct {
				ID string `bson:"_id"`
			} `bson:"documentKey"`
			Time bson.Timestamp `bson:"clusterTime"`
		}
		if err := stream.Decode(&change); err != nil {
			return true, err
		}
		runs[runOfEvent(change.Key.ID)] = true
		if stream.RemainingBatchLength() == 0 {
			s.notifier.announce(runs, change.Time)
			clear(runs)
		}
	}
	return true, translate(stream.Err())
}
