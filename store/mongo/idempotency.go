package mongo

import (
	"context"
	"errors"
	"fmt"

	"github.com/replicante-io/playbooks/record"
	"github.com/replicante-io/playbooks/store"
)

// encodeKeys makes the documents of idempotency records.
func encodeKeys(keys []record.IdempotencyRecord) ([]any, error) {
	var docs []any
	for _, key := range keys {
		raw, err := encode("idempotency key "+key.Key, keyDocument{ID: key.Key, IdempotencyRecord: key, FinishTS: store.KeyFinishTS(key)})
		if err != nil {
			return nil, err
		}
		docs = append(docs, raw)
	}
	return docs, nil
}

// insertKeys inserts the documents of idempotency records, in a transaction. It refuses one that exists.
func (s *Store) insertKeys(ctx context.Context, docs []any) error {
	if len(docs) == 0 {
		return nil
	}
	if _, err := s.keys.InsertMany(ctx, docs); duplicate(err) {
		return errRefused
	} else if err != nil {
		return fmt.Errorf("idempotency keys: %w", err)
	}
	return nil
}

// explainKeys is why insertKeys refused one of the keys; nil if all are new.
func (s *Store) explainKeys(ctx context.Context, keys []record.IdempotencyRecord) error {
	for _, key := range keys {
		switch recorded, err := s.recordOf(ctx, key.Key); {
		case err == nil:
			return store.KeyIsRecorded(recorded, key)
		case !errors.Is(err, store.ErrNotFound):
			return fmt.Errorf("idempotency key %s: %w", key.Key, err)
		}
	}
	return nil
}

// IdempotencyRecord implements store.Store.
func (s *Store) IdempotencyRecord(ctx context.Context, key, digest string) (record.IdempotencyRecord, error) {
	ctx, cancel := withTimeout(ctx)
	defer cancel()
	recorded, err := s.recordOf(ctx, key)
	if err != nil {
		return record.IdempotencyRecord{}, fmt.Errorf("idempotency key %s: %w", key, err)
	}
	if err := store.MatchDigest(recorded, digest); err != nil {
		return record.IdempotencyRecord{}, err
	}
	return recorded, nil
}

func (s *Store) recordOf(ctx context.Context, key string) (record.IdempotencyRecord, error) {
	var doc keyDocument
	err := s.keys.FindOne(ctx, byID(key)).Decode(&doc)
	return doc.IdempotencyRecord, translate(err)
}
