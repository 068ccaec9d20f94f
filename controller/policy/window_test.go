package policy_test

import (
	"testing"
	"time"

	"github.com/replicante-io/playbooks/record"
)

// checkWindow checks that a batch opens in a window only.
func (w *world) checkWindow(e record.Event) {
	w.t.Helper()
	if e.Type == record.EventBatchStarted && len(w.spec.Windows) > 0 && !w.afterOutcome(e) && !w.spec.Windows.Open(w.now) && !w.goesOnTogether(e) {
		w.t.Fatalf("a batch opens at %s, outside all windows\n%s", w.now, w.story())
	}
}

// afterOutcome reports whether a batch is of a rollback or of a cleanup.
func (w *world) afterOutcome(e record.Event) bool {
	for i := len(w.events) - 1; i >= 0; i-- {
		if before := w.events[i]; before.Type == record.EventStageStarted && before.Stage == e.Stage {
			return before.Data["pass"] == string(record.PassRollback) || w.stageSpec(e.Stage).Always
		}
	}
	return false
}

// goesOnTogether reports whether a batch is of stages that run together, and not the first of them.
func (w *world) goesOnTogether(e record.Event) bool {
	group := w.spec.TogetherWith(e.Stage)
	if len(group) == 0 {
		return false
	}
	if group[0] != e.Stage {
		return true
	}
	for i := len(w.events) - 1; i >= 0; i-- {
		switch before := w.events[i]; {
		case before.Stage != e.Stage:
		case before.Type == record.EventStageStarted:
			return false
		case before.Type == record.EventBatchStarted:
			return true
		}
	}
	return false
}

func TestStagesThatRunTogetherWaitForAWindowOnlyBeforeTheFirstBatch(t *testing.T) {
	w := newWorld(t, 1, `  windows: [{cron: "30 0 * * *", for: 30m}]
  together: [[stop, start]]
  stages:
    - {name: stop, health: none, steps: [{name: t, action: x/t, timeout: 3h}]}
    - {name: start, health: none, steps: [{name: t, action: x/t, timeout: 3h}]}
`)
	w.admit()
	if wait := w.run.Waiting; wait == nil || wait.For != record.WaitWindow || len(w.orders) > 0 {
		t.Fatalf("waits for %+v, orders %v", wait, w.orders)
	}
	w.pass(30 * time.Minute)
	w.observe()
	if len(w.orders) != 1 {
		t.Fatalf("orders %v, waits for %+v", w.orders, w.run.Waiting)
	}
	w.pass(time.Hour)
	w.work()
	w.ended(record.RunDone)
}

func TestTheTimeOfAGuardDoesNotPassWhileNoWindowIsOpen(t *testing.T) {
	w := newWorld(t, 2, "  windows: [{cron: '0 * * * *', for: 2m}]\n  stages:\n    - name: s\n"+aGuard+guardedSteps)
	w.status("node-1", record.StatusUnhealthy)
	w.status("node-2", record.StatusUnhealthy)
	w.admit()
	w.observe()
	if wait := w.run.Waiting; wait == nil || wait.For != record.WaitGuard {
		t.Fatalf("waits for %+v", wait)
	}
	w.pass(110 * time.Second)
	w.now = w.now.Add(30 * time.Second)
	w.observe()
	if wait := w.run.Waiting; wait == nil || wait.For != record.WaitWindow || len(w.asked) > 0 {
		t.Fatalf("waits for %+v, asks %v", wait, w.asked)
	}
	w.pass(30 * time.Minute)
	if w.run.State != record.RunRunning || w.run.Waiting.For != record.WaitWindow {
		t.Fatalf("%s, waits for %+v", w.run.State, w.run.Waiting)
	}
	w.status("node-1", record.StatusHealthy)
	w.pass(28 * time.Minute)
	w.observe()
	if len(w.orders) != 1 {
		t.Fatalf("orders %v, waits for %+v", w.orders, w.run.Waiting)
	}
}

const oneWindow = `  windows: [{cron: "30 0 * * *", for: 30m}]
  stages:
    - name: restart
      health: none
      steps: [{name: restart, action: x/restart, timeout: 3h}]
`

func TestABatchOpensInAWindowOnlyAndWhatIsInFlightEnds(t *testing.T) {
	w := newWorld(t, 2, oneWindow)
	w.admit()
	if wait := w.run.Waiting; w.run.State != record.RunRunning || wait == nil || wait.For != record.WaitWindow || !wait.Until.Equal(w.now.Add(30*time.Minute)) {
		t.Fatalf("it is %s and waits for %+v", w.run.State, wait)
	}
	if w.wake == nil || !w.wake.Equal(*w.run.Waiting.Until) || len(w.asked) > 0 {
		t.Fatalf("wakes at %v, asks %v", w.wake, w.asked)
	}
	w.pass(30 * time.Minute)
	w.observe()
	if len(w.orders) != 1 || w.run.Waiting != nil {
		t.Fatalf("orders %v, waiting %+v", w.orders, w.run.Waiting)
	}
	w.pass(time.Hour) // the window has closed
	w.end("node-1", record.ActionDone, "")
	w.want("node-1", record.NodeDone)
	if wait := w.run.Waiting; len(w.orders) > 0 || wait == nil || wait.For != record.WaitWindow || !wait.Until.Equal(time.Date(2026, 1, 2, 0, 30, 0, 0, time.UTC)) {
		t.Fatalf("orders %v, waiting %+v", w.orders, wait)
	}
	w.crash()
	w.pass(22 * time.Hour)
	if len(w.orders) > 0 {
		t.Fatalf("orders %v at %s", w.orders, w.now)
	}
	w.pass(time.Hour)
	w.work()
	w.ended(record.RunDone)
}

func TestALeaderWhoseClockIsBehindOpensNoBatchOutsideAWindow(t *testing.T) {
	w := newWorld(t, 2, oneWindow)
	w.admit()
	w.pass(30 * time.Minute)
	w.observe()
	w.now = w.now.Add(-10 * time.Minute) // 00:20
	w.crash()
	w.end("node-1", record.ActionDone, "")
	if wait := w.run.Waiting; len(w.orders) > 0 || wait == nil || wait.For != record.WaitWindow || !w.wake.Equal(w.now.Add(10*time.Minute)) {
		t.Fatalf("orders %v, waiting %+v, wakes at %v", w.orders, wait, w.wake)
	}
	w.pass(10 * time.Minute)
	w.work()
	w.ended(record.RunDone)
}

func TestGroupsWaitForAWindowWithoutAskingAnyAgent(t *testing.T) {
	w := newWorld(t, 4, `  windows: [{cron: "30 0 * * *", for: 30m}]
  stages:
    - name: restart
      health: none
      groups: {by: 'node.id in ["node-1", "node-2"]', at_once: 1}
      order_by: 'node.role == "PRIMARY"'
      steps: [{name: restart, action: x/restart, timeout: 3h}]
`)
	for name := range w.known {
		w.known[name] = healthy(w, name)
	}
	w.members(true)
	w.admit()
	waiting := func() int {
		groups := 0
		for _, g := range w.run.Stages[0].Groups {
			if g.Waiting != nil && g.Waiting.For == record.WaitWindow {
				groups++
			}
		}
		return groups
	}
	if len(w.asked) > 0 || waiting() != 2 {
		t.Fatalf("%d groups wait, asked %v", waiting(), w.asked)
	}
	w.pass(30 * time.Minute)
	w.observe()
	if len(w.orders) != 1 || waiting() != 0 || w.run.Waiting != nil {
		t.Fatalf("%d groups wait, orders %v, waiting %+v", waiting(), w.orders, w.run.Waiting)
	}
	w.work()
	w.ended(record.RunDone)
}
