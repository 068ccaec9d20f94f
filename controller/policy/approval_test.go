package policy_test

import (
	"testing"
	"time"

	"github.com/replicante-io/playbooks/controller/policy"
	"github.com/replicante-io/playbooks/record"
)

// checkApproved checks that nothing that has to be approved starts before.
func (w *world) checkApproved(e record.Event) {
	w.t.Helper()
	needs := func(kind record.EventType, stage string) {
		for _, before := range w.events {
			if before.Type == kind && before.Stage == stage {
				return
			}
		}
		w.t.Fatalf("%s %s without %s\n%s", e.Type, e.Stage, kind, w.story())
	}
	if e.Type == record.EventRunStarted && w.spec.Approval != nil {
		needs(record.EventRunApproved, "")
	}
	for i := range w.spec.Stages {
		if spec := &w.spec.Stages[i]; e.Type == record.EventStageStarted && spec.Name == e.Stage && spec.Approval != nil && e.Data["pass"] != string(record.PassRollback) {
			needs(record.EventStageApproved, e.Stage)
		}
	}
}

func TestTimeInWhichNobodyLedCountsForNoApproval(t *testing.T) {
	w := newWorld(t, 1, `  approval: {timeout: 10m}
  stages: [{name: a, health: none, approval: {timeout: 10m}, steps: [{name: one, action: x}]}]
`)
	w.pass(9 * time.Minute)
	w.now = w.now.Add(5 * time.Hour) // nobody leads
	w.crash()
	w.pass(30 * time.Second)
	w.ended(record.RunPendingApprove)
	w.apply(command(record.VerbApprove))
	w.apply(policy.Admit{})
	w.pass(9 * time.Minute)
	w.now = w.now.Add(5 * time.Hour)
	w.crash()
	w.pass(30 * time.Second)
	w.ended(record.RunRunning)
	w.pass(2 * time.Minute)
	w.ended(record.RunCancelled)
	if w.run.Error.Code != record.CodeApprovalTimeout || w.run.Error.Data["stage"] != "a" {
		t.Errorf("error %+v", w.run.Error)
	}
}

func TestTheTimeForAnApprovalBeginsAgainAfterAPause(t *testing.T) {
	w := newWorld(t, 1, "  stages: [{name: a, health: none, approval: {timeout: 10m}, steps: [{name: one, action: x}]}]\n")
	w.apply(policy.Admit{})
	w.pass(9 * time.Minute)
	w.apply(command(record.VerbPause))
	w.ended(record.RunPaused)
	w.pass(time.Hour)
	w.apply(command(record.VerbApprove))
	if w.rejected == nil || w.rejected.Code != record.CodeWrongState {
		t.Errorf("an approval while the run is paused: %v", w.rejected)
	}
	w.apply(command(record.VerbResume))
	if w.run.Waiting.For != record.WaitApproval || !w.run.Waiting.Until.Equal(w.now.Add(10*time.Minute)) {
		t.Errorf("waiting %+v", w.run.Waiting)
	}
}

func TestANodeThatAppearsBeforeTheApprovalIsAKnownOne(t *testing.T) {
	w := newWorld(t, 1, "  approval: required\n  membership: {added: fail}\n  stages: [{name: a, health: none, steps: [{name: one, action: x}]}]\n")
	w.known["node-2"] = w.alive("node-2")
	w.members(true)
	w.pass(time.Hour)
	w.apply(command(record.VerbApprove))
	if w.run.State != record.RunPending || w.run.QueuedTS == nil || !w.run.QueuedTS.Equal(w.now) {
		t.Errorf("the run is %s, queued %v", w.run.State, w.run.QueuedTS)
	}
	w.apply(policy.Admit{})
	w.work()
	w.ended(record.RunDone)
	w.want("node-2", record.NodeDone)
}

func TestWhatIsRejectedInAWrongStateSaysBothStates(t *testing.T) {
	w := newWorld(t, 1, `  stages:
    - {name: a, health: none, approval: required, steps: [{name: one, action: x}]}
    - {name: b, health: none, approval: required, steps: [{name: one, action: x}]}
`)
	w.apply(command(record.VerbApprove))
	if w.rejected == nil || w.rejected.Data["state"] != "PENDING" {
		t.Errorf("before the run begins: %v", w.rejected)
	}
	w.apply(policy.Admit{})
	c := command(record.VerbReject)
	c.Stage = "b"
	w.apply(c)
	if w.rejected == nil || w.rejected.Code != record.CodeWrongState || w.rejected.Data["state"] != "PENDING" || w.rejected.Data["run_state"] != "RUNNING" {
		t.Errorf("a stage that does not wait: %v", w.rejected)
	}
	c.Stage = "c"
	w.apply(c)
	if w.rejected == nil || w.rejected.Code != record.CodeBadValue {
		t.Errorf("a stage that there is not: %v", w.rejected)
	}
	w.apply(command(record.VerbCancel))
	w.ended(record.RunCancelled)
}
