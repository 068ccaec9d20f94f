package storetest

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/replicante-io/playbooks/record"
	"github.com/replicante-io/playbooks/store"
)

// Apply stores documents.
func (m *Memory) Apply(ctx context.Context, term int64, documents record.Documents, key *record.IdempotencyRecord, answer func(record.Documents) string) (record.Documents, error) {
	documents = clone(documents)
	var applied record.Documents
	err := m.write(ctx, "Apply", func() error {
		if err := m.fence(term); err != nil {
			return err
		}
		if err := m.checkKeys(store.KeyList(key)); err != nil {
			return err
		}
		applied = record.Documents{}
		for _, playbook := range documents.Playbooks {
			revisions := m.playbooks[playbook.Name]
			if len(revisions) > 0 && revisions[len(revisions)-1].Digest == playbook.Digest {
				applied.Playbooks = append(applied.Playbooks, clone(revisions[len(revisions)-1]))
				continue
			}
			playbook.Revision = int64(len(revisions)) + 1
			m.playbooks[playbook.Name] = append(revisions, playbook)
			applied.Playbooks = append(applied.Playbooks, clone(playbook))
		}
		m.applySchedules(documents.Schedules, &applied)
		m.applyFreezes(documents.Freezes, &applied)
		m.putKeys(store.AppliedKey(key, answer, clone(applied)))
		return nil
	})
	if err != nil {
		return record.Documents{}, err
	}
	return applied, nil
}

// Playbook reads a revision.
func (m *Memory) Playbook(ctx context.Context, name string, revision int64) (record.Playbook, error) {
	var found record.Playbook
	err := m.locked(ctx, func() error {
		revisions := m.playbooks[name]
		if revision == 0 {
			revision = int64(len(revisions))
		}
		if revision < 1 || revision > int64(len(revisions)) {
			return fmt.Errorf("playbook %s, revision %d: %w", name, revision, store.ErrNotFound)
		}
		found = clone(revisions[revision-1])
		return nil
	})
	return found, err
}

// Playbooks pages through the latest revisions.
func (m *Memory) Playbooks(ctx context.Context, page store.Page) ([]record.Playbook, string, error) {
	var found []record.Playbook
	var next string
	err := m.locked(ctx, func() (err error) {
		for _, name := range slices.Sorted(maps.Keys(m.playbooks)) {
			revisions := m.playbooks[name]
			found = append(found, clone(revisions[len(revisions)-1]))
		}
		found, next, err = readPage("playbooks", found, page, func(playbook record.Playbook) string { return playbook.Name })
		return err
	})
	return found, next, err
}

// Revisions pages through the revisions of a name.
func (m *Memory) Revisions(ctx context.Context, name string, page store.Page) ([]record.Playbook, string, error) {
	var found []record.Playbook
	var next string
	err := m.locked(ctx, func() (err error) {
		found = clone(m.playbooks[name])
		if len(found) == 0 {
			return fmt.Errorf("playbook %s: %w", name, store.ErrNotFound)
		}
		slices.Reverse(found)
		found, next, err = readPage("revisions of "+name, found, page, func(playbook record.Playbook) string { return descending(playbook.Revision) })
		return err
	})
	return found, next, err
}
