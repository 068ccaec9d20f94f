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

// Schedules and freezes are few, and the leader keeps them in memory: what is written about them changes the terms record too,
// so that no leader misses what an earlier one has written.

func newScheduleDocument(schedule record.Schedule) any {
	return scheduleDocument{ID: schedule.Name, Schedule: schedule}
}

func newFreezeDocument(freeze record.Freeze) any {
	return freezeDocument{ID: freeze.Name, Freeze: freeze}
}

// writeFenced runs write in a transaction that is refused unless term is the latest. explain says why write was refused otherwise.
func (s *Store) writeFenced(ctx context.Context, term int64, write, explain func(ctx context.Context) error) error {
	ctx, cancel := withTimeout(ctx)
	defer cancel()
	return s.writeOrExplain(ctx, func() error {
		return s.transactFenced(ctx, func(ctx context.Context) error {
			if err := s.fence(ctx, term); err != nil {
				return err
			}
			return write(ctx)
		})
	}, func(ctx context.Context) error {
		if err := s.explainFence(ctx, term); err != nil {
			return err
		}
		return explain(ctx)
	})
}

// applyNamed stores, in a transaction, what next makes of a document and of the one of its name.
func applyNamed[T any](ctx context.Context, collection *mongo.Collection, name string, applied T,
	next func(stored *T, applied T) (T, bool), document func(T) any) (T, error) {
	var before *T
	var found T
	err := collection.FindOne(ctx, byID(name)).Decode(&found)
	if err == nil {
		before = &found
	} else if !errors.Is(err, mongo.ErrNoDocuments) {
		return applied, err
	}
	stored, changed := next(before, applied)
	if !changed {
		return stored, nil
	}
	raw, err := encode(name, document(stored))
	if err != nil {
		return stored, err
	}
	_, err = collection.ReplaceOne(ctx, byID(name), raw, options.Replace().SetUpsert(true))
	if duplicate(err) {
		err = errRefused
	}
	return stored, err
}

// Schedule implements store.Store.
func (s *Store) Schedule(ctx context.Context, name string) (record.Schedule, error) {
	return readNamed[record.Schedule](ctx, s.schedules, name)
}

// Schedules implements store.Store.
func (s *Store) Schedules(ctx context.Context, page store.Page) ([]record.Schedule, string, error) {
	return pageNamed(ctx, s.schedules, page, func(schedule *record.Schedule) string { return schedule.Name })
}

// SaveSchedule implements store.Store.
func (s *Store) SaveSchedule(ctx context.Context, term int64, schedule record.Schedule, key *record.IdempotencyRecord) error {
	raw, err := encode("the schedule", newScheduleDocument(schedule))
	if err != nil {
		return fmt.Errorf("save schedule %s: %w", schedule.Name, err)
	}
	keys := store.KeyList(key)
	docs, err := encodeKeys(keys)
	if err != nil {
		return err
	}
	err = s.writeFenced(ctx, term, func(ctx context.Context) error {
		if err := s.insertKeys(ctx, docs); err != nil {
			return err
		}
		result, err := s.schedules.ReplaceOne(ctx, bson.D{{Key: "_id", Value: schedule.Name}, {Key: "rev", Value: schedule.Rev - 1}}, raw)
		if err == nil && result.MatchedCount == 0 {
			err = errRefused
		}
		return err
	}, func(ctx context.Context) error {
		if err := s.explainKeys(ctx, keys); err != nil {
			return err
		}
		switch stored, err := readNamed[record.Schedule](ctx, s.schedules, schedule.Name); {
		case err != nil:
			return err
		case stored.Rev != schedule.Rev-1:
			return fmt.Errorf("it has rev %d, not %d: %w", stored.Rev, schedule.Rev-1, store.ErrConflict)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("save schedule %s: %w", schedule.Name, err)
	}
	return nil
}

// DeleteSchedule implements store.Store.
func (s *Store) DeleteSchedule(ctx context.Context, term int64, name string, key *record.IdempotencyRecord) error {
	return s.deleteNamed(ctx, term, s.schedules, name, key)
}

// Freeze implements store.Store.
func (s *Store) Freeze(ctx context.Context, name string) (record.Freeze, error) {
	return readNamed[record.Freeze](ctx, s.freezes, name)
}

// Freezes implements store.Store.
func (s *Store) Freezes(ctx context.Context, page store.Page) ([]record.Freeze, string, error) {
	return pageNamed(ctx, s.freezes, page, func(freeze *record.Freeze) string { return freeze.Name })
}

// DeleteFreeze implements store.Store.
func (s *Store) DeleteFreeze(ctx context.Context, term int64, name string, key *record.IdempotencyRecord) error {
	return s.deleteNamed(ctx, term, s.freezes, name, key)
}

func readNamed[T any](ctx context.Context, collection *mongo.Collection, name string) (found T, err error) {
	ctx, cancel := withTimeout(ctx)
	defer cancel()
	if err := collection.FindOne(ctx, byID(name)).Decode(&found); err != nil {
		return found, fmt.Errorf("%s of %s: %w", name, collection.Name(), translate(err))
	}
	return found, nil
}

func pageNamed[T any](ctx context.Context, collection *mongo.Collection, page store.Page, nameOf func(*T) string) ([]T, string, error) {
	ctx, cancel := withTimeout(ctx)
	defer cancel()
	list := collection.Name()
	after, ok, err := parseCursor(list, page.Cursor)
	if err != nil {
		return nil, "", fmt.Errorf("list %s: %w", list, err)
	}
	where := bson.D{}
	if ok {
		where = byID(bson.D{{Key: "$gt", Value: after.Key}})
	}
	found, next, err := readPage(ctx, collection, where, options.Find().SetSort(byID(1)), page.Limit, func(last *T) position {
		return position{List: list, Key: nameOf(last)}
	})
	if err != nil {
		return nil, "", fmt.Errorf("list %s: %w", list, err)
	}
	return found, next, nil
}

func (s *Store) deleteNamed(ctx context.Context, term int64, collection *mongo.Collection, name string, key *record.IdempotencyRecord) error {
	keys := store.KeyList(key)
	docs, err := encodeKeys(keys)
	if err != nil {
		return err
	}
	err = s.writeFenced(ctx, term, func(ctx context.Context) error {
		if err := s.insertKeys(ctx, docs); err != nil {
			return err
		}
		result, err := collection.DeleteOne(ctx, byID(name))
		if err == nil && result.DeletedCount == 0 {
			err = store.ErrNotFound
		}
		return err
	}, func(ctx context.Context) error { return s.explainKeys(ctx, keys) })
	if err != nil {
		return fmt.Errorf("delete %s of %s: %w", name, collection.Name(), err)
	}
	return nil
}
