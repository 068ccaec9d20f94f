package policy_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/replicante-io/playbooks/controller/policy"
	"github.com/replicante-io/playbooks/record"
)

// Guards that the world can judge without the policy: by the statuses and roles of the nodes that were reported.
const (
	strictGuard = "      guard: {check: 'nodes.all(n, n.status == \"HEALTHY\")', timeout: 5m}\n"
	aGuard      = "      guard: {check: 'nodes.filter(n, n.status != \"HEALTHY\").size() <= 1', timeout: 5m}\n"
	aNamedGuard = "      guard: {check: {few: 'nodes.filter(n, n.status != \"HEALTHY\").size() <= 1', roles: 'nodes.all(n, n.role != \"x\")'}, timeout: 3m, on_timeout: fail}\n"
)

// noteGuard keeps what was reported for the next batch.
func (w *world) noteGuard(in policy.Facts) {
	if in.Key.Purpose != policy.ForSelection {
		return
	}
	if asked, ok := w.asked[in.Key]; !ok || asked.ID != in.ID {
		return
	}
	if w.guarded == nil {
		w.guarded = map[policy.FactKey][]record.Node{}
	}
	w.guarded[in.Key] = in.Nodes
}

// checkGuard checks that a batch opens only where the guard of its stage held on facts of all nodes that were reported after the batch
// before.
func (w *world) checkGuard(e record.Event) {
	w.t.Helper()
	if e.Type == record.EventRunResumed {
		w.guarded = nil
	}
	if e.Type != record.EventBatchStarted || w.stageSpec(e.Stage).Guard == nil || w.afterOutcome(e) {
		return
	}
	var seen []record.Node
	for key, nodes := range w.guarded {
		if key.Stage == e.Stage && key.Group == "" && key.Batch == 0 {
			seen = nodes
		}
	}
	w.guarded = nil
	out, absent := 0, false
	for _, n := range seen {
		if rec, ours := w.nodes[n.NodeID]; ours && rec.Membership == record.MemberRemoved {
			continue
		}
		if n.Status != record.StatusHealthy {
			out++
		}
		absent = absent || n.Role == ""
	}
	guard := w.stageSpec(e.Stage).Guard
	switch {
	case len(seen) == 0:
		w.t.Fatalf("batch %v of stage %s opens without a look at its guard\n%s", e.Data["batch"], e.Stage, w.story())
	case out > 1 || out > 0 && guard.Timeout == 5*time.Minute && !strings.Contains(guard.Check.Parts[0].String(), "filter"):
		w.t.Fatalf("batch %v of stage %s opens with %d nodes that are not healthy\n%s", e.Data["batch"], e.Stage, out, w.story())
	case absent && len(guard.Check.Parts) > 1:
		w.t.Fatalf("batch %v of stage %s opens although a role is not known\n%s", e.Data["batch"], e.Stage, w.story())
	}
}

func (w *world) status(node string, status record.Status) {
	n := w.known[node]
	n.Status = status
	w.known[node] = n
}

const guardedSteps = "      health: none\n      steps: [{name: t, action: x/t, timeout: 1h}]\n"

// every is how often the next batch is asked for.
func (w *world) every() time.Duration {
	for key, request := range w.asked {
		if key.Purpose == policy.ForSelection {
			return request.Every
		}
	}
	return 0
}

func TestAGuardThatDoesNotHoldIsAskedLessOftenAfterAMinute(t *testing.T) {
	w := newWorld(t, 3, "  stages:\n    - name: s\n"+aGuard+guardedSteps)
	w.status("node-1", record.StatusUnhealthy)
	w.status("node-2", record.StatusUnhealthy)
	w.admit()
	w.observe()
	if wait := w.run.Waiting; wait == nil || wait.For != record.WaitGuard || !wait.Until.Equal(w.now.Add(5*time.Minute)) || w.every() != 2*time.Second {
		t.Fatalf("waits for %+v, asks every %s", wait, w.every())
	}
	w.pass(59 * time.Second)
	w.observe()
	if w.every() != 2*time.Second {
		t.Fatalf("asks every %s", w.every())
	}
	w.pass(time.Second)
	if w.every() != 10*time.Second {
		t.Fatalf("asks every %s", w.every())
	}
	w.crash()
	if w.every() != 10*time.Second {
		t.Fatalf("a new leader asks every %s", w.every())
	}
	w.status("node-2", record.StatusHealthy)
	w.work()
	w.ended(record.RunDone)
}

func TestAGuardThatIsNotMetInTimePausesTheRunAndHasItsFullTimeAfterAResume(t *testing.T) {
	w := newWorld(t, 2, "  stages:\n    - name: s\n"+aGuard+guardedSteps)
	w.status("node-1", record.StatusUnhealthy)
	w.status("node-2", record.StatusUnhealthy)
	w.admit()
	w.observe()
	w.pass(5 * time.Minute)
	if w.run.State != record.RunPaused || w.run.Error == nil || w.run.Error.Code != record.CodeGuardTimeout || len(w.asked) > 0 {
		t.Fatalf("%s, error %+v, asks %v", w.run.State, w.run.Error, w.asked)
	}
	w.pass(time.Hour)
	w.apply(command(record.VerbResume))
	w.observe()
	if wait := w.run.Waiting; w.run.State != record.RunRunning || wait == nil || wait.For != record.WaitGuard || !wait.Until.Equal(w.now.Add(5*time.Minute)) {
		t.Fatalf("%s, waits for %+v", w.run.State, wait)
	}
	w.status("node-1", record.StatusHealthy)
	w.work()
	w.ended(record.RunDone)
}

func TestAGuardWhoseFactsAreAbsentIsNeitherTrueNorFalseAndSaysWhatIsAbsent(t *testing.T) {
	w := newWorld(t, 2, "  stages:\n    - name: s\n"+aNamedGuard+guardedSteps)
	w.admit()
	w.observe()
	wait := w.run.Waiting
	if wait == nil || wait.For != record.WaitGuard {
		t.Fatalf("waits for %+v", wait)
	}
	why, _ := wait.Data["error"].(map[string]any)
	if data, _ := why["data"].(map[string]any); why["code"] != record.CodeFactsAbsent || data["part"] != "roles" || !strings.Contains(data["error"].(string), "role") {
		t.Fatalf("it says %+v", why)
	}
	w.pass(3 * time.Minute)
	w.ended(record.RunFailed)
	if w.run.Error.Code != record.CodeGuardTimeout {
		t.Fatalf("error %+v", w.run.Error)
	}
}

func TestTimeInWhichNobodyLedDoesNotCountForAGuard(t *testing.T) {
	w := newWorld(t, 2, "  stages:\n    - name: s\n"+aGuard+guardedSteps)
	w.status("node-1", record.StatusUnhealthy)
	w.status("node-2", record.StatusUnhealthy)
	w.admit()
	w.observe()
	w.pass(2 * time.Minute)
	w.now = w.now.Add(time.Hour)
	w.crash()
	w.observe()
	w.pass(2*time.Minute + 50*time.Second)
	if w.run.State != record.RunRunning {
		t.Fatalf("%s: %+v", w.run.State, w.run.Error)
	}
	w.pass(20 * time.Second)
	if w.run.State != record.RunPaused {
		t.Fatalf("%s, waits for %+v", w.run.State, w.run.Waiting)
	}
}

func TestTheGuardOfEachGroupIsDecidedOnFactsThatWereReadAfterTheBatchBefore(t *testing.T) {
	w := zoned(t, 4, 2, "  stages:\n    - name: s\n      groups: {by: node.attributes.zone, at_once: \"100%\"}\n"+aGuard+groupStep)
	w.observe() // the targets
	w.observe()
	if len(w.orders) != 1 {
		t.Fatalf("%d nodes act", len(w.orders))
	}
	w.status("node-3", record.StatusUnhealthy)
	w.status("node-4", record.StatusUnhealthy)
	w.observe()
	if wait := w.run.Waiting; len(w.orders) != 1 || wait == nil || wait.For != record.WaitGuard {
		t.Fatalf("%d nodes act, waiting %+v", len(w.orders), wait)
	}
	w.status("node-3", record.StatusHealthy)
	w.observe()
	if len(w.orders) != 2 || w.run.Waiting != nil {
		t.Fatalf("%d nodes act, waiting %+v", len(w.orders), w.run.Waiting)
	}
	w.work()
	w.ended(record.RunDone)
	if started := w.batchesOf(); !slices.Contains(started, "node-4") || len(started) != 4 {
		t.Errorf("batches %q", started)
	}
}

func TestAPauseWhileAGuardIsWaitedForAsksNothing(t *testing.T) {
	w := newWorld(t, 2, "  stages:\n    - name: s\n"+aGuard+guardedSteps)
	w.status("node-1", record.StatusUnhealthy)
	w.status("node-2", record.StatusUnhealthy)
	w.admit()
	w.observe()
	w.apply(command(record.VerbPause))
	if w.run.State != record.RunPaused || len(w.asked) > 0 || w.run.Waiting.For != record.WaitPause || w.wake != nil {
		t.Fatalf("%s, asks %v, waits for %+v, wakes at %v", w.run.State, w.asked, w.run.Waiting, w.wake)
	}
	w.apply(command(record.VerbCancel))
	w.ended(record.RunCancelled)
}

func TestAStageWhoseLastNodesAreRemovedWhileItsGuardIsWaitedForAsksNothing(t *testing.T) {
	w := newWorld(t, 3, "  membership: {removed: ignore, grace: 30s}\n  stages:\n    - name: s\n      targets: 'node.id == \"node-1\"'\n"+aGuard+guardedSteps+
		"    - name: t\n"+guardedSteps)
	w.status("node-2", record.StatusUnhealthy)
	w.status("node-3", record.StatusUnhealthy)
	w.admit()
	w.observe() // the targets
	w.observe()
	if wait := w.run.Waiting; wait == nil || wait.For != record.WaitGuard {
		t.Fatalf("waits for %+v", wait)
	}
	gone := w.known["node-1"]
	gone.Present, gone.Status = false, record.StatusUnreachable
	w.known["node-1"] = gone
	w.members(true, "node-1")
	w.pass(31 * time.Second)
	w.observe()
	if w.run.StageIndex != 1 {
		t.Fatalf("at stage %d, waits for %+v", w.run.StageIndex, w.run.Waiting)
	}
	for key := range w.asked {
		if key.Stage == "s" {
			t.Errorf("it still asks for %+v", key)
		}
	}
	w.work()
	w.ended(record.RunDone)
}
