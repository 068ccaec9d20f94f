package controller_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/replicante-io/playbooks/record"
)

func (h *installation) applyLive(documents record.Documents) {
	h.t.Helper()
	if _, err := h.current.Apply(h.t.Context(), documents, nil, nil); err != nil {
		h.t.Fatal(err)
	}
}

func frozen(name string, from, until time.Duration, clusters ...string) record.Documents {
	now := record.Now()
	begins, ends := now.Add(from), now.Add(until)
	return record.Documents{Freezes: []record.Freeze{{Name: name, CreatedTS: now,
		Spec: record.FreezeSpec{Clusters: clusters, From: &begins, To: &ends, Reason: "peak sales"}}}}
}

func (h *installation) wantFrozen(by string) {
	h.t.Helper()
	_, err := h.current.Start(h.t.Context(), record.Request{}, record.RunRequest{Playbook: "test", Cluster: "c"})
	rejected := new(record.RejectedError)
	switch {
	case by == "" && err != nil:
		h.t.Errorf("the start fails: %v", err)
	case by != "" && (!errors.As(err, &rejected) || rejected.Code != record.CodeFrozen || rejected.Data["freeze"] != by):
		h.t.Errorf("the start is not rejected by freeze %s: %v", by, err)
	}
}

func TestNoRunStartsInAFrozenCluster(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newInstallation(t, 2, slow)
		h.lead()
		defer func() { h.kill() }()
		h.wantFrozen("")
		h.applyLive(frozen("later", time.Hour, 3*time.Hour, "c*"))
		h.applyLive(frozen("other", -time.Hour, 3*time.Hour, "d", "cc", "?d"))
		h.wantFrozen("")
		time.Sleep(time.Hour)
		h.wantFrozen("later")
		h.applyLive(frozen("longer", 0, 4*time.Hour, "?"))
		h.wantFrozen("longer") // it ends later
		h.kill()
		h.lead() // which reads them
		h.wantFrozen("longer")
		if err := h.current.DeleteFreeze(t.Context(), record.Request{}, "longer"); err != nil {
			t.Fatal(err)
		}
		h.wantFrozen("later")
		time.Sleep(2 * time.Hour)
		h.wantFrozen("")
		h.applyLive(record.Documents{Freezes: []record.Freeze{{Name: "nights", CreatedTS: record.Now(), Spec: record.FreezeSpec{
			Clusters: []string{"c"}, Windows: []record.Window{{Cron: "0 22 * * *", For: "6h", TimeZone: "UTC"}}}}}})
		h.wantFrozen("nights") // it is 03:00
		time.Sleep(time.Hour)
		h.wantFrozen("")
	})
}

func TestARunOverridesAFreezeWithAReason(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newInstallation(t, 2, slow)
		h.lead()
		defer func() { h.kill() }()
		h.applyLive(frozen("sales", -time.Hour, time.Hour, "c"))
		run := h.start(record.Request{Actor: "op"}, record.RunRequest{OverrideFreeze: true, Reason: "disk full"})
		if !run.OverrideFreeze {
			t.Error("the run does not say so")
		}
		run = h.await(run.ID, record.RunDone)
		if !run.OverrideFreeze || run.Reason != "disk full" {
			t.Errorf("%+v", run)
		}
		events, err := h.store.Events(t.Context(), run.ID, 0, 2)
		if err != nil {
			t.Fatal(err)
		}
		if e := events[1]; e.Type != record.EventFreezeOverridden || e.Seq != 2 || e.Actor != "op" || e.Data["freeze"] != "sales" || e.Data["why"] != "peak sales" ||
			e.Data["reason"] != "disk full" {
			t.Errorf("%+v", e)
		}
	})
}

func TestAScheduleInAFrozenClusterIsRejectedAndRecorded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newInstallation(t, 2, slow)
		h.lead()
		defer func() { h.kill() }()
		documents := frozen("sales", 0, 90*time.Minute, "c")
		documents.Schedules = []record.Schedule{hourly()}
		h.applyLive(documents)
		time.Sleep(2*time.Hour + time.Minute)
		h.wantResults("01:00 REJECTED frozen, 02:00 STARTED")
	})
}

// TestAFreezeWhoseWriteIsInDoubtIsInForce has the store lose its answer.
func TestAFreezeWhoseWriteIsInDoubtIsInForce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newInstallation(t, 2, slow)
		h.lead()
		defer func() { h.kill() }()
		h.memory.FailNext("Apply", true)
		if _, err := h.current.Apply(t.Context(), frozen("sales", 0, time.Hour, "c"), nil, nil); err == nil {
			t.Fatal("the answer was not lost")
		}
		time.Sleep(time.Second)
		h.wantFrozen("sales")
	})
}
