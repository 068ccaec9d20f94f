package sqlite

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/replicante-io/playbooks/record"
	"github.com/replicante-io/playbooks/store"
)

// Init makes the tables and the installation, unless they are there.
func (s *Store) Init(ctx context.Context) error {
	f, err := s.connect(ctx)
	if err == nil {
		err = f.alone(ctx, func() error { return f.init(ctx) })
	}
	return s.say("initialise the store", err)
}

func (f *file) init(ctx context.Context) error {
	if f.ready.Load() {
		return nil
	}
	// These cannot be set inside a transaction; both stay with the file.
	for _, pragma := range []string{"page_size = 8192", "journal_mode = WAL"} {
		if _, err := f.conn.ExecContext(ctx, "PRAGMA "+pragma); err != nil {
			return err
		}
	}
	err := f.begin(ctx, func(w *writer) error {
		for _, definition := range append(definitions(), fmt.Sprintf("PRAGMA application_id = %d", application)) {
			if _, err := w.conn.ExecContext(ctx, definition); err != nil {
				return fmt.Errorf("%s: %w", definition, err)
			}
		}
		return w.putTerm(record.Term{Installation: rand.Text(), Schema: schema})
	})
	if err == nil {
		err = settle(f.path)
	}
	if err == nil {
		f.ready.Store(true)
	}
	return err
}

func (w *writer) putTerm(term record.Term) error {
	doc, err := json.Marshal(term)
	if err == nil {
		_, err = w.exec("INSERT INTO terms_data (id, doc) VALUES (1, ?) ON CONFLICT DO UPDATE SET doc = excluded.doc", string(doc))
	}
	return err
}

func (w *writer) term() (record.Term, error) {
	var doc string
	var term record.Term
	if err := w.row("SELECT doc FROM terms_data", nil, &doc); err != nil {
		return term, err
	}
	return term, json.Unmarshal([]byte(doc), &term)
}

// fence refuses a term that is not the latest. Nothing else writes at the same time, so there is no need to change the
// record for others to notice.
func (w *writer) fence(term int64) error {
	latest, err := w.term()
	switch {
	case err != nil:
		return err
	case latest.Term > term:
		return fmt.Errorf("term %d, now it is %d: %w", term, latest.Term, store.ErrStaleTerm)
	case latest.Term < term:
		return fmt.Errorf("term %d, it is still %d: %w", term, latest.Term, store.ErrConflict)
	}
	return nil
}

// Term reads the terms record.
func (s *Store) Term(ctx context.Context) (record.Term, error) {
	var term record.Term
	f, err := s.connect(ctx)
	if err == nil && !f.ready.Load() {
		err = fmt.Errorf("the store is not set up: %w", store.ErrNotFound)
	}
	if err != nil {
		return term, s.say("read the term", err)
	}
	err = s.read(ctx, "read the term", "SELECT doc FROM terms_data", nil, func(row *sql.Rows) error {
		return scan(row, &term)
	})
	return term, err
}

// BeginTerm begins a new term.
func (s *Store) BeginTerm(ctx context.Context, floor int64) (record.Term, error) {
	var term record.Term
	err := s.write(ctx, "begin a term", func(w *writer) (err error) {
		if term, err = w.term(); err != nil {
			return err
		}
		term.Term = max(term.Term, floor) + 1
		return w.putTerm(term)
	})
	return term, err
}

// keep stores effects. Those of no run live as long as a run that ended now.
func (w *writer) keep(effects []record.IdempotencyRecord) error {
	for _, effect := range effects {
		doc, err := json.Marshal(effect)
		if err != nil {
			return err
		}
		var run, finish any
		if effect.RunID != "" {
			run = effect.RunID
		} else {
			finish = record.Now().UnixMilli()
		}
		var digest string
		err = w.row("SELECT doc ->> '$.digest' FROM idempotency_keys_data WHERE key = ?", []any{effect.Key}, &digest)
		switch {
		case err == nil && digest != effect.Digest:
			return fmt.Errorf("key %s: %w", effect.Key, store.ErrKeyReused)
		case err == nil:
			return fmt.Errorf("key %s: %w", effect.Key, store.ErrExists)
		case !errors.Is(err, sql.ErrNoRows):
			return err
		}
		if _, err := w.exec("INSERT INTO idempotency_keys_data (key, run_id, finish_ms, doc) VALUES (?, ?, ?, ?)", effect.Key, run, finish, string(doc)); err != nil {
			return err
		}
	}
	return nil
}

// IdempotencyRecord finds what a write did.
func (s *Store) IdempotencyRecord(ctx context.Context, key, digest string) (record.IdempotencyRecord, error) {
	what := "read idempotency key " + key
	var found []record.IdempotencyRecord
	err := s.read(ctx, what, "SELECT doc FROM idempotency_keys_data WHERE key = ?", []any{key}, into(&found))
	switch {
	case err != nil:
		return record.IdempotencyRecord{}, err
	case len(found) == 0:
		return record.IdempotencyRecord{}, s.say(what, store.ErrNotFound)
	case found[0].Digest != digest:
		return record.IdempotencyRecord{}, s.say(what, store.ErrKeyReused)
	}
	return found[0], nil
}
