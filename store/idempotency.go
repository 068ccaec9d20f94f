package store

import (
	"fmt"
	"time"

	"github.com/replicante-io/playbooks/record"
)

// What every store decides in the same way about idempotency keys.

// MatchDigest returns ErrKeyReused unless recorded is the record of a request with this digest.
func MatchDigest(recorded record.IdempotencyRecord, digest string) error {
	if recorded.Digest != digest {
		return fmt.Errorf("idempotency key %s: %w", recorded.Key, ErrKeyReused)
	}
	return nil
}

// KeyIsRecorded is the error of a write under a key that recorded, the record of the same key, keeps from being carried out:
// ErrExists where both have the same digest, ErrKeyReused where not.
func KeyIsRecorded(recorded, written record.IdempotencyRecord) error {
	if err := MatchDigest(recorded, written.Digest); err != nil {
		return err
	}
	return fmt.Errorf("idempotency key %s: %w", written.Key, ErrExists)
}

// KeyFinishTS is the finish_ts of a new idempotency record: one that is about a run gets the run's when that has ended; any
// other one expires like a run that ended when it was written.
func KeyFinishTS(written record.IdempotencyRecord) *time.Time {
	if written.RunID != "" {
		return nil
	}
	return new(record.Now())
}

// AppliedKey lists the idempotency record of an Apply, if any, with its answer.
func AppliedKey(key *record.IdempotencyRecord, answer func(record.Documents) string, applied record.Documents) []record.IdempotencyRecord {
	written := KeyList(key)
	if len(written) > 0 && answer != nil {
		written[0].Answer = answer(applied)
	}
	return written
}

// KeyList lists the idempotency record of a write that has at most one.
func KeyList(key *record.IdempotencyRecord) []record.IdempotencyRecord {
	if key == nil {
		return nil
	}
	return []record.IdempotencyRecord{*key}
}
