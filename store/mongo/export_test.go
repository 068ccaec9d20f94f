package mongo

import (
	"context"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/event"
)

// Hold opens a transaction that has changed the run and the terms record, calls held, and waits for ctx.
func (s *Store) Hold(ctx context.Context, term int64, runID string, held func()) error {
	return s.transact(ctx, func(ctx context.Context) error {
		if _, err := s.runs.UpdateOne(ctx, byID(runID), bson.D{{Key: "$inc", Value: bson.D{{Key: "rev", Value: 1}}}}); err != nil {
			return err
		}
		if err := s.fence(ctx, term); err != nil {
			return err
		}
		held()
		<-ctx.Done()
		return ctx.Err()
	})
}

// Monitor observes the commands of a store.
func (c *Config) Monitor(m *event.CommandMonitor) { c.monitor = m }
