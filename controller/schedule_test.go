package controller_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/replicante-io/playbooks/record"
	"github.com/replicante-io/playbooks/store"
	"github.com/replicante-io/playbooks/store/sqlite"
)

// hourly is a schedule of the test's playbook at every full hour.
func hourly(change ...func(*record.Schedule)) record.Schedule {
	s := record.Schedule{Name: "s", CreatedTS: record.Now(), Spec: record.ScheduleSpec{Playbook: "test", Cluster: "c", Cron: "0 * * * *",
		TimeZone: "UTC", StartWithin: "30m", IfRunning: record.IfRunningSkip}}
	for _, change := range change {
		change(&s)
	}
	return s
}

func (h *installation) applySchedule(schedule record.Schedule) {
	h.t.Helper()
	if err := h.applyDocuments(record.Documents{Schedules: []record.Schedule{schedule}}); err != nil {
		h.t.Fatal(err)
	}
}

func (h *installation) schedule() record.Schedule {
	h.t.Helper()
	schedule, err := h.store.Schedule(h.t.Context(), "s")
	if err != nil {
		h.t.Fatal(err)
	}
	return schedule
}

func (h *installation) runs() []record.Run {
	h.t.Helper()
	runs, _, err := h.store.Runs(h.t.Context(), store.RunFilter{}, store.Page{})
	if err != nil {
		h.t.Fatal(err)
	}
	return runs
}

// results are what became of due times, the oldest first: "01:00 STARTED", "02:00 SKIPPED late".
func results(schedule record.Schedule) string {
	var all []string
	for i := range schedule.Results {
		r := schedule.Results[len(schedule.Results)-1-i]
		text := r.DueTS.Format("15:04 ") + string(r.State)
		if r.Reason != nil {
			text += " " + r.Reason.Code
		}
		all = append(all, text)
	}
	return strings.Join(all, ", ")
}

func (h *installation) wantResults(want string) {
	h.t.Helper()
	synctest.Wait()
	if found := results(h.schedule()); found != want {
		h.t.Errorf("the results are %q, not %q", found, want)
	}
}

func TestAScheduleStartsItsRunWhenItIsDue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newInstallation(t, 2, "  params: [{name: n, type: int, default: 1}]\n"+slow)
		h.lead()
		defer func() { h.kill() }()
		schedule := hourly(func(s *record.Schedule) {
			s.Spec.Params, s.Spec.Where, s.Spec.Revision = record.Document{"n": "7"}, `node.id == "node-2"`, 1
		})
		if _, err := h.current.Apply(t.Context(), record.Documents{Schedules: []record.Schedule{schedule}}, nil, nil); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour - time.Minute)
		if runs := h.runs(); len(runs) > 0 {
			t.Fatalf("before it is due there are %d runs", len(runs))
		}
		time.Sleep(2 * time.Minute)
		h.wantResults("01:00 STARTED")
		run := h.await(h.schedule().LastRunID, record.RunDone)
		if run.RequestedBy != "schedule/s" || run.IdempotencyKey != "schedule/s/2000-01-01T01:00:00Z" || run.Params["n"] != int64(7) ||
			run.Counts[record.NodeSkipped] != 1 || run.CreatedTS.Sub(time.Date(2000, 1, 1, 1, 0, 0, 0, time.UTC)) > time.Second {
			t.Errorf("%+v", run)
		}
		time.Sleep(2 * time.Hour)
		h.wantResults("01:00 STARTED, 02:00 STARTED, 03:00 STARTED")
		if runs := h.runs(); len(runs) != 3 {
			t.Errorf("%d runs", len(runs))
		}
	})
}

// TestARunThatIsDueWhileTheLeaderIsKilledStartsOnce kills leaders before the due time, between the creation of the run and the
// schedule's record of it, and after both.
func TestARunThatIsDueWhileTheLeaderIsKilledStartsOnce(t *testing.T) {
	for _, after := range []string{"before", "Create", "SaveSchedule"} {
		t.Run(after, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newInstallation(t, 2, slow)
				killed := make(chan struct{})
				dies := true
				h.wrap = func(s store.Store) store.Store {
					return &store.Interceptor{Store: s, Call: func(ctx context.Context, method string, do func() error) error {
						if method != after || !dies {
							return do()
						}
						err := do()
						dies = false
						close(killed)
						<-ctx.Done()
						return errors.Join(err, store.ErrUnavailable)
					}}
				}
				h.lead()
				h.applySchedule(hourly())
				h.kill()
				h.lead()
				if after == "before" {
					time.Sleep(time.Hour - time.Second)
				} else {
					<-killed
				}
				h.kill()
				time.Sleep(10 * time.Second)
				h.lead()
				defer func() { h.kill() }()
				time.Sleep(time.Minute)
				h.wantResults("01:00 STARTED")
				if runs := h.runs(); len(runs) != 1 || runs[0].ID != h.schedule().LastRunID {
					t.Errorf("%d runs", len(runs))
				}
				h.await(h.schedule().LastRunID, record.RunDone)
				h.onceEach()
			})
		})
	}
}

func TestOnlyTheLastMissedDueTimeIsMadeUpAndOnlyWithinStartWithin(t *testing.T) {
	for minute, want := range map[int]string{20: "01:00 SKIPPED late, 02:00 SKIPPED late, 03:00 STARTED", 40: "01:00 SKIPPED late, 02:00 SKIPPED late, 03:00 SKIPPED late"} {
		synctest.Test(t, func(t *testing.T) {
			h := newInstallation(t, 2, slow)
			h.lead()
			h.applySchedule(hourly())
			h.kill()
			time.Sleep(3*time.Hour + time.Duration(minute)*time.Minute)
			h.lead()
			defer func() { h.kill() }()
			time.Sleep(time.Second)
			h.wantResults(want)
			if runs := h.runs(); len(runs) != strings.Count(want, "STARTED") {
				t.Errorf("%d runs", len(runs))
			}
		})
	}
}

func TestALongAbsenceKeepsOnlyTheLastResults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newInstallation(t, 2, slow)
		h.lead()
		h.applySchedule(hourly(func(s *record.Schedule) { s.Spec.Cron = "* * * * *" }))
		h.kill()
		time.Sleep(400 * 24 * time.Hour)
		h.lead()
		defer func() { h.kill() }()
		time.Sleep(time.Second)
		if results := h.schedule().Results; len(results) != record.MaxScheduleResults || results[0].State != record.FiringStarted {
			t.Errorf("%+v", results)
		}
	})
}

// TestAScheduleThatIsChangedWhileItsRunStartsHasItsNewTimes has the change known to the scheduler only after the result that is stored on
// top of it.
func TestAScheduleThatIsChangedWhileItsRunStartsHasItsNewTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newInstallation(t, 2, slow)
		changed := false
		h.wrap = func(s store.Store) store.Store {
			return &store.Interceptor{Store: s, Call: func(ctx context.Context, method string, do func() error) error {
				switch {
				case method == "SaveSchedule" && !changed:
					changed = true
					go func() {
						schedule := hourly(func(s *record.Schedule) { s.Spec.Cron = "30 * * * *" })
						_, _ = h.current.Apply(t.Context(), record.Documents{Schedules: []record.Schedule{schedule}}, nil, nil)
					}()
					time.Sleep(time.Millisecond)
				case method == "Apply":
					err := do()
					time.Sleep(time.Second)
					return err
				}
				return do()
			}}
		}
		h.lead()
		h.applySchedule(hourly())
		h.kill()
		h.lead()
		defer func() { h.kill() }()
		time.Sleep(2*time.Hour + time.Minute)
		h.wantResults("01:00 STARTED, 01:30 STARTED")
	})
}

func TestASuspendedScheduleDoesNotStartAndMakesNothingUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newInstallation(t, 2, slow)
		h.lead()
		defer func() { h.kill() }()
		h.applySchedule(hourly())
		h.kill()
		h.lead()
		suspend := func(key string, suspended bool) {
			t.Helper()
			if err := h.current.Suspend(t.Context(), record.Request{Key: key}, "s", suspended); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(30 * time.Minute)
		suspend("a", true)
		time.Sleep(time.Hour)
		suspend("b", false)
		suspend("a", true) // repeated under its key: nothing more happens
		h.wantResults("")
		time.Sleep(time.Hour)
		h.wantResults("02:00 STARTED")
		if err := h.current.DeleteSchedule(t.Context(), record.Request{}, "s"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * time.Hour)
		if runs := h.runs(); len(runs) != 1 {
			t.Errorf("%d runs", len(runs))
		}
		if err := h.current.DeleteSchedule(t.Context(), record.Request{}, "s"); !errors.Is(err, store.ErrNotFound) {
			t.Error(err)
		}
	})
}

func TestAScheduleSkipsOrQueuesWhileARunIsInTheWay(t *testing.T) {
	const long = "  stages: [{name: a, batch: '100%', steps: [{name: a, action: x/a, timeout: 10h, args: {delay: 90m}}]}]\n"
	for _, c := range []struct {
		spec      string
		ifRunning record.IfRunning
		want      string
	}{
		{long, record.IfRunningSkip, "01:00 STARTED, 02:00 SKIPPED running, 03:00 STARTED"},
		{long, record.IfRunningQueue, "01:00 STARTED, 02:00 STARTED, 03:00 STARTED"},
		{"  concurrency: shared\n" + long, record.IfRunningSkip, "01:00 STARTED, 02:00 SKIPPED running, 03:00 STARTED"},
	} {
		synctest.Test(t, func(t *testing.T) {
			h := newInstallation(t, 2, c.spec)
			h.lead()
			h.applySchedule(hourly(func(s *record.Schedule) { s.Spec.IfRunning = c.ifRunning }))
			h.kill()
			h.lead()
			defer func() { h.kill() }()
			time.Sleep(3*time.Hour + time.Minute)
			h.wantResults(c.want)
		})
	}
	synctest.Test(t, func(t *testing.T) { // behind another run of the cluster
		h := newInstallation(t, 2, long)
		h.lead()
		h.applySchedule(hourly())
		h.kill()
		h.lead()
		defer func() { h.kill() }()
		time.Sleep(59 * time.Minute)
		other := h.start(record.Request{}, record.RunRequest{})
		time.Sleep(2 * time.Minute)
		h.wantResults("01:00 SKIPPED running")
		if by := h.schedule().Results[0].Reason.Data["run"]; by != other.ID {
			t.Errorf("the run in the way is %v", by)
		}
	})
}

func TestAStartThatIsRejectedIsRecordedWithItsReason(t *testing.T) {
	for code, change := range map[string]func(*record.Schedule){
		record.CodePlaybookNotFound: func(s *record.Schedule) { s.Spec.Playbook = "nosuch" },
		record.CodeBadParams:        func(s *record.Schedule) { s.Spec.Params = record.Document{"nosuch": "1"} },
		record.CodeNoNodes:          func(s *record.Schedule) { s.Spec.Cluster = "empty" },
		record.CodeNoneSelected:     func(s *record.Schedule) { s.Spec.Where = "false" },
	} {
		synctest.Test(t, func(t *testing.T) {
			h := newInstallation(t, 2, slow)
			h.lead()
			h.applySchedule(hourly(change))
			h.kill()
			h.lead()
			defer func() { h.kill() }()
			time.Sleep(time.Hour + time.Second)
			h.wantResults("01:00 REJECTED " + code)
		})
	}
}

// TestDueTimesFollowDaylightSaving is about Rome, where clocks go from 02:00 to 03:00 at 01:00 UTC on March 26, 2000, and from 03:00 to
// 02:00 at 01:00 UTC on October 29.
func TestDueTimesFollowDaylightSaving(t *testing.T) {
	for _, c := range []struct {
		from time.Time
		cron string
		want string
	}{
		{time.Date(2000, 3, 25, 12, 0, 0, 0, time.UTC), "30 2 * * *", "01:00 STARTED, 00:30 STARTED"}, // 03:00 that day, 02:30 the next
		{time.Date(2000, 10, 28, 12, 0, 0, 0, time.UTC), "30 2 * * *", "00:30 STARTED, 01:30 STARTED"},
		{time.Date(2000, 10, 28, 23, 50, 0, 0, time.UTC), "30 2,3 * * *", "00:30 STARTED, 02:30 STARTED, 01:30 STARTED, 02:30 STARTED"},
	} {
		synctest.Test(t, func(t *testing.T) {
			h := newInstallation(t, 2, slow)
			h.lead()
			h.kill()
			time.Sleep(time.Until(c.from))
			h.applySchedule(hourly(func(s *record.Schedule) { s.Spec.Cron, s.Spec.TimeZone = c.cron, "Europe/Rome" }))
			h.lead()
			defer func() { h.kill() }()
			time.Sleep(time.Date(2000, c.from.Month(), c.from.Day()+2, 11, 0, 0, 0, time.UTC).Sub(c.from))
			h.wantResults(c.want)
		})
	}
}

func TestAClockThatIsSetStartsNoRunTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newInstallation(t, 2, slow)
		var step atomic.Int64
		h.wall = func() time.Time { return record.Now().Add(time.Duration(step.Load())) }
		h.lead()
		h.applySchedule(hourly())
		h.kill()
		h.lead()
		defer func() { h.kill() }()
		step.Store(int64(50 * time.Minute)) // at 00:00: it is seen within a minute
		time.Sleep(9 * time.Minute)
		h.wantResults("")
		time.Sleep(2 * time.Minute)
		h.wantResults("01:00 STARTED")
		step.Store(int64(0))
		time.Sleep(time.Hour)
		h.wantResults("01:00 STARTED")
		step.Store(int64(30 * time.Minute)) // at 01:11
		time.Sleep(10 * time.Minute)
		h.wantResults("01:00 STARTED")
		h.kill()
		step.Store(int64(-20 * time.Minute))
		h.lead()
		time.Sleep(time.Minute)
		h.wantResults("01:00 STARTED")
	})
}

func TestWhatBecameOfADueTimeIsReported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newInstallation(t, 2, slow)
		var told []string
		h.scheduleResult = func(state record.FiringState, code string) { told = append(told, fmt.Sprint(state, " ", code)) }
		h.lead()
		h.applySchedule(hourly(func(s *record.Schedule) { s.Spec.Cluster = "empty" }))
		h.kill()
		h.lead()
		time.Sleep(time.Hour + time.Second)
		h.kill()
		if len(told) != 1 || told[0] != "REJECTED no_nodes" {
			t.Error(told)
		}
	})
}

func TestSchedulesStartOnceOnSQLite(t *testing.T) {
	s, err := sqlite.Open(t.Context(), sqlite.Config{Config: store.Config{URL: "sqlite://" + filepath.Join(t.TempDir(), "core.db")}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	if err := s.Init(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := s.BeginTerm(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	h := newInstallationOn(t, s, 2, slow)
	h.applySchedule(hourly(func(s *record.Schedule) { s.Spec.StartWithin, s.CreatedTS = "2h", record.Now().Add(-90*time.Minute) }))
	for range 3 {
		h.lead()
		deadline := time.Now().Add(time.Minute)
		for len(h.schedule().Results) == 0 && time.Now().Before(deadline) {
			time.Sleep(10 * time.Millisecond)
		}
		h.kill()
	}
	runs := h.runs()
	if len(runs) < 1 || len(runs) > 2 || runs[len(runs)-1].ID == "" || h.schedule().LastRunID != runs[0].ID { // 2 where an hour begins meanwhile
		t.Errorf("%d runs; results %s", len(runs), results(h.schedule()))
	}
}
