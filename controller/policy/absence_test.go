package policy_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/replicante-io/playbooks/controller/policy"
	"github.com/replicante-io/playbooks/record"
)

// absent lets time pass in which nobody leads, and then a new leader take over.
func (w *world) absent(d time.Duration) {
	w.now = w.now.Add(d)
	w.crash()
}

func TestTimeWithoutALeaderDoesNotFailAGate(t *testing.T) {
	for _, settle := range []string{"0s", "3s"} {
		w := newWorld(t, 1, strings.Replace(oneStep, "      steps", "      health: {check: 'node.status == \"HEALTHY\"', timeout: 10s, interval: 1s, settle: "+
			settle+"}\n      steps", 1))
		w.apply(policy.Admit{})
		sick := w.known["node-1"]
		sick.Status = record.StatusUnhealthy
		w.known["node-1"] = sick
		w.end("node-1", record.ActionDone, "")
		w.observe()
		w.known["node-1"] = w.alive("node-1")
		w.absent(30 * time.Second)
		w.observe()
		w.pass(4 * time.Second)
		w.observe()
		w.ended(record.RunDone)
	}
}

const gated = "      health: {check: 'node.status == \"HEALTHY\"', timeout: 10s, interval: 1s, settle: %s}\n      steps"

// report has a node report a status from now on.
func (w *world) report(node string, status record.Status) {
	fact := w.alive(node)
	fact.Status = status
	w.known[node] = fact
}

func TestANodeSettlesAgainUnderTheNextLeader(t *testing.T) {
	w := newWorld(t, 1, strings.Replace(oneStep, "      steps", fmt.Sprintf(gated, "3s"), 1))
	w.apply(policy.Admit{})
	w.end("node-1", record.ActionDone, "")
	w.observe()
	w.pass(2 * time.Second)
	w.observe() // healthy for two seconds
	w.absent(5 * time.Second)
	w.observe()
	w.pass(2 * time.Second)
	w.observe()
	w.want("node-1", record.NodeRunning)
	w.pass(2 * time.Second)
	w.observe()
	w.ended(record.RunDone)
}

func TestTheNextLeaderAsksOnceMoreBeforeAGateFails(t *testing.T) {
	w := newWorld(t, 1, strings.Replace(oneStep, "      steps", fmt.Sprintf(gated, "0s"), 1))
	w.apply(policy.Admit{})
	w.report("node-1", record.StatusUnhealthy)
	w.end("node-1", record.ActionDone, "")
	w.observe()
	w.pass(9 * time.Second)
	w.observe()
	w.absent(time.Second / 2)
	w.pass(5 * time.Second) // until its agent answers
	w.report("node-1", record.StatusHealthy)
	w.observe()
	w.ended(record.RunDone)
}

func TestTimeWithoutALeaderDoesNotMakeAKnownEndUnknown(t *testing.T) {
	w := newWorld(t, 1, strings.Replace(oneStep, "timeout: 1m", "timeout: 3s, retry: {attempts: 2, backoff: 1s}", 1))
	w.apply(policy.Admit{})
	w.observe()
	w.pass(4 * time.Second) // it is told to stop
	w.absent(40 * time.Second)
	w.want("node-1", record.NodeRunning)
	w.end("node-1", record.ActionFailed, record.CodeTimeout)
	w.pass(2 * time.Second)
	w.work()
	w.ended(record.RunDone)
	if n := len(w.nodes["node-1"].Actions); n != 2 {
		t.Errorf("%d attempts", n)
	}
}

func TestTheNextLeaderAsksForAnEndBeforeItStopsAnAction(t *testing.T) {
	w := newWorld(t, 1, strings.Replace(oneStep, "timeout: 1m", "timeout: 10s", 1))
	w.apply(policy.Admit{})
	w.observe()
	w.pass(9 * time.Second)
	w.absent(time.Second / 2)
	w.pass(5 * time.Second) // until its agent answers
	if w.orders["node-1"].Stop != "" {
		t.Error("it was stopped before its agent could say that it has ended")
	}
	w.end("node-1", record.ActionDone, "")
	w.work()
	w.ended(record.RunDone)
}

func TestClockOfTheNextLeaderDecidesNothing(t *testing.T) {
	w := newWorld(t, 1, strings.Replace(oneStep, "timeout: 1m", "timeout: 40s", 1))
	w.apply(policy.Admit{})
	w.observe()
	w.pass(10 * time.Second)
	w.absent(time.Minute) // nobody was away: its clock is ahead
	w.pass(20 * time.Second)
	if w.orders["node-1"].Stop != "" {
		t.Fatal("a step was stopped before its timeout")
	}
	started := w.nodes["node-1"].Actions[0].StartTS
	w.now = w.now.Add(-2 * time.Hour)
	w.absent(0) // its clock is behind
	w.end("node-1", record.ActionDone, "")
	if ended := w.nodes["node-1"].Actions[0].FinishTS; ended.Before(started) {
		t.Errorf("it ended at %s and started at %s", ended, started)
	}
	w.work()
	w.ended(record.RunDone)
	for i := range w.events[1:] {
		if w.events[i+1].TS.Before(w.events[i].TS) {
			t.Errorf("event %d is before the one before it: %s, %s", i+2, w.events[i+1].TS, w.events[i].TS)
		}
	}
}

func TestTimeWithoutALeaderDoesNotFailANodeWhoseFactsDecideTheTargets(t *testing.T) {
	w := newWorld(t, 2, strings.Replace(oneStep, "      steps", "      targets: 'node.role != \"PRIMARY\"'\n      health: none\n      steps", 1))
	w.apply(policy.Admit{})
	w.observe() // nobody reports a role
	w.absent(10 * time.Minute)
	w.observe()
	for name := range w.nodes {
		w.want(name, record.NodePending)
		n := w.known[name]
		n.Role = "SECONDARY"
		w.known[name] = n
	}
	w.pass(2 * time.Second)
	w.observe()
	w.work()
	w.ended(record.RunDone)
}
