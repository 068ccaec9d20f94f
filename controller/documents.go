package controller

import (
	"context"
	"errors"
	"fmt"

	"github.com/replicante-io/playbooks/record"
	"github.com/replicante-io/playbooks/store"
)

// Apply stores documents as store.Store does. What was stored is in force when it returns.
func (c *Controller) Apply(ctx context.Context, documents record.Documents, key *record.IdempotencyRecord,
	answer func(record.Documents) string) (stored record.Documents, err error) {
	t, err := c.current()
	if err != nil {
		return stored, err
	}
	err = t.change(ctx, func() error {
		stored, err = t.shared.Store.Apply(ctx, t.shared.Term.Term, documents, key, answer)
		if err != nil {
			return err
		}
		for i := range stored.Freezes {
			t.freezes.put(stored.Freezes[i])
		}
		for _, schedule := range stored.Schedules {
			t.scheduler.put(schedule)
		}
		return nil
	})
	return stored, err
}

// Suspend suspends or resumes a schedule. One that is resumed does not make up what it has missed.
func (c *Controller) Suspend(ctx context.Context, request record.Request, name string, suspended bool) error {
	_, err := c.write(ctx, request, func(ctx context.Context, t *term, key *record.IdempotencyRecord) (record.Run, error) {
		return record.Run{}, t.change(ctx, func() error { return t.suspend(ctx, name, suspended, key) })
	})
	return err
}

// suspend is Suspend. A result of the schedule that is stored meanwhile is kept.
func (t *term) suspend(ctx context.Context, name string, suspended bool, key *record.IdempotencyRecord) error {
	for {
		schedule, err := t.shared.Store.Schedule(ctx, name)
		if err != nil {
			return fmt.Errorf("read schedule %s: %w", name, err)
		}
		if schedule.Spec.Suspended && !suspended {
			schedule.SinceTS = t.wall()
		}
		schedule.Spec.Suspended = suspended
		schedule.Rev++
		switch err := t.shared.Store.SaveSchedule(ctx, t.shared.Term.Term, schedule, key); {
		case err == nil:
			t.scheduler.put(schedule)
			return nil
		case !errors.Is(err, store.ErrConflict):
			return fmt.Errorf("save schedule %s: %w", name, err)
		}
	}
}

// DeleteSchedule deletes a schedule. Its runs go on.
func (c *Controller) DeleteSchedule(ctx context.Context, request record.Request, name string) error {
	_, err := c.write(ctx, request, func(ctx context.Context, t *term, key *record.IdempotencyRecord) (record.Run, error) {
		return record.Run{}, t.change(ctx, func() error {
			if err := t.shared.Store.DeleteSchedule(ctx, t.shared.Term.Term, name, key); err != nil {
				return fmt.Errorf("delete schedule %s: %w", name, err)
			}
			t.scheduler.remove(name)
			return nil
		})
	})
	return err
}

// DeleteFreeze deletes a freeze.
func (c *Controller) DeleteFreeze(ctx context.Context, request record.Request, name string) error {
	_, err := c.write(ctx, request, func(ctx context.Context, t *term, key *record.IdempotencyRecord) (record.Run, error) {
		return record.Run{}, t.change(ctx, func() error {
			if err := t.shared.Store.DeleteFreeze(ctx, t.shared.Term.Term, name, key); err != nil {
				return fmt.Errorf("delete freeze %s: %w", name, err)
			}
			t.freezes.remove(name)
			return nil
		})
	})
	return err
}

// change has schedules or freezes written, one write after the other. Where it is not known whether a write took place, what is
// stored is read.
func (t *term) change(ctx context.Context, write func() error) error {
	select {
	case t.changing <- struct{}{}:
		defer func() { <-t.changing }()
	case <-ctx.Done():
		return fmt.Errorf("another change is in progress: %w", store.ErrUnavailable)
	}
	err := write()
	if err == nil || errors.As(err, new(*record.RejectedError)) {
		return err
	}
	for _, nothing := range []error{store.ErrNotFound, store.ErrExists, store.ErrKeyReused, store.ErrNotStorable, store.ErrStaleTerm} {
		if errors.Is(err, nothing) {
			return err
		}
	}
	t.spawn(func(ctx context.Context) error {
		select {
		case t.changing <- struct{}{}:
			defer func() { <-t.changing }()
			return t.loadDocuments(ctx)
		case <-ctx.Done():
			return nil
		}
	})
	return err
}

// loadDocuments makes the freezes and schedules known that are stored.
func (t *term) loadDocuments(ctx context.Context) error {
	return retryUnavailable(ctx, func() error {
		schedules, _, err := t.shared.Store.Schedules(ctx, store.Page{})
		if err != nil {
			return fmt.Errorf("list the schedules: %w", err)
		}
		freezes, _, err := t.shared.Store.Freezes(ctx, store.Page{})
		if err != nil {
			return fmt.Errorf("list the freezes: %w", err)
		}
		t.freezes.set(freezes)
		t.scheduler.set(schedules)
		return nil
	})
}
