package mongo

import (
	"context"
	"errors"
	"fmt"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/replicante-io/playbooks/record"
	"github.com/replicante-io/playbooks/store"
)

// encodeKeys makes the documents of effects. One of no run lives from now on as long as a run that ends now.
func encodeKeys(effects []record.IdempotencyRecord) ([]any, error) {
	var docs []any
	for _, effect := range effects {
		doc := keyDocument{ID: effect.Key, IdempotencyRecord: effect}
		if effect.RunID == "" {
			doc.FinishTS = new(record.Now())
		}
		raw, err := encode("idempotency key "+effect.Key, doc)
		if err != nil {
			return nil, err
		}
		docs = append(docs, raw)
	}
	return docs, nil
}

// IdempotencyRecord implements store.Store.
func (s *Store) IdempotencyRecord(ctx context.Context, key, digest string) (record.IdempotencyRecord, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	effect, err := s.effect(ctx, key)
	if err == nil && effect.Digest != digest {
		err = store.ErrKeyReused
	}
	if err != nil {
		return record.IdempotencyRecord{}, fmt.Errorf("idempotency key %s: %w", key, err)
	}
	return effect, nil
}

func (s *Store) effect(ctx context.Context, key string) (record.IdempotencyRecord, error) {
	var doc keyDocument
	err := s.keys.FindOne(ctx, byID(key)).Decode(&doc)
	return doc.IdempotencyRecord, explain(err)
}

// used says which of the keys was used before; nil if none.
func (s *Store) used(ctx context.Context, effects []record.IdempotencyRecord) error {
	for _, effect := range effects {
		was, err := s.effect(ctx, effect.Key)
		switch {
		case errors.Is(err, store.ErrNotFound):
			continue
		case err == nil && was.Digest != effect.Digest:
			err = store.ErrKeyReused
		case err == nil:
			err = store.ErrExists
		}
		return fmt.Errorf("idempotency key %s: %w", effect.Key, err)
	}
	return nil
}

// insertKey adds the key of effect, if any, in a transaction.
func (s *Store) insertKey(ctx context.Context, effect *record.IdempotencyRecord) error {
	if effect == nil {
		return nil
	}
	docs, err := encodeKeys([]record.IdempotencyRecord{*effect})
	if err != nil {
		return err
	}
	_, err = s.keys.InsertMany(ctx, docs)
	if duplicate(err) {
		return errRefused
	}
	return err
}

// absent chooses documents without a finish_ts.
var absent = bson.E{Key: "finish_ts", Value: nil}

// owned are the collections of what belongs to runs, with how each finds a run's.
func (s *Store) owned(runID string) []struct {
	collection *mongo.Collection
	of         bson.E
} {
	return []struct {
		collection *mongo.Collection
		of         bson.E
	}{
		{s.agents, ofRun(runID, "")},
		{s.events, ofRun(runID, "")},
		{s.keys, bson.E{Key: "run_id", Value: runID}},
	}
}
