package controller

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/replicante-io/playbooks/internal/calendar"
	"github.com/replicante-io/playbooks/playbook"
	"github.com/replicante-io/playbooks/record"
	"github.com/replicante-io/playbooks/store"
)

// clockCheck bounds how long the scheduler waits before it looks at the clock again: a timer does not follow a clock that is set.
const clockCheck = time.Minute

// scheduler starts the runs of schedules at their due times. It follows the wall clock; what a due time has led to is stored
// under the term before the next one of the schedule is considered.
type scheduler struct {
	term *term
	// changed holds a token once a schedule is to be considered again.
	changed chan struct{}

	mu        sync.Mutex // no other lock is taken under it
	schedules map[string]*scheduled
}

// scheduled is a schedule that the scheduler knows.
type scheduled struct {
	record record.Schedule
	cron   *calendar.Cron
	firing bool // a goroutine decides about its due times
}

func newScheduler(t *term) *scheduler {
	return &scheduler{term: t, changed: make(chan struct{}, 1), schedules: map[string]*scheduled{}}
}

// set makes all schedules known, in the place of those before.
func (s *scheduler) set(all []record.Schedule) {
	s.mu.Lock()
	before := s.schedules
	s.schedules = map[string]*scheduled{}
	for _, schedule := range all {
		if known := before[schedule.Name]; known != nil && known.record.CreatedTS.Equal(schedule.CreatedTS) {
			s.schedules[schedule.Name] = known
		}
	}
	s.mu.Unlock()
	for _, schedule := range all {
		s.put(schedule)
	}
}

// put makes a schedule known as it is stored, unless a later state of it is known.
func (s *scheduler) put(schedule record.Schedule) {
	cron, err := playbook.CronOf(schedule.Spec.Cron, schedule.Spec.TimeZone)
	if err != nil {
		s.term.log.Error("a schedule cannot be read; this leader leaves it alone", "schedule", schedule.Name, "error", err)
		s.remove(schedule.Name)
		return
	}
	s.mu.Lock()
	known := s.schedules[schedule.Name]
	if known == nil || !known.record.CreatedTS.Equal(schedule.CreatedTS) {
		known = &scheduled{}
		s.schedules[schedule.Name] = known
	}
	if known.record.Rev < schedule.Rev {
		known.record, known.cron = schedule, cron
	}
	s.mu.Unlock()
	s.wake()
}

// update makes a later state of a schedule known, unless it was deleted meanwhile.
func (s *scheduler) update(schedule record.Schedule) {
	cron, err := playbook.CronOf(schedule.Spec.Cron, schedule.Spec.TimeZone)
	if err != nil { // it was changed meanwhile, by a later version: put says so
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	known := s.schedules[schedule.Name]
	if known != nil && known.record.CreatedTS.Equal(schedule.CreatedTS) && known.record.Rev < schedule.Rev {
		known.record, known.cron = schedule, cron
	}
}

func (s *scheduler) remove(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.schedules, name)
}

func (s *scheduler) wake() {
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

// Run starts what is due until ctx ends.
func (s *scheduler) Run(ctx context.Context) error {
	for {
		timer := time.NewTimer(s.fireDue())
		select {
		case <-timer.C:
		case <-s.changed:
		case <-ctx.Done():
			timer.Stop()
			return nil
		}
		timer.Stop()
	}
}

// fireDue has every schedule that is due decided about, and returns how long to wait at most until the next one is.
func (s *scheduler) fireDue() time.Duration {
	now := s.term.wall()
	wait := clockCheck
	var due []*scheduled
	s.mu.Lock()
	for _, one := range s.schedules {
		if one.firing || one.record.Spec.Suspended {
			continue
		}
		next, found := one.cron.Next(one.record.SinceTS)
		switch {
		case !found:
		case next.After(now):
			wait = min(wait, next.Sub(now))
		default:
			one.firing = true
			due = append(due, one)
		}
	}
	s.mu.Unlock()
	for _, one := range due {
		s.term.spawn(func(ctx context.Context) error { return s.fire(ctx, one) })
	}
	return wait
}

// fire decides about the due times of a schedule that have come, and stores what became of them.
func (s *scheduler) fire(ctx context.Context, one *scheduled) error {
	defer func() {
		s.mu.Lock()
		one.firing = false
		s.mu.Unlock()
		s.wake()
	}()
	s.mu.Lock()
	schedule, cron := one.record, one.cron
	s.mu.Unlock()
	due := dueTimes(cron, schedule.SinceTS, s.term.wall(), record.MaxScheduleResults)
	if len(due) == 0 { // the clock was put back
		return nil
	}
	decided := schedule
	for i, at := range due {
		var next *time.Time
		if i+1 < len(due) {
			next = &due[i+1]
		}
		result, err := s.decide(ctx, &decided, at, next)
		if err != nil || ctx.Err() != nil {
			return s.endedBy(ctx, err)
		}
		decided.AddResult(result)
		s.report(schedule.Name, result)
	}
	return s.endedBy(ctx, s.save(ctx, decided, due))
}

// endedBy is err, unless it is that the term is over.
func (s *scheduler) endedBy(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// save stores what became of due times. A schedule that was changed meanwhile keeps the change; one that was deleted stays deleted.
func (s *scheduler) save(ctx context.Context, decided record.Schedule, due []time.Time) error {
	next := decided
	for {
		next.Rev++
		err := retryUnavailable(ctx, func() error { return s.term.shared.Store.SaveSchedule(ctx, s.term.shared.Term.Term, next, nil) })
		switch {
		case err == nil:
			s.update(next)
			return nil
		case errors.Is(err, store.ErrNotFound):
			return nil
		case errors.Is(err, store.ErrStaleTerm), ctx.Err() != nil:
			return fmt.Errorf("save schedule %s: %w", decided.Name, err)
		case !errors.Is(err, store.ErrConflict):
			s.term.log.Error("what became of the due times of a schedule cannot be stored", "schedule", decided.Name, "error", err)
			s.update(next)
			return nil
		}
		stored, err := s.read(ctx, decided.Name)
		if errors.Is(err, store.ErrNotFound) || err == nil && !stored.CreatedTS.Equal(decided.CreatedTS) {
			return nil
		}
		if err != nil {
			return err
		}
		for _, result := range decided.Results {
			for _, at := range due {
				if result.DueTS.Equal(at) {
					stored.AddResult(result)
				}
			}
		}
		next = stored
	}
}

func (s *scheduler) read(ctx context.Context, name string) (schedule record.Schedule, err error) {
	err = retryUnavailable(ctx, func() (err error) {
		schedule, err = s.term.shared.Store.Schedule(ctx, name)
		return err
	})
	if err != nil {
		err = fmt.Errorf("read schedule %s: %w", name, err)
	}
	return schedule, err
}

// report logs and counts what became of a due time.
func (s *scheduler) report(name string, result record.ScheduleResult) {
	fields := []any{"schedule", name, "due", result.DueTS.Format(time.RFC3339)}
	code := ""
	if result.Reason != nil {
		code = result.Reason.Code
		fields = append(fields, "reason", code)
		for _, key := range []string{"run", "cluster", "freeze", "error", "playbook", "later"} {
			if value, found := result.Reason.Data[key]; found {
				fields = append(fields, key, value)
			}
		}
	}
	switch result.State {
	case record.FiringStarted:
		s.term.log.Info("a schedule has started a run", append(fields, "run", result.RunID)...)
	case record.FiringSkipped:
		s.term.log.Warn("a schedule has skipped a due time", fields...)
	default:
		s.term.log.Error("a schedule could not start its run", fields...)
	}
	if s.term.scheduleResult != nil {
		s.term.scheduleResult(result.State, code)
	}
}
