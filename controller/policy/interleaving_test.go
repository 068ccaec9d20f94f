package policy_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/replicante-io/playbooks/controller/policy"
	"github.com/replicante-io/playbooks/record"
)

// The tests of this file show faults: each fails on the code that it was written against.

// TestNodeHeldByAnEndedRunIsGivenUpWithoutFacts: the patience with an unsettled action of an ended run (2m) must end
// also where the stage asks for no facts. Before the rewrite a timer of the node ended it.
func TestNodeHeldByAnEndedRunIsGivenUpWithoutFacts(t *testing.T) {
	for _, health := range []string{"none", `{check: 'true'}`, "{}"} {
		w := newWorld(t, 2, strings.Replace(oneStep, "      steps", "      max_failures: 1\n      health: "+health+"\n      steps", 1))
		w.others["node-1"] = policy.Holder{RunID: "run-0", Unsettled: true}
		w.apply(policy.Admit{})
		for range 200 {
			w.observe()
			w.pass(2 * time.Second)
		}
		if w.nodes["node-1"].State != record.NodeFailed {
			t.Errorf("health %s: after 400 s node-1 is %s; waiting %+v; wake at %v; node-2 is %s",
				health, w.nodes["node-1"].State, w.run.Waiting, w.wake, w.nodes["node-2"].State)
		}
	}
}

// first applies inputs and takes only the first commit, as a runner does before it reads its mailbox again, with the answers to
// lock requests.
func (w *world) first(inputs ...policy.Input) {
	commit, effects, _ := w.plan.Apply(w.now, inputs)
	for {
		answers := w.take(commit, effects)
		if len(answers) == 0 {
			return
		}
		commit, effects, _ = w.plan.Apply(w.now, answers)
	}
}

// TestNodesThatDidNotEnterTheirBatchAreUnlockedAtTheEnd: a batch of more than 1,024 nodes is entered in waves; a run that
// ends between two of them must give all nodes back.
func TestNodesThatDidNotEnterTheirBatchAreUnlockedAtTheEnd(t *testing.T) {
	for _, how := range []string{"cancel", "fail"} {
		w := newWorld(t, 1500, strings.Replace(oneStep, "      steps", "      batch: \"100%\"\n      health: none\n      steps", 1))
		w.first(policy.Admit{})
		if len(w.orders) != 1024 || !w.more {
			t.Fatalf("%d started, more %t", len(w.orders), w.more)
		}
		if how == "cancel" {
			w.first(command(record.VerbCancel))
		} else {
			p := w.orders["node-1"]
			delete(w.orders, "node-1")
			w.first(policy.Ended{Node: "node-1", ActionID: p.Action.ID, State: record.ActionFailed, Error: &record.Error{Code: record.CodeExit}})
		}
		states := map[string]record.ActionState{}
		for node := range w.orders {
			states[node] = record.ActionDone
		}
		var inputs []policy.Input
		for node, p := range w.orders {
			inputs = append(inputs, policy.Ended{Node: node, ActionID: p.Action.ID, State: record.ActionDone})
			delete(w.orders, node)
		}
		w.first(inputs...)
		if !w.run.State.Final() {
			t.Fatalf("%s: the run is %s", how, w.run.State)
		}
		if len(w.locked) > 0 {
			t.Errorf("%s: the run has ended %s and %d nodes are still locked for it", how, w.run.State, len(w.locked))
		}
	}
}

// TestWaitSaysThatOnlyAnUnsettledActionHoldsTheNode: the run waits for another run's work on a node; that run ends and leaves an
// unsettled action. From then on the wait is for that, with its end.
func TestWaitSaysThatOnlyAnUnsettledActionHoldsTheNode(t *testing.T) {
	w := newWorld(t, 1, oneStep)
	w.others["node-1"] = policy.Holder{RunID: "run-0"}
	w.apply(policy.Admit{})
	w.observe()
	if w.run.Waiting == nil || w.run.Waiting.For != record.WaitNode {
		t.Fatalf("waiting %+v", w.run.Waiting)
	}
	w.others["node-1"] = policy.Holder{RunID: "run-0", Unsettled: true}
	w.apply(policy.Unlocked{Nodes: []string{"node-1"}})
	w.observe()
	w.pass(10 * time.Second)
	w.observe()
	if w.run.Waiting == nil || w.run.Waiting.For != record.WaitUnsettled || w.run.Waiting.Until == nil {
		t.Errorf("10 s after run-0 has ended the run waits for %+v", w.run.Waiting)
	}
}

// TestAbsentResultIsNotAskedForInABusyLoop: an order_by that needs no facts and cannot be decided is tried again every two
// seconds, not as fast as agents answer.
func TestAbsentResultIsNotAskedForInABusyLoop(t *testing.T) {
	w := newWorld(t, 3, `  stages:
    - name: s
      order_by: 'results.s.a[node.id].payload.rank'
      health: none
      steps: [{name: a, action: x/a}]
`)
	w.apply(policy.Admit{})
	ids := map[int64]bool{}
	for range 50 { // no time passes
		for _, request := range w.requests() {
			if !ids[request.ID] {
				ids[request.ID] = true // a new request is carried out at once
				w.apply(w.answer(request))
			}
		}
	}
	if len(ids) > 2 {
		t.Errorf("%d requests were made at one moment; waiting %+v", len(ids), w.run.Waiting)
	}
}

const twoStages = `  membership: {added: include, removed: ignore, grace: 20s}
  stages:
    - name: first
      health: none
      steps: [{name: a, action: x/a}]
    - name: second
      health: none
      steps: [{name: b, action: x/b}]
`

// TestNodeThatReturnsDoesNotRepeatWhatItHasDone: a node that was removed between two stages and returns continues at its old
// place (CONTRACT, States). Before the rewrite it was not a target of a stage of which it had an entry.
func TestNodeThatReturnsDoesNotRepeatWhatItHasDone(t *testing.T) {
	w := newWorld(t, 2, twoStages)
	w.apply(policy.Admit{})
	w.end("node-1", record.ActionDone, "")
	w.want("node-1", record.NodeWaiting)
	away := w.known["node-1"]
	away.Present, away.Status = false, record.StatusUnreachable
	w.known["node-1"] = away
	w.members(false, "node-1")
	w.pass(25 * time.Second)
	w.observe()
	w.want("node-1", record.NodeRemoved)
	w.known["node-1"] = w.alive("node-1")
	w.members(true)
	w.work()
	ran := map[string]int{}
	for _, a := range w.nodes["node-1"].Actions {
		ran[a.Stage+"/"+a.Step]++
	}
	if ran["first/a"] != 1 || ran["second/b"] != 1 {
		t.Errorf("node-1 ran %v; entries %+v", ran, w.nodes["node-1"].Stages)
	}
}

// TestRunRecordIsBoundedUnderNewcomers: every pass of newcomers adds a record of each stage to the run, which every commit writes.
func TestRunRecordIsBoundedUnderNewcomers(t *testing.T) {
	w := newWorld(t, 1, twoStages)
	w.apply(policy.Admit{})
	size := func() int { data, _ := json.Marshal(w.run); return len(data) }
	before, sizes := size(), []int{}
	for i := range 200 {
		name := fmt.Sprintf("new-%03d", i)
		w.known[name] = w.alive(name)
		w.members(true)
		for w.nodes[name].State != record.NodeRunning && !w.run.State.Final() {
			names := make([]string, 0, 1)
			for node := range w.orders {
				names = append(names, node)
			}
			slices.Sort(names)
			w.end(names[0], record.ActionDone, "")
		}
		if i%50 == 49 {
			sizes = append(sizes, size())
		}
	}
	if after := size(); after > 4*before {
		t.Errorf("the run's record has grown from %d to %v bytes with 200 newcomers, %d stage records", before, sizes, len(w.run.Stages))
	}
}

// TestResolvedNodeIsNotWaitedFor: an agent is silent, its action becomes UNKNOWN, an operator writes it off. Nothing is done about it
// any longer, so the run does not wait for that agent.
func TestResolvedNodeIsNotWaitedFor(t *testing.T) {
	w := newWorld(t, 3, strings.Replace(oneStep, "      steps", "      max_failures: 1\n      health: none\n      steps", 1))
	w.apply(policy.Admit{})
	w.first(policy.AgentSilent{Node: "node-1", Reason: "connection refused"})
	w.now = w.now.Add(time.Minute)
	w.first(policy.Tick{}) // it is to be stopped
	w.now = w.now.Add(20 * time.Second)
	w.first(policy.Tick{}) // the patience with that is over
	w.want("node-1", record.NodeUnknown)
	if w.run.Waiting != nil && w.run.Waiting.For == record.WaitAgent {
		t.Errorf("node-1 is UNKNOWN, node-2 is %s, and the run waits for %+v", w.nodes["node-2"].State, w.run.Waiting)
	}
	w.resolved = true
	w.first(policy.Command{Command: record.Command{Verb: record.VerbResolve, Node: "node-1", State: record.NodeFailed}})
	if _, ordered := w.orders["node-1"]; ordered {
		t.Fatal("something is done about node-1")
	}
	p := w.orders["node-2"]
	w.first(policy.Ended{Node: "node-2", ActionID: p.Action.ID, State: record.ActionDone})
	if w.run.Waiting != nil && w.run.Waiting.For == record.WaitAgent {
		t.Errorf("node-1 is resolved, node-3 is %s, and the run waits for %+v", w.nodes["node-3"].State, w.run.Waiting)
	}
}

// TestNothingIsDoneAboutAnActionThatHasEnded: its agent moved and its end was reported, both read by one Apply.
func TestNothingIsDoneAboutAnActionThatHasEnded(t *testing.T) {
	w := newWorld(t, 1, strings.Replace(oneStep, "      steps", "      health: none\n      steps", 1))
	w.apply(policy.Admit{})
	p := w.orders["node-1"]
	moved := w.known["node-1"]
	moved.AgentURL = "http://elsewhere"
	_, effects, _ := w.plan.Apply(w.now, []policy.Input{
		policy.Members{Present: []record.Node{moved}},
		policy.Ended{Node: "node-1", ActionID: p.Action.ID, State: record.ActionDone},
	})
	if len(effects.StartActions) > 0 {
		t.Errorf("to be followed: %s of %s, which is DONE (run %s)", effects.StartActions[0].Action.ID, effects.StartActions[0].URL, w.plan.Run().State)
	}
}

// TestMembershipPoliciesBeginWhenTheRunIsAdmitted (CONTRACT, States).
func TestMembershipPoliciesBeginWhenTheRunIsAdmitted(t *testing.T) {
	w := newWorld(t, 1, "  membership: {added: fail}\n"+oneStep)
	w.apply(policy.Queue{Behind: "run-0"})
	w.known["node-2"] = w.alive("node-2")
	w.members(true)
	w.apply(policy.Admit{})
	w.work()
	w.ended(record.RunDone)
}

// TestPatienceForFactsStartsAgainAfterADecision: an order that could not be decided once, was decided, and cannot be decided again
// much later has its full patience again.
func TestPatienceForFactsStartsAgainAfterADecision(t *testing.T) {
	w := newWorld(t, 1, strings.Replace(oneStep, "      steps", "      order_by: 'node.role'\n      health: none\n      steps", 1))
	w.others["node-1"] = policy.Holder{RunID: "run-0", Unsettled: true}
	w.apply(policy.Admit{})
	w.observe() // no role
	if w.run.Waiting == nil || w.run.Waiting.For != record.WaitFacts {
		t.Fatalf("waiting %+v", w.run.Waiting)
	}
	w.pass(100 * time.Second)
	n := w.known["node-1"]
	n.Role = "PRIMARY"
	w.known["node-1"] = n
	w.observe() // decided; but an ended run has the node
	if w.run.Waiting != nil && w.run.Waiting.For == record.WaitFacts {
		t.Errorf("the order is decided and the run waits for %+v", w.run.Waiting)
	}
	w.pass(60 * time.Second)
	n.Role = ""
	w.known["node-1"] = n
	w.observe()
	if w.run.Error != nil {
		t.Errorf("one answer without the fact fails the stage: %+v", w.run.Error)
	}
}

// TestPausedRunHoldsOnlyTheNodesOfItsRecords: a run that is paused between two waves keeps nodes locked that it has not touched;
// a new leader would not (effects follow from records alone).
func TestPausedRunHoldsOnlyTheNodesOfItsRecords(t *testing.T) {
	w := newWorld(t, 1500, strings.Replace(oneStep, "      steps", "      batch: \"100%\"\n      health: none\n      steps", 1))
	w.first(policy.Admit{})
	w.first(command(record.VerbPause))
	var inputs []policy.Input
	for node, p := range w.orders {
		inputs = append(inputs, policy.Ended{Node: node, ActionID: p.Action.ID, State: record.ActionDone})
		delete(w.orders, node)
	}
	w.first(inputs...)
	if w.run.State != record.RunPaused {
		t.Fatalf("the run is %s", w.run.State)
	}
	if len(w.locked) > 0 {
		t.Errorf("the run is PAUSED, no node is in a batch (%v), and %d nodes are locked for it", w.run.Counts, len(w.locked))
	}
}

// TestWaitNamesANodeOfTheBatch: the node that the run is said to wait for has gone; the batch that it cannot lock is another one.
func TestWaitNamesANodeOfTheBatch(t *testing.T) {
	w := newWorld(t, 2, strings.Replace(oneStep, "      steps", "      batch: 2\n      health: none\n      steps", 1))
	w.others["node-2"] = policy.Holder{RunID: "run-0"}
	w.apply(policy.Admit{})
	w.others["node-1"] = policy.Holder{RunID: "run-9"}
	w.first(policy.Unlocked{Nodes: []string{"node-1"}})
	w.first(policy.Unlocked{Nodes: []string{"node-2"}}) // asked again: both are held
	gone := w.known["node-2"]
	gone.Present = false
	w.known["node-2"] = gone
	w.first(policy.Members{Gone: []string{"node-2"}})
	if w.run.Waiting == nil || w.run.Waiting.Node != "node-1" || w.run.Waiting.Data["run"] != "run-9" {
		t.Errorf("the next batch is node-1, which run-9 has; the run waits for %+v", w.run.Waiting)
	}
}

// TestWaitForAnUnsettledActionIsOverAfterATakeover: it ended while another leader took over, and a batch of other nodes is open.
func TestWaitForAnUnsettledActionIsOverAfterATakeover(t *testing.T) {
	w := newWorld(t, 2, strings.Replace(oneStep, "      steps", "      batch: 2\n      health: none\n      steps", 1))
	w.others["node-1"] = policy.Holder{RunID: "run-0", Unsettled: true}
	w.apply(policy.Admit{})
	if len(w.orders) != 1 {
		t.Fatalf("orders %v", w.orders)
	}
	delete(w.others, "node-1") // while nobody leads
	w.crash()
	w.pass(30 * time.Second)
	if w.run.Waiting != nil && w.run.Waiting.For == record.WaitUnsettled {
		t.Errorf("node-1 is free, node-2 is at work, and the run waits for %+v", w.run.Waiting)
	}
}

// TestMemberOfACancelledBatchIsNotSaidToHaveWaitedForItsTurn: the reason of a node in its stage is true.
func TestMemberOfACancelledBatchIsNotSaidToHaveWaitedForItsTurn(t *testing.T) {
	w := newWorld(t, 1, oneStep)
	w.apply(policy.Admit{})
	w.observe()
	w.apply(command(record.VerbPause))
	w.end("node-1", record.ActionDone, "")
	w.apply(command(record.VerbCancel))
	w.ended(record.RunCancelled)
	n := w.nodes["node-1"]
	// api/error_text.go: "the run was cancelled before its turn came"
	if cause := n.Stages[0].Cause; len(n.Actions) > 0 && cause != nil && cause.Code == record.CauseRunCancelled {
		t.Errorf("node-1 passed all steps of its batch; its entry is %s because of %s", n.Stages[0].State, cause.Code)
	}
}

// TestTimeWithoutALeaderCountsAgainstNothing (CONTRACT, States: "it is asked at least once more, with its full settle time, before it
// fails").
func TestTimeWithoutALeaderCountsAgainstNothing(t *testing.T) {
	t.Run("stop", func(t *testing.T) {
		w := newWorld(t, 1, oneStep)
		w.apply(policy.Admit{})
		w.observe()
		w.pass(61 * time.Second) // it is being stopped
		w.now = w.now.Add(time.Minute)
		w.crash()
		if w.nodes["node-1"].State != record.NodeRunning {
			t.Errorf("a new leader has not asked the agent yet, and node-1 is %s", w.nodes["node-1"].State)
		}
	})
	t.Run("gate", func(t *testing.T) {
		w := newWorld(t, 1, strings.Replace(oneStep, "      steps",
			"      health: {check: 'node.status == \"HEALTHY\"', timeout: 20s, settle: 5s}\n      steps", 1))
		w.apply(policy.Admit{})
		w.end("node-1", record.ActionDone, "")
		n := w.known["node-1"]
		n.Status = record.StatusUnhealthy
		w.known["node-1"] = n
		w.observe()
		w.now = w.now.Add(time.Minute)
		n.Status = record.StatusHealthy // long ago
		w.known["node-1"] = n
		w.crash()
		for range 10 {
			w.observe()
			w.pass(time.Second)
		}
		w.want("node-1", record.NodeDone)
	})
	t.Run("settling", func(t *testing.T) {
		w := newWorld(t, 1, strings.Replace(oneStep, "timeout: 1m", "timeout: 1m, on_unknown: retry", 1))
		w.apply(policy.Admit{})
		w.observe()
		w.pass(81 * time.Second) // stopped without an answer
		w.now = w.now.Add(2 * time.Minute)
		w.crash()
		if w.nodes["node-1"].State != record.NodeRunning {
			t.Errorf("a new leader has not asked the agent yet, and node-1 is %s", w.nodes["node-1"].State)
		}
	})
}

// TestAgentsAreNotAskedWhileARunWaitsForALock: the answers cannot decide anything before the lock is given back, which is reported. They
// are asked every two seconds, all nodes of the batch, for as long as the other run is (it may be paused).
func TestAgentsAreNotAskedWhileARunWaitsForALock(t *testing.T) {
	w := newWorld(t, 100, strings.Replace(oneStep, "      steps", "      batch: \"100%\"\n      steps", 1))
	w.others["node-1"] = policy.Holder{RunID: "run-0"}
	w.apply(policy.Admit{})
	answers := 0
	for range 300 {
		for _, request := range w.requests() {
			answers += len(request.Nodes)
		}
		w.observe()
		w.pass(2 * time.Second)
	}
	if answers > 1000 {
		t.Errorf("agents were asked %d times in 10 minutes; waiting %+v", answers, w.run.Waiting)
	}
}
