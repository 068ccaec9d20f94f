package storetest

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/replicante-io/playbooks/record"
	"github.com/replicante-io/playbooks/store"
)

func (m *Memory) applySchedules(schedules []record.Schedule, applied *record.Documents) {
	for _, schedule := range schedules {
		var before *record.Schedule
		if stored, ok := m.schedules[schedule.Name]; ok {
			before = &stored
		}
		next, _ := store.NextSchedule(before, schedule)
		m.schedules[schedule.Name] = clone(next)
		applied.Schedules = append(applied.Schedules, clone(next))
	}
}

func (m *Memory) applyFreezes(freezes []record.Freeze, applied *record.Documents) {
	for _, freeze := range freezes {
		var before *record.Freeze
		if stored, ok := m.freezes[freeze.Name]; ok {
			before = &stored
		}
		next, _ := store.NextFreeze(before, freeze)
		m.freezes[freeze.Name] = clone(next)
		applied.Freezes = append(applied.Freezes, clone(next))
	}
}

// Schedule reads a schedule.
func (m *Memory) Schedule(ctx context.Context, name string) (record.Schedule, error) {
	return named(ctx, m, "schedule", name, m.schedules)
}

// Schedules pages through the schedules.
func (m *Memory) Schedules(ctx context.Context, page store.Page) ([]record.Schedule, string, error) {
	return pageByName(ctx, m, "schedules", page, m.schedules, func(s record.Schedule) string { return s.Name })
}

// SaveSchedule replaces a schedule.
func (m *Memory) SaveSchedule(ctx context.Context, term int64, schedule record.Schedule, key *record.IdempotencyRecord) error {
	schedule = clone(schedule)
	return m.write(ctx, "SaveSchedule", func() error {
		if err := m.fence(term); err != nil {
			return err
		}
		if err := m.checkKeys(store.KeyList(key)); err != nil {
			return err
		}
		stored, ok := m.schedules[schedule.Name]
		switch {
		case !ok:
			return fmt.Errorf("schedule %s: %w", schedule.Name, store.ErrNotFound)
		case stored.Rev != schedule.Rev-1:
			return fmt.Errorf("schedule %s: %w", schedule.Name, store.ErrConflict)
		}
		m.schedules[schedule.Name] = schedule
		m.putKeys(store.KeyList(key))
		return nil
	})
}

// DeleteSchedule deletes a schedule.
func (m *Memory) DeleteSchedule(ctx context.Context, term int64, name string, key *record.IdempotencyRecord) error {
	return deleteNamed(ctx, m, "DeleteSchedule", term, name, key, m.schedules)
}

// Freeze reads a freeze.
func (m *Memory) Freeze(ctx context.Context, name string) (record.Freeze, error) {
	return named(ctx, m, "freeze", name, m.freezes)
}

// Freezes pages through the freezes.
func (m *Memory) Freezes(ctx context.Context, page store.Page) ([]record.Freeze, string, error) {
	return pageByName(ctx, m, "freezes", page, m.freezes, func(f record.Freeze) string { return f.Name })
}

// DeleteFreeze deletes a freeze.
func (m *Memory) DeleteFreeze(ctx context.Context, term int64, name string, key *record.IdempotencyRecord) error {
	return deleteNamed(ctx, m, "DeleteFreeze", term, name, key, m.freezes)
}

func named[T any](ctx context.Context, m *Memory, what, name string, from map[string]T) (found T, err error) {
	err = m.locked(ctx, func() error {
		stored, ok := from[name]
		if !ok {
			return fmt.Errorf("%s %s: %w", what, name, store.ErrNotFound)
		}
		found = clone(stored)
		return nil
	})
	return found, err
}

func pageByName[T any](ctx context.Context, m *Memory, list string, page store.Page, from map[string]T, name func(T) string) ([]T, string, error) {
	var found []T
	var next string
	err := m.locked(ctx, func() (err error) {
		for _, key := range slices.Sorted(maps.Keys(from)) {
			found = append(found, clone(from[key]))
		}
		found, next, err = readPage(list, found, page, name)
		return err
	})
	return found, next, err
}

func deleteNamed[T any](ctx context.Context, m *Memory, method string, term int64, name string, key *record.IdempotencyRecord, from map[string]T) error {
	return m.write(ctx, method, func() error {
		if err := m.fence(term); err != nil {
			return err
		}
		if err := m.checkKeys(store.KeyList(key)); err != nil {
			return err
		}
		if _, ok := from[name]; !ok {
			return fmt.Errorf("%s: %w", name, store.ErrNotFound)
		}
		delete(from, name)
		m.putKeys(store.KeyList(key))
		return nil
	})
}
