package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"

	"github.com/replicante-io/playbooks/record"
	"github.com/replicante-io/playbooks/store"
)

// applyNamed stores what next makes of a document and of the one of its name in table.
func applyNamed[T any](w *writer, table, name string, applied T, next func(stored *T, applied T) (T, bool)) (T, error) {
	var before *T
	var doc string
	err := w.row("SELECT doc FROM "+table+"_data WHERE name = ?", []any{name}, &doc)
	if err == nil {
		before = new(T)
		err = json.Unmarshal([]byte(doc), before)
	}
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return applied, err
	}
	stored, changed := next(before, applied)
	if !changed {
		return stored, nil
	}
	return stored, w.putNamed(table, name, stored)
}

// putNamed inserts or replaces a document.
func (w *writer) putNamed(table, name string, value any) error {
	doc, err := json.Marshal(value)
	if err != nil {
		return err
	}
	_, err = w.exec("INSERT INTO "+table+"_data (name, doc) VALUES (?, ?) ON CONFLICT DO UPDATE SET doc = excluded.doc", name, string(doc))
	return err
}

// Schedule reads a schedule.
func (s *Store) Schedule(ctx context.Context, name string) (record.Schedule, error) {
	return readNamed[record.Schedule](ctx, s, "schedules", name)
}

// Schedules pages through the schedules.
func (s *Store) Schedules(ctx context.Context, page store.Page) ([]record.Schedule, string, error) {
	return pageNamed(ctx, s, "schedules", page, func(last record.Schedule) string { return last.Name })
}

// SaveSchedule replaces a schedule.
func (s *Store) SaveSchedule(ctx context.Context, term int64, schedule record.Schedule, key *record.IdempotencyRecord) error {
	return s.write(ctx, "save schedule "+schedule.Name, func(w *writer) error {
		if err := w.fence(term); err != nil {
			return err
		}
		if err := w.insertKeys(store.KeyList(key)); err != nil {
			return err
		}
		var rev int64
		err := w.row("SELECT doc ->> '$.rev' FROM schedules_data WHERE name = ?", []any{schedule.Name}, &rev)
		switch {
		case errors.Is(err, sql.ErrNoRows):
			return store.ErrNotFound
		case err != nil:
			return err
		case rev != schedule.Rev-1:
			return store.ErrConflict
		}
		return w.putNamed("schedules", schedule.Name, schedule)
	})
}

// DeleteSchedule deletes a schedule.
func (s *Store) DeleteSchedule(ctx context.Context, term int64, name string, key *record.IdempotencyRecord) error {
	return s.deleteNamed(ctx, term, "schedules", name, key)
}

// Freeze reads a freeze.
func (s *Store) Freeze(ctx context.Context, name string) (record.Freeze, error) {
	return readNamed[record.Freeze](ctx, s, "freezes", name)
}

// Freezes pages through the freezes.
func (s *Store) Freezes(ctx context.Context, page store.Page) ([]record.Freeze, string, error) {
	return pageNamed(ctx, s, "freezes", page, func(last record.Freeze) string { return last.Name })
}

// DeleteFreeze deletes a freeze.
func (s *Store) DeleteFreeze(ctx context.Context, term int64, name string, key *record.IdempotencyRecord) error {
	return s.deleteNamed(ctx, term, "freezes", name, key)
}

func readNamed[T any](ctx context.Context, s *Store, table, name string) (T, error) {
	what := "read " + name + " of " + table
	var found []T
	err := s.read(ctx, what, "SELECT doc FROM "+table+"_data WHERE name = ?", []any{name}, appendJSON(&found))
	return first(s, what, found, err)
}

func pageNamed[T any](ctx context.Context, s *Store, table string, page store.Page, nameOf func(T) string) ([]T, string, error) {
	var where conditions
	if page.Cursor != "" {
		var name string
		if err := parseCursor(page.Cursor, table, &name); err != nil {
			return nil, "", err
		}
		where.and("name > ?", name)
	}
	var found []T
	err := s.read(ctx, "list "+table, "SELECT doc FROM "+table+"_data WHERE "+where.String()+" ORDER BY name LIMIT ?",
		append(where.args, limitOf(page)), appendJSON(&found))
	found, next := trim(found, page, func(last T) string { return formatCursor(table, nameOf(last)) })
	return found, next, err
}

func (s *Store) deleteNamed(ctx context.Context, term int64, table, name string, key *record.IdempotencyRecord) error {
	return s.write(ctx, "delete "+name+" of "+table, func(w *writer) error {
		if err := w.fence(term); err != nil {
			return err
		}
		if err := w.insertKeys(store.KeyList(key)); err != nil {
			return err
		}
		deleted, err := w.exec("DELETE FROM "+table+"_data WHERE name = ?", name)
		if err == nil && deleted == 0 {
			err = store.ErrNotFound
		}
		return err
	})
}
