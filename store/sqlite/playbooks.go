package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/replicante-io/playbooks/record"
	"github.com/replicante-io/playbooks/store"
)

// Apply stores documents.
func (s *Store) Apply(ctx context.Context, term int64, documents record.Documents, key *record.IdempotencyRecord, answer func(record.Documents) string) (record.Documents, error) {
	var applied record.Documents
	err := s.write(ctx, "apply documents", func(w *writer) error {
		if err := w.fence(term); err != nil {
			return err
		}
		applied = record.Documents{}
		for _, playbook := range documents.Playbooks {
			stored, err := w.applyPlaybook(playbook)
			if err != nil {
				return fmt.Errorf("playbook %s: %w", playbook.Name, err)
			}
			applied.Playbooks = append(applied.Playbooks, stored)
		}
		for _, schedule := range documents.Schedules {
			stored, err := applyNamed(w, "schedules", schedule.Name, schedule, store.NextSchedule)
			if err != nil {
				return fmt.Errorf("schedule %s: %w", schedule.Name, err)
			}
			applied.Schedules = append(applied.Schedules, stored)
		}
		for _, freeze := range documents.Freezes {
			stored, err := applyNamed(w, "freezes", freeze.Name, freeze, store.NextFreeze)
			if err != nil {
				return fmt.Errorf("freeze %s: %w", freeze.Name, err)
			}
			applied.Freezes = append(applied.Freezes, stored)
		}
		return w.insertKeys(store.AppliedKey(key, answer, applied))
	})
	if err != nil {
		return record.Documents{}, err
	}
	return applied, nil
}

// applyPlaybook stores playbook as the next revision of its name, unless the latest is the same.
func (w *writer) applyPlaybook(playbook record.Playbook) (record.Playbook, error) {
	var latest record.Playbook
	var doc string
	err := w.row("SELECT doc FROM playbooks_data WHERE name = ? ORDER BY revision DESC LIMIT 1", []any{playbook.Name}, &doc)
	if err == nil {
		err = json.Unmarshal([]byte(doc), &latest)
	}
	switch {
	case err != nil && !errors.Is(err, sql.ErrNoRows):
		return latest, err
	case err == nil && latest.Digest == playbook.Digest:
		return latest, nil
	}
	playbook.Revision = latest.Revision + 1
	text, err := json.Marshal(playbook)
	if err != nil {
		return playbook, err
	}
	_, err = w.exec("INSERT INTO playbooks_data (name, revision, doc) VALUES (?, ?, ?)", playbook.Name, playbook.Revision, string(text))
	return playbook, err
}

// Playbook reads a revision.
func (s *Store) Playbook(ctx context.Context, name string, revision int64) (record.Playbook, error) {
	what := fmt.Sprintf("read playbook %s, revision %d", name, revision)
	var found []record.Playbook
	err := s.read(ctx, what, "SELECT doc FROM playbooks_data WHERE name = ?1 AND (?2 = 0 OR revision = ?2) ORDER BY revision DESC LIMIT 1",
		[]any{name, revision}, appendJSON(&found))
	return first(s, what, found, err)
}

// Playbooks pages through the latest revisions.
func (s *Store) Playbooks(ctx context.Context, page store.Page) ([]record.Playbook, string, error) {
	var where conditions
	if page.Cursor != "" {
		var name string
		if err := parseCursor(page.Cursor, "playbooks", &name); err != nil {
			return nil, "", err
		}
		where.and("name > ?", name)
	}
	var found []record.Playbook
	err := s.read(ctx, "list playbooks", `SELECT doc FROM playbooks_data latest WHERE `+where.String()+` AND revision =
		(SELECT max(revision) FROM playbooks_data WHERE name = latest.name) ORDER BY name LIMIT ?`,
		append(where.args, limitOf(page)), appendJSON(&found))
	found, next := trim(found, page, func(last record.Playbook) string { return formatCursor("playbooks", last.Name) })
	return found, next, err
}

// Revisions pages through the revisions of a name.
func (s *Store) Revisions(ctx context.Context, name string, page store.Page) ([]record.Playbook, string, error) {
	what := "list revisions of playbook " + name
	where := conditions{terms: []string{"name = ?"}, args: []any{name}}
	if page.Cursor != "" {
		var revision int64
		if err := parseCursor(page.Cursor, "revisions", &revision); err != nil {
			return nil, "", err
		}
		where.and("revision < ?", revision)
	}
	var found []record.Playbook
	err := s.read(ctx, what, "SELECT doc FROM playbooks_data WHERE "+where.String()+" ORDER BY revision DESC LIMIT ?",
		append(where.args, limitOf(page)), appendJSON(&found))
	if err == nil && len(found) == 0 {
		err = s.wrap(what, store.ErrNotFound)
	}
	found, next := trim(found, page, func(last record.Playbook) string { return formatCursor("revisions", last.Revision) })
	return found, next, err
}
