package controller

import (
	"context"
	"errors"
	"time"

	"github.com/replicante-io/playbooks/internal/calendar"
	"github.com/replicante-io/playbooks/record"
	"github.com/replicante-io/playbooks/store"
)

// maxSpan bounds the search for the last due times.
const maxSpan = 20 * 365 * 24 * time.Hour

// dueTimes are the due times of cron after since that have come, at most the last most of them, oldest first.
func dueTimes(cron *calendar.Cron, since, now time.Time, most int) []time.Time {
	for span := time.Hour; ; span *= 2 {
		from := now.Add(-span)
		all := span > maxSpan || !from.After(since)
		if all {
			from = since
		}
		var due []time.Time
		for next, found := cron.Next(from); found && !next.After(now); next, found = cron.Next(next) {
			due = append(due, next)
		}
		if all || len(due) >= most {
			return due[max(0, len(due)-most):]
		}
	}
}

// decide starts the run of a due time, once whoever leads, or says why not. later is the due time that came after it, nil for the last
// one that has come: only that is made up.
func (s *scheduler) decide(ctx context.Context, schedule *record.Schedule, at time.Time, later *time.Time) (record.ScheduleResult, error) {
	request := record.Request{Actor: "schedule/" + schedule.Name, Key: scheduleKey(schedule.Name, at), Digest: "schedule"}
	backoff := store.Backoff()
	for {
		result, err := s.tryDecide(ctx, schedule, request, at, later)
		if err != nil && ctx.Err() == nil && !errors.Is(err, store.ErrStaleTerm) {
			if !errors.Is(err, store.ErrUnavailable) {
				s.term.log.Warn("cannot decide about a due time of a schedule; trying again", "schedule", schedule.Name, "due", at, "error", err)
			}
			if backoff.Wait(ctx) {
				continue
			}
		}
		result.DueTS, result.TS = at, s.term.wall()
		return result, err
	}
}

// scheduleKey is the idempotency key of the run that a schedule starts at a due time.
func scheduleKey(name string, at time.Time) string {
	return record.ScheduleKeys + name + "/" + at.UTC().Format(time.RFC3339)
}

// tryDecide is decide where the store answers.
func (s *scheduler) tryDecide(ctx context.Context, schedule *record.Schedule, request record.Request, at time.Time, later *time.Time) (record.ScheduleResult, error) {
	started, err := s.term.shared.Store.IdempotencyRecord(ctx, request.Key, request.Digest)
	switch {
	case err == nil: // by the leader before
		return record.ScheduleResult{State: record.FiringStarted, RunID: started.RunID}, nil
	case errors.Is(err, store.ErrKeyReused):
		return rejectedBy(err), nil
	case !errors.Is(err, store.ErrNotFound):
		return record.ScheduleResult{}, err
	case later != nil:
		return skipped(record.CodeScheduleLate, record.Document{"later": later.Format(time.RFC3339)}), nil
	case s.term.wall().Sub(at) > schedule.Spec.Within():
		return skipped(record.CodeScheduleLate, record.Document{"start_within": schedule.Spec.StartWithin}), nil
	}
	if schedule.Spec.IfRunning == record.IfRunningSkip {
		if running, err := s.isRunning(ctx, schedule.LastRunID); running || err != nil {
			return skipped(record.CodeScheduleRunning, record.Document{"run": schedule.LastRunID}), err
		}
	}
	start := record.RunRequest{Playbook: schedule.Spec.Playbook, Revision: schedule.Spec.Revision, Cluster: schedule.Spec.Cluster,
		Params: schedule.Spec.Params, Where: schedule.Spec.Where}
	if schedule.Spec.IfRunning == record.IfRunningSkip {
		start.IfBusy = "fail"
	}
	run, err := s.term.once(ctx, request, func(ctx context.Context, key *record.IdempotencyRecord) (record.Run, error) {
		return s.term.start(ctx, request, start, key)
	})
	var rejected *record.RejectedError
	switch {
	case err == nil:
		return record.ScheduleResult{State: record.FiringStarted, RunID: run.ID}, nil
	case errors.As(err, &rejected) && rejected.Code == record.CodeClusterBusy:
		return skipped(record.CodeScheduleRunning, rejected.Data), nil
	case errors.As(err, &rejected):
		return record.ScheduleResult{State: record.FiringRejected, Reason: &record.Error{Code: rejected.Code, Data: withProblems(rejected)}}, nil
	case errors.Is(err, store.ErrUnavailable), errors.Is(err, store.ErrStaleTerm), ctx.Err() != nil:
		return record.ScheduleResult{}, err
	}
	return rejectedBy(err), nil
}

// isRunning reports whether a run has not ended.
func (s *scheduler) isRunning(ctx context.Context, runID string) (bool, error) {
	if runID == "" {
		return false, nil
	}
	run, err := s.term.shared.Store.Run(ctx, runID)
	if errors.Is(err, store.ErrNotFound) { // it has expired
		return false, nil
	}
	return err == nil && !run.State.Final(), err
}

func skipped(code string, data record.Document) record.ScheduleResult {
	return record.ScheduleResult{State: record.FiringSkipped, Reason: &record.Error{Code: code, Data: data}}
}

func rejectedBy(err error) record.ScheduleResult {
	return record.ScheduleResult{State: record.FiringRejected, Reason: &record.Error{Code: record.CodeScheduleError,
		Data: record.Document{"error": record.CleanText(err.Error(), record.MaxReason)}}}
}

// withProblems is the data of a rejection, with the text of its problems.
func withProblems(rejected *record.RejectedError) record.Document {
	data := record.Document{}
	for key, value := range rejected.Data {
		data[key] = value
	}
	if len(rejected.Problems) > 0 {
		data["problems"] = record.CleanText(record.Problems(rejected.Problems).Error(), record.MaxReason)
	}
	return data
}
