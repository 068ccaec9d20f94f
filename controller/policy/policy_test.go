package policy_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/replicante-io/playbooks/controller/policy"
	"github.com/replicante-io/playbooks/record"
)

const oneStep = `  stages:
    - name: restart
      steps: [{name: restart, action: x/restart, timeout: 1m}]
`

func command(verb record.Verb) policy.Command {
	return policy.Command{Command: record.Command{Verb: verb}, Actor: "op"}
}

func TestRunGoesThroughItsNodesOneByOneAndEndsDone(t *testing.T) {
	w := newWorld(t, 3, oneStep)
	w.apply(policy.Admit{})
	w.work()
	w.ended(record.RunDone)
	want := `run.started
stage.started restart nodes=3
batch.started restart batch=1 nodes=[node-1]
batch.checking restart batch=1
node.state node-1 state=DONE
batch.finished restart batch=1
batch.started restart batch=2 nodes=[node-2]
batch.checking restart batch=2
node.state node-2 state=DONE
batch.finished restart batch=2
batch.started restart batch=3 nodes=[node-3]
batch.checking restart batch=3
node.state node-3 state=DONE
batch.finished restart batch=3
stage.finished restart state=DONE
run.finished state=DONE
`
	if got := w.story(); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

func TestQueuedRunStartsNothingUntilAdmitted(t *testing.T) {
	w := newWorld(t, 2, oneStep)
	w.apply(policy.Queue{Behind: "run-0"})
	if len(w.orders)+len(w.asked) > 0 || w.run.Waiting == nil || w.run.Waiting.For != record.WaitQueue || w.run.Waiting.Data["run"] != "run-0" {
		t.Fatalf("orders %v, requests %v, waiting %+v", w.orders, w.asked, w.run.Waiting)
	}
}

func TestFailureBeyondTheBudgetEndsTheRunAndLeavesTheOthersNotReached(t *testing.T) {
	w := newWorld(t, 3, oneStep)
	w.apply(policy.Admit{})
	w.observe()
	w.end("node-1", record.ActionFailed, "exit")
	w.work()
	w.ended(record.RunFailed)
	w.want("node-1", record.NodeFailed)
	w.want("node-2", record.NodeNotReached)
	w.want("node-3", record.NodeNotReached)
	if w.run.Error.Code != record.CodeMaxFailures || !strings.Contains(fmt.Sprint(w.run.Error.Data), "it said exit") || !strings.Contains(fmt.Sprint(w.run.Error.Data), "node-1") {
		t.Errorf("error %+v", w.run.Error)
	}
}

func TestFailureWithinTheBudgetGoesOnAndStillEndsFailed(t *testing.T) {
	w := newWorld(t, 3, strings.Replace(oneStep, "      steps", "      max_failures: 1\n      steps", 1))
	w.apply(policy.Admit{})
	w.observe()
	w.end("node-1", record.ActionFailed, "exit")
	w.work()
	w.ended(record.RunFailed)
	w.want("node-3", record.NodeDone)
}

func TestPauseOnFailureGoesOnAfterAResume(t *testing.T) {
	w := newWorld(t, 3, strings.Replace(oneStep, "      steps", "      on_failure: pause\n      steps", 1))
	w.apply(policy.Admit{})
	w.observe()
	w.end("node-1", record.ActionFailed, "exit")
	if w.run.State != record.RunPaused || w.run.Error == nil {
		t.Fatalf("the run is %s, error %v", w.run.State, w.run.Error)
	}
	w.crash()
	w.apply(command(record.VerbResume))
	w.work()
	w.ended(record.RunFailed)
	w.want("node-2", record.NodeDone)
	w.want("node-3", record.NodeDone)
}

func TestResumeAcceptsNoFailuresThatItsPauseWasNotFor(t *testing.T) {
	for _, onFailure := range []string{"abort", "pause"} {
		w := newWorld(t, 3, strings.Replace(oneStep, "      steps", "      on_failure: "+onFailure+"\n      steps", 1))
		w.apply(policy.Admit{})
		w.observe()
		w.apply(command(record.VerbPause))
		w.end("node-1", record.ActionFailed, "exit")
		w.crash()
		w.apply(command(record.VerbResume))
		if len(w.orders) > 0 {
			t.Errorf("%s: goes on with %v", onFailure, w.orders)
		}
		if onFailure == "abort" {
			w.ended(record.RunFailed)
			w.want("node-2", record.NodeNotReached)
			continue
		}
		if w.run.State != record.RunPaused || w.run.Error == nil {
			t.Fatalf("the run is %s, error %v", w.run.State, w.run.Error)
		}
		w.apply(command(record.VerbResume)) // now the operator has been told
		w.work()
		w.want("node-2", record.NodeDone)
	}
}

func TestStepIsRetriedAfterItsBackoff(t *testing.T) {
	w := newWorld(t, 1, strings.Replace(oneStep, "timeout: 1m", "retry: {attempts: 3, backoff: 10s}", 1))
	w.apply(policy.Admit{})
	w.observe()
	w.end("node-1", record.ActionFailed, "exit")
	w.pass(9 * time.Second)
	if len(w.orders) > 0 {
		t.Fatal("retried before its backoff")
	}
	w.crash()
	w.pass(2 * time.Second)
	w.end("node-1", record.ActionFailed, "exit")
	w.pass(19 * time.Second)
	if len(w.orders) > 0 {
		t.Fatal("the second backoff is not longer")
	}
	w.pass(2 * time.Second)
	w.work()
	w.ended(record.RunDone)
	if n := len(w.nodes["node-1"].Actions); n != 3 || w.nodes["node-1"].Actions[2].Attempt != 3 {
		t.Errorf("%d attempts", n)
	}
}

func TestTimedOutActionIsCancelledAndThenUnknownUntilItsAgentAnswers(t *testing.T) {
	w := newWorld(t, 2, oneStep)
	w.apply(policy.Admit{})
	w.observe()
	w.pass(61 * time.Second)
	if w.orders["node-1"].Stop != record.CodeTimeout {
		t.Fatalf("wants %+v", w.orders["node-1"])
	}
	w.pass(21 * time.Second)
	w.ended(record.RunFailed)
	w.want("node-1", record.NodeUnknown)
	if w.run.Unsettled != 1 || !w.locked["node-1"] {
		t.Fatalf("%d unsettled, held %v", w.run.Unsettled, w.locked)
	}
	w.crash()
	w.end("node-1", record.ActionFailed, record.CodeTimeout)
	w.want("node-1", record.NodeUnknown)
	if w.run.Unsettled != 0 || w.locked["node-1"] {
		t.Fatalf("%d unsettled, held %v", w.run.Unsettled, w.locked)
	}
}

func TestNothingStartsInTheMomentInWhichTheBudgetIsExceeded(t *testing.T) {
	for _, silent := range []string{"node-1", "node-2"} {
		w := newWorld(t, 2, `  stages:
    - name: restart
      batch: 2
      health: none
      steps: [{name: a, action: x/a, timeout: 1m, on_unknown: retry, retry: {attempts: 2, backoff: 94s, max_backoff: 94s}}]
`)
		w.apply(policy.Admit{})
		w.observe()
		w.pass(50 * time.Second)
		for node := range w.nodes {
			if node != silent {
				w.end(node, record.ActionFailed, record.CodeExit)
			}
		}
		w.pass(11 * time.Second) // it is cancelled
		w.pass(21 * time.Second) // its end is unknown, and may be told within 60 s
		w.now = w.now.Add(63 * time.Second)
		w.apply(policy.Tick{}) // that is over, and so is the other's backoff
		if len(w.nodes["node-1"].Actions)+len(w.nodes["node-2"].Actions) != 2 || w.nodes[silent].State != record.NodeUnknown {
			t.Errorf("%s: %s", silent, w.story())
		}
		w.ended(record.RunFailed)
	}
}

func TestTimeoutHoldsAcrossATakeover(t *testing.T) {
	w := newWorld(t, 1, oneStep)
	w.apply(policy.Admit{})
	w.observe()
	w.crash()
	w.pass(61 * time.Second)
	if w.orders["node-1"].Stop != record.CodeTimeout {
		t.Fatalf("wants %+v", w.orders["node-1"])
	}
}

func TestFailedNodesAreCountedAgainstThoseOfTheStage(t *testing.T) {
	w := newWorld(t, 3, strings.Replace(oneStep, "      steps", "      targets: 'node.id != \"node-3\"'\n      steps", 1))
	w.apply(policy.Admit{})
	w.observe()
	w.end("node-1", record.ActionFailed, record.CodeExit)
	w.ended(record.RunFailed)
	if data := w.run.Error.Data; data["failed"] != int64(1) || data["nodes"] != int64(2) {
		t.Errorf("%v failed of %v", data["failed"], data["nodes"])
	}
}

func TestTheTimeoutOfAnAttemptBeginsWhenItsAgentHasIt(t *testing.T) {
	w := newWorld(t, 1, strings.Replace(oneStep, "timeout: 1m", "timeout: 10s", 1))
	w.apply(policy.Admit{})
	w.observe()
	w.pass(7 * time.Second) // its agent restarts
	w.apply(policy.Accepted{Node: "node-1", ActionID: w.orders["node-1"].Action.ID})
	w.pass(9 * time.Second)
	if stop := w.orders["node-1"].Stop; stop != "" {
		t.Fatalf("stopped after 9s of 10s: %s", stop)
	}
	w.pass(2 * time.Second)
	if stop := w.orders["node-1"].Stop; stop != record.CodeTimeout {
		t.Fatalf("after its timeout: %q", stop)
	}
}

func TestOperatorSettlesAnUnknownNode(t *testing.T) {
	w := newWorld(t, 1, oneStep)
	w.apply(policy.Admit{})
	w.observe()
	w.pass(90 * time.Second)
	w.ended(record.RunFailed)
	w.resolved = true
	w.apply(policy.Command{Command: record.Command{Verb: record.VerbResolve, Node: "node-1", State: record.NodeDone}})
	w.want("node-1", record.NodeDone)
	if w.run.Unsettled != 0 || len(w.orders) != 0 || w.locked["node-1"] {
		t.Fatalf("%d unsettled, wants %v, held %v", w.run.Unsettled, w.orders, w.locked)
	}
}

func TestResolvedNodeGoesOnWithItsStepsAndStages(t *testing.T) {
	w := newWorld(t, 2, `  stages:
    - name: one
      on_failure: pause
      health: none
      steps: [{name: a, action: x/a}, {name: b, action: x/b}]
    - name: two
      targets: "true"
      steps: [{name: c, action: x/c}]
`)
	w.apply(policy.Admit{})
	w.observe()
	w.end("node-1", record.ActionUnknown, record.CodeLost)
	w.observe()
	if w.run.State != record.RunPaused {
		t.Fatalf("the run is %s", w.run.State)
	}
	w.resolved = true
	w.apply(policy.Command{Command: record.Command{Verb: record.VerbResolve, Node: "node-1", State: record.NodeDone}})
	w.want("node-1", record.NodeWaiting)
	w.apply(command(record.VerbResume))
	w.crash()
	w.work()
	w.ended(record.RunDone)
	steps := ""
	for _, a := range w.nodes["node-1"].Actions {
		steps += a.Step
	}
	if steps != "abc" || w.nodes["node-1"].Error != nil {
		t.Errorf("steps %s, error %v\n%s", steps, w.nodes["node-1"].Error, w.story())
	}
}

func TestVerbInAWrongStateIsToldWhichWouldBeRight(t *testing.T) {
	w := newWorld(t, 1, oneStep)
	w.apply(policy.Admit{})
	w.apply(command(record.VerbResume))
	if r := w.rejected; r == nil || r.Code != record.CodeWrongState || r.Data["state"] != "RUNNING" || fmt.Sprint(r.Data["allowed"]) != "[PAUSED PAUSING]" {
		t.Fatalf("refused: %+v", r)
	}
	w.work()
	w.apply(command(record.VerbCancel))
	if r := w.rejected; r == nil || r.Code != record.CodeWrongState || r.Data["state"] != "DONE" || fmt.Sprint(r.Data["allowed"]) != "[PENDING_APPROVE PENDING RUNNING PAUSING PAUSED]" {
		t.Fatalf("refused: %+v", r)
	}
}

func TestRebootIsDoneWhenItsGatePassesAndItsAgentSaysLost(t *testing.T) {
	w := newWorld(t, 1, strings.Replace(oneStep, "timeout: 1m", "timeout: 1m, on_unknown: health", 1))
	w.apply(policy.Admit{})
	w.observe()
	down := w.known["node-1"]
	down.Status = record.StatusUnreachable
	w.known["node-1"] = down
	w.pass(90 * time.Second) // the deadline, and the patience with the cancel
	w.observe()
	w.known["node-1"] = w.alive("node-1")
	w.crash()
	w.observe()
	if w.run.State.Final() {
		t.Fatal("passed before its agent said that the step is over")
	}
	w.end("node-1", record.ActionUnknown, record.CodeLost)
	w.work()
	w.ended(record.RunDone)
}

func TestUnknownStepIsRetriedOnceItsAgentSaysItIsOver(t *testing.T) {
	w := newWorld(t, 1, strings.Replace(oneStep, "timeout: 1m", "timeout: 1m, on_unknown: retry, retry: {attempts: 2, backoff: 1s}", 1))
	w.apply(policy.Admit{})
	w.observe()
	w.pass(90 * time.Second)
	if len(w.nodes["node-1"].Actions) != 1 {
		t.Fatal("retried beside an unsettled action")
	}
	w.end("node-1", record.ActionUnknown, record.CodeLost)
	w.pass(2 * time.Second)
	w.work()
	w.ended(record.RunDone)
}

func TestUnknownStepWithoutAttemptsIsTriedAgainAndAFailedOneIsNot(t *testing.T) {
	spec := strings.Replace(oneStep, "timeout: 1m", "timeout: 1m, on_unknown: retry", 1)
	w := newWorld(t, 1, spec)
	w.apply(policy.Admit{})
	w.observe()
	w.end("node-1", record.ActionUnknown, record.CodeLost)
	w.pass(6 * time.Second)
	w.end("node-1", record.ActionUnknown, record.CodeLost)
	w.pass(11 * time.Second)
	w.end("node-1", record.ActionUnknown, record.CodeLost)
	w.work()
	w.ended(record.RunFailed)
	if n := len(w.nodes["node-1"].Actions); n != 3 {
		t.Errorf("%d attempts", n)
	}

	w = newWorld(t, 1, spec)
	w.apply(policy.Admit{})
	w.observe()
	w.end("node-1", record.ActionFailed, record.CodeExit)
	w.work()
	w.ended(record.RunFailed)
	if n := len(w.nodes["node-1"].Actions); n != 1 {
		t.Errorf("%d attempts of a step that failed", n)
	}
}

func TestAnUnsettledLastAttemptThatAnOperatorCallsFailedFailsItsNode(t *testing.T) {
	w := newWorld(t, 2, strings.Replace(oneStep, "timeout: 1m", "timeout: 1m, on_unknown: retry, retry: {attempts: 2, backoff: 1s}", 1))
	w.apply(policy.Admit{})
	w.observe()
	w.end("node-1", record.ActionFailed, record.CodeExit)
	w.pass(2 * time.Second)
	w.pass(90 * time.Second) // its agent is silent
	if w.run.Unsettled != 1 {
		t.Fatalf("%d unsettled", w.run.Unsettled)
	}
	w.apply(policy.Command{Command: record.Command{Verb: record.VerbResolve, Node: "node-1", State: record.NodeFailed, Reason: "it is down"}, Actor: "op"})
	w.want("node-1", record.NodeFailed)
	w.ended(record.RunFailed)
}

func TestNeverStartedActionIsSentAgainWithoutCostingAnAttempt(t *testing.T) {
	w := newWorld(t, 1, oneStep)
	w.apply(policy.Admit{})
	w.observe()
	w.end("node-1", record.ActionFailed, record.CodeNeverStarted)
	w.pass(6 * time.Second)
	w.work()
	w.ended(record.RunDone)
}

func TestUnhealthyNodeFailsWhenItsGateTimesOut(t *testing.T) {
	w := newWorld(t, 2, oneStep)
	w.apply(policy.Admit{})
	w.observe()
	sick := w.known["node-1"]
	sick.Status = record.StatusUnhealthy
	w.known["node-1"] = sick
	w.end("node-1", record.ActionDone, "")
	w.observe()
	if w.run.Waiting == nil || w.run.Waiting.For != record.WaitGate || !strings.Contains(fmt.Sprint(w.run.Waiting.Data), "data:map[status:UNHEALTHY]] node:node-1") {
		t.Fatalf("waiting %+v", w.run.Waiting)
	}
	w.pass(2*time.Minute + time.Second)
	w.ended(record.RunFailed)
	if e := w.nodes["node-1"].Error; e == nil || e.Code != record.CodeHealthTimeout || !strings.Contains(fmt.Sprint(e.Data), "UNHEALTHY") {
		t.Errorf("error %+v", e)
	}
}

func TestGateThatTimesOutFailsOnlyTheNodesThatAreNotHealthy(t *testing.T) {
	for _, crash := range []bool{false, true} {
		w := newWorld(t, 2, strings.Replace(oneStep, "      steps", "      batch: 2\n      steps", 1))
		w.apply(policy.Admit{})
		w.observe()
		sick := w.known["node-1"]
		sick.Status = record.StatusUnhealthy
		w.known["node-1"] = sick
		w.endAll(map[string]record.ActionState{"node-1": record.ActionDone, "node-2": record.ActionDone})
		w.observe()
		if crash {
			w.crash()
		}
		w.pass(2*time.Minute + time.Second)
		w.observe()
		w.ended(record.RunFailed)
		w.want("node-1", record.NodeFailed)
		w.want("node-2", record.NodeDone)
	}
}

func TestKnownNodeThatIsNotThereFailsAtItsTurn(t *testing.T) {
	w := newWorld(t, 3, oneStep)
	absent := w.known["node-2"]
	absent.Present, absent.Status = false, record.StatusUnreachable
	w.known["node-2"] = absent
	n := w.nodes["node-2"]
	n.Absent = true
	w.nodes["node-2"] = n
	w.load(true)
	w.apply(policy.Admit{})
	w.work()
	w.ended(record.RunFailed)
	w.want("node-1", record.NodeDone)
	w.want("node-2", record.NodeFailed)
	w.want("node-3", record.NodeNotReached)
	if e := w.nodes["node-2"].Error; e.Code != record.CodeUnreachable {
		t.Errorf("error %+v", e)
	}
}

func TestPrimaryGoesLastByFreshFacts(t *testing.T) {
	w := newWorld(t, 3, strings.Replace(oneStep, "      steps", "      order_by: 'node.role == \"PRIMARY\"'\n      health: none\n      steps", 1))
	for name, role := range map[string]string{"node-1": "PRIMARY", "node-2": "SECONDARY", "node-3": "SECONDARY"} {
		n := w.known[name]
		n.Role = role
		w.known[name] = n
	}
	w.apply(policy.Admit{})
	w.observe()
	w.end("node-2", record.ActionDone, "")
	for name, role := range map[string]string{"node-1": "SECONDARY", "node-3": "PRIMARY"} { // it moves
		n := w.known[name]
		n.Role = role
		w.known[name] = n
	}
	w.observe()
	w.end("node-1", record.ActionDone, "")
	w.work()
	w.ended(record.RunDone)
}

func TestAbsentFactIsWaitedForAndThenFailsItsNodes(t *testing.T) {
	w := newWorld(t, 2, strings.Replace(oneStep, "      steps", "      targets: 'node.role == \"PRIMARY\"'\n      steps", 1))
	w.apply(policy.Admit{})
	w.observe()
	if w.run.Waiting == nil || w.run.Waiting.For != record.WaitFacts || !strings.Contains(fmt.Sprint(w.run.Waiting.Data), "role") {
		t.Fatalf("waiting %+v", w.run.Waiting)
	}
	w.pass(time.Minute)
	w.crash()
	w.observe()
	w.pass(50 * time.Second)
	w.observe()
	if w.run.State.Final() {
		t.Fatal("failed before its patience was over")
	}
	w.pass(11 * time.Second)
	w.observe()
	w.ended(record.RunFailed)
	if w.run.Error.Code != record.CodeMaxFailures || w.run.Stages[0].State != record.StageFailed {
		t.Errorf("error %+v, stage %s", w.run.Error, w.run.Stages[0].State)
	}
	if e := w.nodes["node-1"].Error; e == nil || e.Code != record.CodeFactsAbsent {
		t.Errorf("the node's error is %+v", e)
	}
}

func TestNewcomerGoesThroughEveryStageBeforeTheRunEnds(t *testing.T) {
	w := newWorld(t, 1, oneStep+`    - name: second
      health: none
      steps: [{name: check, action: x/check}]
`)
	w.apply(policy.Admit{})
	w.observe()
	w.known["node-9"] = w.alive("node-9")
	w.members(true)
	w.want("node-9", record.NodeAdded)
	w.crash()
	w.work()
	w.ended(record.RunDone)
	w.want("node-9", record.NodeDone)
	if n := w.nodes["node-9"]; len(n.Actions) != 2 || n.Membership != record.MemberAdded || n.Stages[0].Pass != record.PassNewcomers {
		t.Errorf("record %+v", n)
	}
}

func TestNewcomersAreTreatedAsThePlaybookSays(t *testing.T) {
	for word, want := range map[string]struct {
		run  record.RunState
		node record.NodeState
	}{
		"ignore": {record.RunDone, record.NodeSkipped},
		"fail":   {record.RunFailed, record.NodeNotReached},
		"pause":  {record.RunDone, record.NodeDone},
	} {
		t.Run(word, func(t *testing.T) {
			w := newWorld(t, 2, "  membership: {added: "+word+"}\n"+oneStep)
			w.apply(policy.Admit{})
			w.observe()
			w.known["node-9"] = w.alive("node-9")
			w.members(true)
			if word == "pause" {
				w.end("node-1", record.ActionDone, "")
				if w.run.State != record.RunPaused {
					t.Fatalf("the run is %s", w.run.State)
				}
				w.apply(command(record.VerbResume))
			}
			w.work()
			w.ended(want.run)
			w.want("node-9", want.node)
		})
	}
}

func TestNodesThatGoAreTreatedAsThePlaybookSays(t *testing.T) {
	for word, want := range map[string]record.RunState{"ignore": record.RunDone, "fail": record.RunFailed, "pause": record.RunDone} {
		t.Run(word, func(t *testing.T) {
			w := newWorld(t, 3, "  membership: {removed: "+word+", grace: 10s}\n"+oneStep)
			w.apply(policy.Admit{})
			w.observe()
			delete(w.known, "node-3")
			w.members(false, "node-3")
			w.pass(9 * time.Second)
			w.observe()
			w.want("node-3", record.NodePending)
			w.pass(2 * time.Second)
			w.observe()
			w.want("node-3", record.NodeRemoved)
			if word == "pause" {
				w.end("node-1", record.ActionDone, "")
				if w.run.State != record.RunPaused {
					t.Fatalf("the run is %s", w.run.State)
				}
				w.apply(command(record.VerbResume))
			}
			w.work()
			w.ended(want)
		})
	}
}

func TestNodeThatReturnsWithinItsGraceIsNotRemoved(t *testing.T) {
	w := newWorld(t, 2, "  membership: {grace: 10s}\n"+oneStep)
	w.apply(policy.Admit{})
	w.observe()
	w.members(false, "node-2")
	w.pass(9 * time.Second)
	w.members(true)
	w.pass(20 * time.Second)
	w.work()
	w.ended(record.RunDone)
	w.want("node-2", record.NodeDone)
}

func TestNodeThatDiesInItsOwnStepIsUnknownAfterItsGrace(t *testing.T) {
	w := newWorld(t, 2, "  membership: {removed: ignore, grace: 10s}\n"+oneStep)
	w.apply(policy.Admit{})
	w.observe()
	w.members(false, "node-1")
	w.pass(12 * time.Second)
	w.observe() // its agent answers: the step still has its time
	w.want("node-1", record.NodeRunning)
	delete(w.known, "node-1")
	w.crash()
	w.pass(12 * time.Second)
	w.observe()
	w.want("node-1", record.NodeUnknown)
	if w.run.Unsettled != 1 || !w.locked["node-1"] || w.nodes["node-1"].Error.Code != record.CodeNodeLost {
		t.Fatalf("%d unsettled, error %+v", w.run.Unsettled, w.nodes["node-1"].Error)
	}
	w.resolved = true
	w.apply(policy.Command{Command: record.Command{Verb: record.VerbResolve, Node: "node-1", State: record.NodeFailed}})
	if w.run.Unsettled != 0 {
		t.Errorf("%d unsettled after it was resolved", w.run.Unsettled)
	}
}

func TestNodeThatReturnsContinuesAtItsOldPlace(t *testing.T) {
	w := newWorld(t, 3, `  membership: {removed: pause, grace: 2s}
  stages:
    - name: one
      targets: 'node.id != "node-3"'
      health: none
      steps: [{name: a, action: x/a}]
    - name: two
      targets: 'node.id == "node-3"'
      health: none
      steps: [{name: b, action: x/b}]
`)
	w.apply(policy.Admit{})
	w.members(false, "node-3")
	there := w.known["node-3"]
	delete(w.known, "node-3")
	w.pass(3 * time.Second)
	w.observe()
	w.want("node-3", record.NodeRemoved)
	w.end("node-1", record.ActionDone, "")
	if w.run.State != record.RunPaused {
		t.Fatalf("the run is %s", w.run.State)
	}
	w.known["node-3"] = there
	w.apply(policy.Members{Present: []record.Node{there}})
	w.want("node-3", record.NodePending)
	w.apply(command(record.VerbResume))
	w.crash()
	w.work()
	w.ended(record.RunDone)
	if n := w.nodes["node-3"]; n.State != record.NodeDone || n.Newcomer || n.Membership != record.MemberKnown || len(n.Actions) != 1 {
		t.Errorf("record %+v\n%s", n, w.story())
	}
}

func TestNodeThatReturnsDuringItsStageHasItsTurnInIt(t *testing.T) {
	for _, again := range []func(w *world){func(*world) {}, (*world).crash} {
		w := newWorld(t, 3, `  membership: {removed: ignore, grace: 2s}
  stages:
    - name: one
      health: none
      steps: [{name: a, action: x/a}]
`)
		w.apply(policy.Admit{})
		w.observe()
		there := w.known["node-3"]
		w.members(false, "node-3")
		delete(w.known, "node-3")
		w.pass(3 * time.Second)
		w.observe()
		w.want("node-3", record.NodeRemoved)
		w.end("node-1", record.ActionDone, "")
		w.observe() // the next batch opens without it
		w.known["node-3"] = there
		w.apply(policy.Members{Present: []record.Node{there}})
		w.want("node-3", record.NodePending)
		again(w)
		w.work()
		w.ended(record.RunDone)
		if n := w.nodes["node-3"]; n.State != record.NodeDone || n.Newcomer || len(n.Actions) != 1 {
			t.Errorf("record %+v\n%s", n, w.story())
		}
	}
}

func TestGateDoesNotCountARemovedNode(t *testing.T) {
	w := newWorld(t, 2, `  membership: {removed: ignore, grace: 2s}
  stages:
    - name: one
      health: {check: 'nodes.all(n, n.status == "HEALTHY")', timeout: 30s}
      steps: [{name: a, action: x/a}]
`)
	w.apply(policy.Admit{})
	w.members(false, "node-2")
	w.known["node-2"] = unreachable(w.known["node-2"])
	gone := w.known["node-2"]
	gone.Present = false
	w.known["node-2"] = gone
	w.pass(3 * time.Second)
	w.observe()
	w.want("node-2", record.NodeRemoved)
	w.work()
	w.ended(record.RunDone)
}

func TestCancelWaitsForWhatIsInFlightAndKillStopsIt(t *testing.T) {
	w := newWorld(t, 2, oneStep)
	w.apply(policy.Admit{})
	w.observe()
	w.apply(command(record.VerbCancel))
	if w.run.State != record.RunCancelling || w.orders["node-1"].Stop != "" {
		t.Fatalf("the run is %s, wants %+v", w.run.State, w.orders)
	}
	w.apply(policy.Command{Command: record.Command{Verb: record.VerbCancel, Kill: true}})
	if w.orders["node-1"].Stop != record.CodeCancelled {
		t.Fatalf("wants %+v", w.orders)
	}
	w.end("node-1", record.ActionFailed, record.CodeCancelled)
	w.ended(record.RunCancelled)
	w.want("node-1", record.NodeCancelled)
	w.want("node-2", record.NodeNotReached)
	w.apply(command(record.VerbCancel))
	if w.rejected == nil || w.rejected.Code != record.CodeWrongState {
		t.Errorf("refusal %+v", w.rejected)
	}
}

func TestPausedRunHasNothingInFlightAndResumesWhereItWas(t *testing.T) {
	w := newWorld(t, 2, strings.Replace(oneStep, "steps: [", "steps: [{name: first, action: x/first}, ", 1))
	w.apply(policy.Admit{})
	w.observe()
	w.apply(command(record.VerbPause))
	if w.run.State != record.RunPausing {
		t.Fatalf("the run is %s", w.run.State)
	}
	w.end("node-1", record.ActionDone, "")
	if w.run.State != record.RunPaused || len(w.orders) > 0 {
		t.Fatalf("the run is %s, wants %v", w.run.State, w.orders)
	}
	w.crash()
	w.apply(command(record.VerbResume))
	if w.orders["node-1"].Action.Step != "restart" {
		t.Fatalf("wants %+v", w.orders)
	}
	w.work()
	w.ended(record.RunDone)
}

func TestStageForNoNodeFailsTheRun(t *testing.T) {
	w := newWorld(t, 2, strings.Replace(oneStep, "      steps", "      targets: 'node.id == \"x\"'\n      steps", 1))
	w.apply(policy.Admit{})
	w.ended(record.RunFailed)
	if w.run.Error.Code != record.CodeNoTargets {
		t.Errorf("error %+v", w.run.Error)
	}
}

func TestNodesThatNoStageIsForAreSkipped(t *testing.T) {
	w := newWorld(t, 2, strings.Replace(oneStep, "      steps", "      targets: 'node.id == \"node-1\"'\n      steps", 1))
	w.apply(policy.Admit{})
	w.work()
	w.ended(record.RunDone)
	w.want("node-2", record.NodeSkipped)
}

func TestStepIsSkippedWhenItsConditionIsFalse(t *testing.T) {
	w := newWorld(t, 2, `  params: [{name: only, type: string, default: node-2}]
  stages:
    - name: s
      health: none
      steps:
        - {name: a, action: x/a, when: 'node.id == "node-2"', args: {who: "${node.id}", of: "${run.cluster}"}}
        - {name: b, action: x/b, args: {was: "${results.s.a}"}}
`)
	w.apply(policy.Admit{})
	w.work()
	w.ended(record.RunDone)
	if a := w.nodes["node-1"].Actions; len(a) != 1 || a[0].Step != "b" {
		t.Errorf("node-1: %+v", a)
	}
	if a := w.nodes["node-2"].Actions; len(a) != 2 || a[0].Args["who"] != "node-2" || a[0].Args["of"] != "c" {
		t.Errorf("node-2: %+v", a)
	}
}

func TestManyNodesStartByCommitsOfBoundedSize(t *testing.T) {
	w := newWorld(t, 3000, strings.Replace(oneStep, "      steps", "      batch: \"100%\"\n      health: none\n      steps", 1))
	w.apply(policy.Admit{})
	if len(w.orders) != 3000 {
		t.Fatalf("%d in flight", len(w.orders))
	}
	if commits := w.run.Rev - 1; commits < 3 || commits > 5 {
		t.Errorf("%d commits for 3,000 nodes", commits)
	}
}

func TestPausedRunFailsWhenThePlaybookSaysSo(t *testing.T) {
	w := newWorld(t, 2, "  membership: {added: fail}\n"+oneStep)
	w.apply(policy.Admit{})
	w.observe()
	w.apply(command(record.VerbPause))
	w.end("node-1", record.ActionDone, "")
	w.known["node-9"] = w.alive("node-9")
	w.members(true)
	w.work()
	w.ended(record.RunFailed)
	if w.run.Error.Code != record.CodeNodeAdded {
		t.Errorf("error %+v", w.run.Error)
	}
}

func TestActionIsFollowedWhereItsJournalMoves(t *testing.T) {
	w := newWorld(t, 1, oneStep)
	w.apply(policy.Admit{})
	w.observe()
	n := w.known["node-1"]
	n.AgentURL = "http://elsewhere"
	w.known["node-1"] = n
	w.members(true)
	if p := w.orders["node-1"]; p.URL != "http://elsewhere" || p.Action.AgentURL != "http://node-1" {
		t.Fatalf("wants %+v", p)
	}
	n.AgentURL, n.JournalID = "http://stranger", "another"
	w.known["node-1"] = n
	w.members(true)
	w.crash()
	if p := w.orders["node-1"]; p.URL != "http://node-1" {
		t.Fatalf("another journal is asked: %+v", p)
	}
}

func TestWithoutAHealthGateANodeIsDoneBeforeTheOthersOfItsBatch(t *testing.T) {
	w := newWorld(t, 2, strings.Replace(oneStep, "      steps", "      batch: \"100%\"\n      health: none\n      steps", 1))
	w.apply(policy.Admit{})
	w.end("node-1", record.ActionDone, "")
	w.want("node-1", record.NodeDone)
	w.want("node-2", record.NodeRunning)
	w.crash()
	w.end("node-2", record.ActionDone, "")
	w.ended(record.RunDone)
}

func TestStepIsNotDecidedByFactsThatAnEarlierStepAskedFor(t *testing.T) {
	w := newWorld(t, 1, `  stages:
    - name: s
      health: none
      steps:
        - {name: a, action: x/a, when: 'node.role == "PRIMARY"'}
        - {name: b, action: x/b, when: 'node.role == "PRIMARY"'}
`)
	primary := healthy(w, "node-1")
	w.known["node-1"] = primary
	w.apply(policy.Admit{})
	first := w.asked[policy.FactKey{Purpose: policy.ForStep, Node: "node-1"}]
	late := policy.Facts{Key: first.Key, ID: first.ID, Nodes: []record.Node{primary}}
	w.apply(late)
	w.end("node-1", record.ActionDone, "")
	w.apply(late) // it was under way when the first step started
	if len(w.orders) > 0 {
		t.Fatalf("wants %+v", w.orders)
	}
	primary.Role = "SECONDARY"
	w.known["node-1"] = primary
	w.observe()
	w.ended(record.RunDone)
	if n := len(w.nodes["node-1"].Actions); n != 1 {
		t.Errorf("%d actions", n)
	}
}

// TestNodeThatCannotBeDecidedAboutIsOneFailure: its datastore is down, or it does not answer, so it reports no role.
func TestNodeThatCannotBeDecidedAboutIsOneFailure(t *testing.T) {
	for _, expression := range []string{"targets: 'node.role != \"PRIMARY\"'", "order_by: 'node.role == \"PRIMARY\"'"} {
		for _, status := range []record.Status{record.StatusUnreachable, record.StatusUnavailable} {
			w := newWorld(t, 3, strings.Replace(oneStep, "      steps", "      health: none\n      max_failures: 1\n      "+expression+"\n      steps", 1))
			for name := range w.known {
				n := healthy(w, name)
				n.Role = "SECONDARY"
				w.known[name] = n
			}
			down := w.known["node-3"]
			down.Status, down.Role = status, ""
			w.known["node-3"] = down
			w.apply(policy.Admit{})
			w.observe()
			if strings.HasPrefix(expression, "targets") && (w.run.Waiting == nil || w.run.Waiting.Node != "node-3") {
				t.Errorf("%s, %s: waiting %+v", expression, status, w.run.Waiting)
			}
			w.work()
			w.ended(record.RunFailed)
			w.want("node-1", record.NodeDone)
			w.want("node-2", record.NodeDone)
			w.want("node-3", record.NodeFailed)
			if took := w.now.Sub(w.run.CreatedTS); took < 30*time.Second || took > 40*time.Second {
				t.Errorf("%s, %s: it took %s", expression, status, took)
			}
			if code := w.nodes["node-3"].Error.Code; code != record.CodeUndecidable && code != record.CodeUnreachable {
				t.Errorf("%s, %s: %+v", expression, status, w.nodes["node-3"].Error)
			}
		}
	}
}

func TestAgentThatRestartsAtItsTurnIsWaitedFor(t *testing.T) {
	w := newWorld(t, 2, oneStep)
	w.known["node-1"] = unreachable(w.known["node-1"])
	w.apply(policy.Admit{})
	w.observe()
	if w.run.Waiting == nil || w.run.Waiting.For != record.WaitAgent || w.run.Waiting.Node != "node-1" || w.run.Waiting.Until == nil {
		t.Fatalf("waiting %+v", w.run.Waiting)
	}
	w.pass(8 * time.Second)
	w.crash()
	w.known["node-1"] = w.alive("node-1")
	w.observe()
	w.observe()
	w.work()
	w.ended(record.RunDone)
}

func unreachable(n record.Node) record.Node {
	n.Status, n.Role = record.StatusUnreachable, ""
	return n
}

func TestAFailedActionCarriesItsExitCodeAndItsLastLine(t *testing.T) {
	w := newWorld(t, 2, oneStep)
	w.apply(policy.Admit{})
	w.observe()
	code := 3
	order := w.orders["node-1"]
	delete(w.orders, "node-1")
	w.apply(policy.Ended{Node: "node-1", ActionID: order.Action.ID, State: record.ActionFailed, ExitCode: &code,
		StderrTail: "trying\ncould not connect to 10.0.0.1\n", Error: &record.Error{Code: record.CodeExit, Data: record.Document{"message": "it said exit"}}})
	want := record.Document{"step": "restart", "exit_code": int64(3), "last_stderr_line": "could not connect to 10.0.0.1", "message": "it said exit"}
	named, _ := w.run.Error.Data["named"].([]any)
	first, _ := named[0].(map[string]any)
	inRun, _ := first["error"].(map[string]any)
	for where, got := range map[string]any{"action": w.nodes["node-1"].Actions[0].Error.Data, "node": w.nodes["node-1"].Error.Data,
		"run": record.Document(inRun["data"].(map[string]any))} {
		if diff := cmp.Diff(any(want), got); diff != "" {
			t.Errorf("the error of the %s: %s", where, diff)
		}
	}
	for _, e := range w.events {
		if e.Type == record.EventActionFailed && cmp.Diff(map[string]any(want), e.Data["about"]) != "" {
			t.Errorf("%s: %v", e.Type, e.Data)
		}
	}
}

func TestARejectedActionIsNotTriedAgain(t *testing.T) {
	for _, code := range []string{record.CodeRejected, record.CodeTermRefused} {
		w := newWorld(t, 1, strings.Replace(oneStep, "timeout: 1m", "retry: {attempts: 3, backoff: 10s}", 1))
		w.apply(policy.Admit{})
		w.observe()
		w.end("node-1", record.ActionFailed, code)
		w.ended(record.RunFailed)
		if n := len(w.nodes["node-1"].Actions); n != 1 {
			t.Errorf("%s: %d attempts", code, n)
		}
	}
}

func TestARetrySaysWhichAttemptOfHowMany(t *testing.T) {
	w := newWorld(t, 1, strings.Replace(oneStep, "timeout: 1m", "retry: {attempts: 3, backoff: 10s}", 1))
	w.apply(policy.Admit{})
	w.observe()
	check := func(attempt, attempts int64) {
		t.Helper()
		e := w.events[len(w.events)-1]
		if e.Type == record.EventRunWaiting {
			e = w.events[len(w.events)-2]
		}
		wait := w.run.Waiting
		if wait == nil || wait.For != record.WaitRetry || wait.Node != "node-1" || wait.Until == nil {
			t.Fatalf("waiting %+v", wait)
		}
		for _, data := range []record.Document{e.Data, wait.Data} {
			if data["attempt"] != attempt || data["attempts"] != attempts {
				t.Errorf("%v, wanted attempt %d of %d", data, attempt, attempts)
			}
		}
	}
	w.end("node-1", record.ActionFailed, record.CodeNeverStarted) // does not count
	check(1, 4)
	w.pass(11 * time.Second)
	w.end("node-1", record.ActionFailed, record.CodeExit)
	check(2, 4)
}

func TestWhatWaitsForANodeSaysItsStatusAndTheReasonForIt(t *testing.T) {
	for _, c := range []struct {
		spec   string
		status record.Status
		code   string
	}{
		{oneStep, record.StatusUnreachable, record.CodeUnreachable},
		{strings.Replace(oneStep, "      steps", "      order_by: node.role\n      steps", 1), record.StatusUnavailable, record.CodeUndecidable},
		{strings.Replace(oneStep, "      steps", "      targets: node.role != \"x\"\n      steps", 1), record.StatusUnavailable, record.CodeUndecidable},
		{strings.Replace(oneStep, "timeout: 1m", "when: node.role != \"x\"", 1), record.StatusUnavailable, record.CodeFactsAbsent},
	} {
		w := newWorld(t, 1, c.spec)
		change(w.known, "node-1", func(n *record.Node) { n.Status, n.StatusReason = c.status, "no answer from redis" })
		w.members(true)
		w.apply(policy.Admit{})
		w.observe()
		w.observe() // at its step
		if data := w.run.Waiting; data == nil || data.Data["status"] != string(c.status) || data.Data["status_reason"] != "no answer from redis" {
			t.Errorf("%s: the run waits for %+v", c.spec, data)
		}
		w.pass(3 * time.Minute)
		w.observe()
		w.ended(record.RunFailed)
		if err := w.nodes["node-1"].Error; err.Code != c.code || err.Data["status"] != string(c.status) || err.Data["status_reason"] != "no answer from redis" {
			t.Errorf("%s: the node failed: %+v", c.spec, err)
		}
	}
}

func TestEachWaitHasAnEventWithItsEnd(t *testing.T) {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	const unknown = `  stages:
    - name: restart
      steps: [{name: restart, action: x/restart, timeout: 1m, on_unknown: ON}]
      health: {check: 'node.status == "HEALTHY"', timeout: 30s}
`
	for name, c := range map[string]struct {
		spec string
		do   func(w *world)
		want record.WaitReason
		ends time.Duration // after start; 0 for a wait that has no end
	}{
		"a silent agent": {oneStep, func(w *world) { w.first(policy.AgentSilent{Node: "node-1", Reason: "refused"}) }, record.WaitAgent, time.Minute},
		"a silent agent that is told to stop": {oneStep, func(w *world) {
			w.pass(time.Minute)
			w.first(policy.AgentSilent{Node: "node-1", Reason: "refused"})
		}, record.WaitAgent, 80 * time.Second},
		"a machine that may have died": {oneStep, func(w *world) {
			change(w.known, "node-1", func(n *record.Node) { n.Present = false })
			w.members(false, "node-1")
			w.first(policy.AgentSilent{Node: "node-1", Reason: "refused"})
		}, record.WaitAgent, 30 * time.Second},
		"an unknown end": {strings.Replace(unknown, "ON", "retry", 1), func(w *world) { w.unsettle("node-1") }, record.WaitUnsettled, time.Minute},
		"a silent agent with an unknown end": {strings.Replace(unknown, "ON", "retry", 1), func(w *world) {
			w.unsettle("node-1")
			w.first(policy.AgentSilent{Node: "node-1", Reason: "refused"})
		}, record.WaitAgent, time.Minute},
		"health that decides": {strings.Replace(unknown, "ON", "health", 1), func(w *world) { w.unsettle("node-1") }, record.WaitGate, 30 * time.Second},
		"an ended run":        {strings.Replace(unknown, "ON", "fail", 1), func(w *world) { w.unsettle("node-1") }, record.WaitUnsettled, 0},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 1, c.spec)
			w.apply(policy.Admit{})
			w.observe()
			c.do(w)
			wait := w.run.Waiting
			if wait == nil || wait.For != c.want {
				t.Fatalf("the run waits for %+v", wait)
			}
			if end := wait.Until; (end != nil) != (c.ends > 0) || end != nil && !end.Equal(start.Add(c.ends)) {
				t.Errorf("the wait ends at %v", end)
			}
			last := w.events[len(w.events)-1]
			if last.Type != record.EventRunWaiting || last.Data["for"] != string(c.want) || (last.Data["until"] == nil) != (c.ends == 0) {
				t.Errorf("the last event is %+v", last)
			}
		})
	}
}

// unsettle has the action of a node end without anybody knowing how, or whether.
func (w *world) unsettle(node string) {
	w.apply(policy.Ended{Node: node, ActionID: w.orders[node].Action.ID, State: record.ActionUnknown, Unsettled: true})
}

func TestAnAgentThatNothingWaitsForKeepsNothing(t *testing.T) {
	w := newWorld(t, 2, strings.Replace(oneStep, "      steps", "      max_failures: 1\n      health: none\n      steps", 1))
	w.apply(policy.Admit{})
	w.unsettle("node-1")
	w.first(policy.AgentSilent{Node: "node-1", Reason: "refused"})
	if w.run.Waiting != nil {
		t.Errorf("node-2 is %s, and the run waits for %+v", w.nodes["node-2"].State, w.run.Waiting)
	}
}

func TestARunThatPausesOrEndsSaysWhichActionsItWaitsFor(t *testing.T) {
	fails := strings.Replace(oneStep, "      steps", "      batch: 5\n      steps", 1)
	for name, c := range map[string]struct {
		then record.RunState
		tell func(w *world)
		left int64
	}{
		"pause":  {record.RunPaused, func(w *world) { w.apply(command(record.VerbPause)) }, 5},
		"cancel": {record.RunCancelled, func(w *world) { w.apply(command(record.VerbCancel)) }, 5},
		"fail":   {record.RunFailed, func(w *world) { w.end("node-5", record.ActionFailed, record.CodeExit) }, 4},
	} {
		w := newWorld(t, 5, fails)
		w.apply(policy.Admit{})
		w.observe()
		c.tell(w)
		check := func(left int64, nodes ...string) {
			t.Helper()
			wait := w.run.Waiting
			if wait == nil || wait.For != record.WaitAction || wait.Data["then"] != string(c.then) || wait.Data["nodes"] != left || wait.Until == nil {
				t.Fatalf("%s: waiting %+v", name, wait)
			}
			named, _ := wait.Data["named"].([]any)
			got := []string{}
			for _, item := range named {
				one, _ := item.(map[string]any)
				got = append(got, fmt.Sprint(one["node"]))
			}
			if diff := cmp.Diff(nodes, got); diff != "" {
				t.Errorf("%s: named: %s", name, diff)
			}
		}
		check(c.left, "node-1", "node-2", "node-3")
		w.end("node-4", record.ActionDone, "")
		check(c.left-1, "node-1", "node-2", "node-3")
		w.crash()
		w.end("node-1", record.ActionDone, "")
		waiting := 0
		for _, e := range w.events {
			if e.Type == record.EventRunWaiting && e.Data["for"] == string(record.WaitAction) {
				waiting++
			}
		}
		if waiting != 1 {
			t.Errorf("%s: %d events for one wait\n%s", name, waiting, w.story())
		}
		for len(w.orders) > 0 {
			w.end(slices.Sorted(maps.Keys(w.orders))[0], record.ActionDone, "")
		}
		if w.run.Waiting != nil && w.run.Waiting.For == record.WaitAction {
			t.Errorf("%s: it still waits: %+v", name, w.run.Waiting)
		}
	}
}

func TestTheLastCommandOfARunIsKeptWithItsReason(t *testing.T) {
	w := newWorld(t, 1, oneStep)
	w.apply(policy.Admit{})
	for _, verb := range []record.Verb{record.VerbPause, record.VerbResume, record.VerbCancel} {
		w.apply(policy.Command{Command: record.Command{Verb: verb, Reason: "why " + string(verb)}, Actor: "op"})
		if last := w.run.LastCommand; last == nil || last.Verb != verb || last.Actor != "op" || last.Reason != "why "+string(verb) || !last.TS.Equal(w.now) {
			t.Errorf("%s: %+v", verb, last)
		}
	}
}

// TestALeaderContinuesARunThatTheOneBeforeLeftAlone: what that one has recorded as its wait is over.
func TestALeaderContinuesARunThatTheOneBeforeLeftAlone(t *testing.T) {
	w := newWorld(t, 1, oneStep)
	w.apply(policy.Admit{})
	w.observe()
	w.run.Waiting = &record.Wait{For: record.WaitLeader, Since: w.now}
	w.crash()
	if w.run.Waiting != nil {
		t.Errorf("it waits for %+v", w.run.Waiting)
	}
}

// TestARunWithoutTheRecordOfItsUnsettledNodeIsFinished: somebody deleted the record, and nothing would ever settle it.
func TestARunWithoutTheRecordOfItsUnsettledNodeIsFinished(t *testing.T) {
	w := newWorld(t, 2, oneStep)
	w.apply(policy.Admit{})
	w.observe()
	w.pass(90 * time.Second)
	w.ended(record.RunFailed)
	if w.run.Unsettled != 1 || w.run.FinishTS != nil {
		t.Fatalf("%d unsettled, finished at %v", w.run.Unsettled, w.run.FinishTS)
	}
	delete(w.nodes, "node-1")
	w.run.Term++
	w.run.Rev++
	commit, _ := w.fresh(true).Resume(w.now)
	if commit.Run.Unsettled != 0 || commit.Run.FinishTS == nil || commit.Run.Waiting != nil {
		t.Errorf("%d unsettled, finished at %v, waiting %+v", commit.Run.Unsettled, commit.Run.FinishTS, commit.Run.Waiting)
	}
}

// TestWhatBecomesKnownOfAnUnknownActionIsRecorded: the error of its node says what its agent reports later, or an operator decides.
func TestWhatBecomesKnownOfAnUnknownActionIsRecorded(t *testing.T) {
	for name, c := range map[string]struct {
		then func(w *world)
		want any
	}{
		"lost":      {func(w *world) { w.end("node-1", record.ActionUnknown, record.CodeLost) }, record.CodeLost},
		"forgotten": {func(w *world) { w.apply(policy.Forgotten{Node: "node-1", Actor: "op"}) }, record.CauseNodeForgotten},
		"resolved": {func(w *world) {
			w.resolved = true
			w.apply(policy.Command{Command: record.Command{Verb: record.VerbResolve, Node: "node-1", State: record.NodeFailed, Reason: "it is down"}, Actor: "op"})
		}, record.CauseResolved},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 1, strings.Replace(oneStep, "      steps", "      health: none\n      steps", 1))
			w.apply(policy.Admit{})
			w.unsettle("node-1")
			c.then(w)
			later, _ := w.nodes["node-1"].Error.Data["later"].(map[string]any)
			err, _ := later["error"].(map[string]any)
			if err["code"] != c.want || w.run.Unsettled != 0 {
				t.Errorf("%d unsettled, %+v", w.run.Unsettled, w.nodes["node-1"].Error)
			}
		})
	}
}
