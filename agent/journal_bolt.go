package agent

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/google/uuid"
	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"github.com/replicante-io/playbooks/agent/wire"
)

const (
	journalFile    = "journal.db"
	journalVersion = "1"
	lockTimeout    = 2 * time.Second
)

// The buckets of a journal's file.
var (
	bucketMeta     = []byte("meta")     // journal_id, version
	bucketTerms    = []byte("terms")    // installation → highest term, 8 bytes
	bucketActions  = []byte("actions")  // ID → entry, or purged
	bucketOpen     = []byte("open")     // seq, 8 bytes → ID of an unfinished action
	bucketFinished = []byte("finished") // finish time in ns, 8 bytes, and ID → summary

	keyID      = []byte("journal_id")
	keyVersion = []byte("version")
	purged     = []byte("-")
)

// boltJournal is a journal in a file. A write returns when it is synced.
type boltJournal struct {
	db   *bbolt.DB
	name string
}

func openBoltJournal(dir string) (*boltJournal, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("create the agent's data directory: %w", err)
	}
	path := filepath.Join(dir, journalFile)
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: lockTimeout, FreelistType: bbolt.FreelistMapType})
	switch {
	case errors.Is(err, bolterrors.ErrTimeout):
		return nil, fmt.Errorf("open %s: %w: stop it, or give this agent another data directory", path, ErrJournalInUse)
	case errors.Is(err, bolterrors.ErrInvalid), errors.Is(err, bolterrors.ErrChecksum), errors.Is(err, bolterrors.ErrVersionMismatch):
		return nil, fmt.Errorf("open %s: %w: move the damaged file away to start a new journal; what was in flight is then unknown", path, err)
	case err != nil:
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	j := &boltJournal{db: db}
	if err := db.Update(j.prepare); err != nil {
		return nil, errors.Join(fmt.Errorf("open %s: %w", path, err), db.Close())
	}
	return j, nil
}

func (j *boltJournal) prepare(tx *bbolt.Tx) error {
	for _, name := range [][]byte{bucketMeta, bucketTerms, bucketActions, bucketOpen, bucketFinished} {
		if _, err := tx.CreateBucketIfNotExists(name); err != nil {
			return err
		}
	}
	meta := tx.Bucket(bucketMeta)
	if version := string(meta.Get(keyVersion)); version != "" && version != journalVersion {
		return fmt.Errorf("the journal has version %s and this agent supports version %s: use a newer agent", version, journalVersion)
	}
	if id := meta.Get(keyID); id != nil {
		j.name = string(id)
		return nil
	}
	j.name = uuid.NewString()
	return errors.Join(meta.Put(keyVersion, []byte(journalVersion)), meta.Put(keyID, []byte(j.name)))
}

func (j *boltJournal) id() string { return j.name }

func (j *boltJournal) close() error { return j.db.Close() }

func (j *boltJournal) terms() (map[string]int64, error) {
	terms := map[string]int64{}
	err := j.db.View(func(tx *bbolt.Tx) error {
		return tx.Bucket(bucketTerms).ForEach(func(installation, term []byte) error {
			terms[string(installation)] = int64(binary.BigEndian.Uint64(term))
			return nil
		})
	})
	return terms, err
}

func (j *boltJournal) unfinished() ([]*entry, error) {
	var entries []*entry
	err := j.db.View(func(tx *bbolt.Tx) error {
		actions := tx.Bucket(bucketActions)
		return tx.Bucket(bucketOpen).ForEach(func(_, id []byte) error {
			e, err := readEntry(id, actions.Get(id))
			if err != nil {
				return err
			}
			entries = append(entries, e)
			return nil
		})
	})
	return entries, err
}

func (j *boltJournal) find(id string) (e *entry, known bool, err error) {
	err = j.db.View(func(tx *bbolt.Tx) error {
		raw := tx.Bucket(bucketActions).Get([]byte(id))
		if raw == nil {
			return nil
		}
		known = true
		if string(raw) == string(purged) {
			return nil
		}
		e, err = readEntry([]byte(id), raw)
		return err
	})
	return e, known, err
}

func (j *boltJournal) finished(limit int) ([]wire.ActionSummary, error) {
	list := make([]wire.ActionSummary, 0, min(limit, 64))
	err := j.db.View(func(tx *bbolt.Tx) error {
		cursor := tx.Bucket(bucketFinished).Cursor()
		for key, raw := cursor.Last(); key != nil && len(list) < limit; key, raw = cursor.Prev() {
			var summary wire.ActionSummary
			if err := json.Unmarshal(raw, &summary); err != nil {
				return fmt.Errorf("decode the journal's list of finished actions: %w", err)
			}
			list = append(list, summary)
		}
		return nil
	})
	return list, err
}

func (j *boltJournal) write(changes ...change) error {
	return j.db.Update(func(tx *bbolt.Tx) error {
		for _, c := range changes {
			if c.installation != "" {
				if err := tx.Bucket(bucketTerms).Put([]byte(c.installation), encodeNumber(uint64(c.term))); err != nil {
					return err
				}
			}
			if c.put != nil {
				if err := putEntry(tx, c.put); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

func putEntry(tx *bbolt.Tx, e *entry) error {
	raw, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("encode action %s: %w", e.Action.ID, err)
	}
	id := []byte(e.Action.ID)
	if err := tx.Bucket(bucketActions).Put(id, raw); err != nil {
		return err
	}
	if !e.Action.State.Phase.Ended() {
		return tx.Bucket(bucketOpen).Put(encodeNumber(e.Seq), id)
	}
	summary, err := json.Marshal(e.summary())
	if err != nil {
		return fmt.Errorf("encode action %s: %w", e.Action.ID, err)
	}
	key := append(encodeNumber(uint64(e.Action.FinishedTime.UnixNano())), id...)
	return errors.Join(tx.Bucket(bucketOpen).Delete(encodeNumber(e.Seq)), tx.Bucket(bucketFinished).Put(key, summary))
}

func (j *boltJournal) purge(before time.Time, limit int) (dropped int, err error) {
	var old [][]byte
	if err := j.db.View(func(tx *bbolt.Tx) error {
		cursor := tx.Bucket(bucketFinished).Cursor()
		for key, _ := cursor.First(); key != nil && len(old) < limit; key, _ = cursor.Next() {
			if int64(binary.BigEndian.Uint64(key)) >= before.UnixNano() {
				break
			}
			old = append(old, append([]byte(nil), key...))
		}
		return nil
	}); err != nil || len(old) == 0 {
		return 0, err
	}
	err = j.db.Update(func(tx *bbolt.Tx) error {
		for _, key := range old {
			if err := tx.Bucket(bucketFinished).Delete(key); err != nil {
				return err
			}
			if err := tx.Bucket(bucketActions).Put(key[8:], purged); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	return len(old), nil
}

func readEntry(id, raw []byte) (*entry, error) {
	e := &entry{}
	if err := json.Unmarshal(raw, e); err != nil {
		return nil, fmt.Errorf("decode action %s of the journal: %w", id, err)
	}
	return e, nil
}

func encodeNumber(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }
