package storetest

import (
	"fmt"
	"testing"
	"time"

	"github.com/replicante-io/playbooks/record"
	"github.com/replicante-io/playbooks/store"
)

func schedule(name, cron string) record.Schedule {
	return record.Schedule{Name: name, CreatedTS: start, Spec: record.ScheduleSpec{
		Playbook: "backup", Cluster: "c", Cron: cron, TimeZone: "UTC", StartWithin: "1h", IfRunning: record.IfRunningSkip,
	}}
}

func freeze(name, reason string) record.Freeze {
	return record.Freeze{Name: name, CreatedTS: start, Spec: record.FreezeSpec{Clusters: []string{"c*"}, From: startPlus(0 * time.Second), Reason: reason}}
}

func schedulesAreApplied(t *testing.T, backend Backend) {
	s := open(t, backend)
	ctx := t.Context()
	term := beginTerm(t, s)
	given := record.Documents{Playbooks: []record.Playbook{revision("p", "1")}, Schedules: []record.Schedule{schedule("s", "0 2 * * *")},
		Freezes: []record.Freeze{freeze("f", "sales")}}
	first := applyDocuments(t, s, given)
	same(t, "revisions", []int64{first.Playbooks[0].Revision, first.Schedules[0].Revision, first.Freezes[0].Revision}, []int64{1, 1, 1})
	same(t, "applied again", applyDocuments(t, s, given), first)
	decided := first.Schedules[0]
	decided.AddResult(record.ScheduleResult{DueTS: *startPlus(1 * time.Second), TS: *startPlus(2 * time.Second), State: record.FiringStarted, RunID: "r"})
	decided.Rev++
	must(t, s.SaveSchedule(ctx, term, decided, nil))
	changed := record.Documents{Schedules: []record.Schedule{schedule("s", "0 3 * * *")}, Freezes: []record.Freeze{freeze("f", "peak")}}
	changed.Schedules[0].CreatedTS = *startPlus(5 * time.Second)
	second := applyDocuments(t, s, changed)
	want := decided
	want.Spec.Cron, want.Revision, want.Rev, want.UpdateTS, want.SinceTS = "0 3 * * *", 2, 3, *startPlus(5 * time.Second), *startPlus(5 * time.Second)
	same(t, "schedule", second.Schedules[0], want)
	got, err := s.Schedule(ctx, "s")
	must(t, err)
	same(t, "stored schedule", got, want)
	stored, err := s.Freeze(ctx, "f")
	must(t, err)
	same(t, "stored freeze", stored, second.Freezes[0])
	if stored.Revision != 2 || stored.Spec.Reason != "peak" {
		t.Errorf("the freeze is %+v", stored)
	}
}

func schedulesAreFenced(t *testing.T, backend Backend) {
	s := open(t, backend)
	ctx := t.Context()
	earlier := beginTerm(t, s)
	stored := applyDocuments(t, s, record.Documents{Schedules: []record.Schedule{schedule("s", "0 2 * * *")}, Freezes: []record.Freeze{freeze("f", "")}})
	next := stored.Schedules[0]
	next.Rev++
	term := beginTerm(t, s)
	_, err := s.Apply(ctx, earlier, record.Documents{Freezes: []record.Freeze{freeze("g", "")}}, nil, nil)
	wantError(t, "apply", err, store.ErrStaleTerm)
	wantError(t, "save", s.SaveSchedule(ctx, earlier, next, nil), store.ErrStaleTerm)
	wantError(t, "delete a schedule", s.DeleteSchedule(ctx, earlier, "s", nil), store.ErrStaleTerm)
	wantError(t, "delete a freeze", s.DeleteFreeze(ctx, earlier, "f", nil), store.ErrStaleTerm)
	must(t, s.SaveSchedule(ctx, term, next, nil))
	wantError(t, "save the same rev", s.SaveSchedule(ctx, term, next, nil), store.ErrConflict)
	used := record.IdempotencyRecord{Key: "k", Digest: "d"}
	must(t, s.DeleteSchedule(ctx, term, "s", &used))
	wantError(t, "delete under a used key", s.DeleteFreeze(ctx, term, "f", &used), store.ErrExists)
	must(t, s.DeleteFreeze(ctx, term, "f", nil))
	wantError(t, "delete again", s.DeleteSchedule(ctx, term, "s", nil), store.ErrNotFound)
	wantError(t, "save what is deleted", s.SaveSchedule(ctx, term, next, nil), store.ErrNotFound)
	_, err = s.Schedule(ctx, "s")
	wantError(t, "schedule", err, store.ErrNotFound)
	_, err = s.Freeze(ctx, "f")
	wantError(t, "freeze", err, store.ErrNotFound)
}

func schedulesSurvive(t *testing.T, backend Backend) {
	s := open(t, backend)
	ctx := t.Context()
	term := beginTerm(t, s)
	saved := applyDocuments(t, s, record.Documents{Schedules: []record.Schedule{schedule("s", "0 2 * * *")}}).Schedules[0]
	full := Filled[record.Schedule]()
	full.Name, full.Rev = saved.Name, saved.Rev+1
	must(t, s.SaveSchedule(ctx, term, full, nil))
	got, err := s.Schedule(ctx, "s")
	must(t, err)
	same(t, "schedule", got, full)
	given := Filled[record.Freeze]()
	want := applyDocuments(t, s, record.Documents{Freezes: []record.Freeze{given}}).Freezes[0]
	same(t, "applied freeze", want.Spec, given.Spec)
	stored, err := s.Freeze(ctx, given.Name)
	must(t, err)
	same(t, "freeze", stored, want)
}

func schedulesArePaged(t *testing.T, backend Backend) {
	s := open(t, backend)
	ctx := t.Context()
	beginTerm(t, s)
	var given record.Documents
	var want []string
	for i := range 9 {
		name := fmt.Sprint("name-", i)
		given.Schedules, given.Freezes = append(given.Schedules, schedule(name, "0 2 * * *")), append(given.Freezes, freeze(name, ""))
		want = append(want, name)
	}
	applyDocuments(t, s, given)
	for _, limit := range []int{0, 1, 4, 9} {
		schedules := allPages(t, limit, func(page store.Page) ([]record.Schedule, string, error) { return s.Schedules(ctx, page) })
		same(t, "schedules", namesOf(schedules, func(s record.Schedule) string { return s.Name }), want)
		freezes := allPages(t, limit, func(page store.Page) ([]record.Freeze, string, error) { return s.Freezes(ctx, page) })
		same(t, "freezes", namesOf(freezes, func(f record.Freeze) string { return f.Name }), want)
	}
}
