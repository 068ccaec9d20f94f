package sqlite

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/json"
	"fmt"

	"github.com/replicante-io/playbooks/record"
	"github.com/replicante-io/playbooks/store"
)

// Init creates the tables and the installation, unless they exist, and settles the TTL.
func (s *Store) Init(ctx context.Context) error {
	f, err := s.connect(ctx)
	if err == nil {
		err = f.exclusively(ctx, func() error { return f.init(ctx, s.settings) })
	}
	return s.wrap("set up the store", err)
}

func (f *file) init(ctx context.Context, settings store.Config) error {
	if f.ready.Load() {
		return f.begin(ctx, func(w *writer) error {
			if err := w.createMissing(ctx); err != nil { // of a file that an earlier version has made
				return err
			}
			term, err := w.term()
			if err != nil || !settings.ChangeTTL(&term) {
				return err
			}
			return w.putTerm(term)
		})
	}
	// These cannot be set inside a transaction; both stay with the file.
	for _, pragma := range []string{"page_size = 8192", "journal_mode = WAL"} {
		if _, err := f.conn.ExecContext(ctx, "PRAGMA "+pragma); err != nil {
			return err
		}
	}
	err := f.begin(ctx, func(w *writer) error {
		if err := w.createMissing(ctx); err != nil {
			return err
		}
		return w.putTerm(settings.NewTerm(rand.Text(), schemaVersion))
	})
	if err == nil {
		err = syncDirectory(f.path)
	}
	if err == nil {
		f.ready.Store(true)
	}
	return err
}

// createMissing creates what is missing of the tables, views and indexes.
func (w *writer) createMissing(ctx context.Context) error {
	for _, definition := range append(definitions(), fmt.Sprintf("PRAGMA application_id = %d", applicationID)) {
		if _, err := w.conn.ExecContext(ctx, definition); err != nil {
			return fmt.Errorf("%s: %w", definition, err)
		}
	}
	return nil
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

// fence refuses a term that is not the latest. Nobody else writes at the same time, so the record need not be changed to make
// another writer conflict.
func (w *writer) fence(term int64) error {
	latest, err := w.term()
	switch {
	case err != nil:
		return err
	case latest.Term > term:
		return fmt.Errorf("term %d has begun, this is term %d: %w", latest.Term, term, store.ErrStaleTerm)
	case latest.Term < term:
		return fmt.Errorf("the latest term is %d, this is term %d: %w", latest.Term, term, store.ErrConflict)
	}
	return nil
}

// Ping finds out whether Term would.
func (s *Store) Ping(ctx context.Context) error {
	_, err := s.Term(ctx)
	return err
}

// Term reads the terms record.
func (s *Store) Term(ctx context.Context) (record.Term, error) {
	var term record.Term
	f, err := s.connect(ctx)
	if err == nil && !f.ready.Load() {
		err = fmt.Errorf("%s is not set up, run `replicore store init`: %w", s.path, store.ErrNotFound)
	}
	if err != nil {
		return term, s.wrap("read the term", err)
	}
	err = s.read(ctx, "read the term", "SELECT doc FROM terms_data", nil, func(row *sql.Rows) error {
		return scanJSON(row, &term)
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
		if term.Term, err = store.NextTerm(term, floor); err != nil {
			return err
		}
		return w.putTerm(term)
	})
	return term, err
}
