package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"

	"github.com/replicante-io/playbooks/record"
	"github.com/replicante-io/playbooks/store"
)

// insertKeys stores idempotency records, or fails where a key is recorded already.
func (w *writer) insertKeys(keys []record.IdempotencyRecord) error {
	for _, key := range keys {
		recorded := record.IdempotencyRecord{Key: key.Key}
		err := w.row("SELECT doc ->> '$.digest' FROM idempotency_keys_data WHERE key = ?", []any{key.Key}, &recorded.Digest)
		switch {
		case err == nil:
			return store.KeyIsRecorded(recorded, key)
		case !errors.Is(err, sql.ErrNoRows):
			return err
		}
		doc, err := json.Marshal(key)
		if err != nil {
			return err
		}
		var runID, finish any
		if key.RunID != "" {
			runID = key.RunID
		}
		if ts := store.KeyFinishTS(key); ts != nil {
			finish = ts.UnixMilli()
		}
		if _, err := w.exec("INSERT INTO idempotency_keys_data (key, run_id, finish_ms, doc) VALUES (?, ?, ?, ?)", key.Key, runID, finish, string(doc)); err != nil {
			return err
		}
	}
	return nil
}

// IdempotencyRecord reads the record of a key.
func (s *Store) IdempotencyRecord(ctx context.Context, key, digest string) (record.IdempotencyRecord, error) {
	what := "read idempotency key " + key
	var found []record.IdempotencyRecord
	err := s.read(ctx, what, "SELECT doc FROM idempotency_keys_data WHERE key = ?", []any{key}, appendJSON(&found))
	recorded, err := first(s, what, found, err)
	if err != nil {
		return record.IdempotencyRecord{}, err
	}
	if err := store.MatchDigest(recorded, digest); err != nil {
		return record.IdempotencyRecord{}, s.wrap(what, err)
	}
	return recorded, nil
}
