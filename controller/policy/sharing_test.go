package policy_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/replicante-io/playbooks/controller/policy"
	"github.com/replicante-io/playbooks/controller/run"
	"github.com/replicante-io/playbooks/record"
)

// TestAnswerSharesNothingThatThePlanChanges (with -race): a Wait is never changed, only replaced (record.Wait); the answer to a command is
// written as JSON while the plan continues.
func TestAnswerSharesNothingThatThePlanChanges(t *testing.T) {
	w := newWorld(t, 1, strings.Replace(oneStep, "      steps", "      health: {check: 'false', timeout: 10m}\n      steps", 1))
	w.apply(policy.Admit{})
	w.end("node-1", record.ActionDone, "")
	w.observe()
	if w.run.Waiting == nil || w.run.Waiting.For != record.WaitGate {
		t.Fatalf("waiting %+v", w.run.Waiting)
	}
	answer := run.Snapshot(w.plan.Run())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 1000 {
			if _, err := json.Marshal(answer); err != nil {
				t.Error(err)
			}
		}
	}()
	for range 1000 {
		w.plan.Apply(w.now.Add(time.Second), []policy.Input{policy.Tick{}})
	}
	<-done
}

// TestANodeThatWasLockedIsAskedForAgain: what a run knew of another one's locks is over once it is no longer told of them: when it was
// paused, and when it has locked other nodes.
func TestANodeThatWasLockedIsAskedForAgain(t *testing.T) {
	w := newWorld(t, 1, oneStep)
	w.others["node-1"] = policy.Holder{RunID: "run-0"}
	w.apply(policy.Admit{})
	w.observe()
	w.apply(command(record.VerbPause))
	delete(w.others, "node-1") // which nobody tells it
	w.apply(command(record.VerbResume))
	w.observe()
	w.want("node-1", record.NodeRunning)

	w = newWorld(t, 2, "  stages: [{name: s, health: none, order_by: 'node.role', steps: [{name: a, action: x/a}]}]\n")
	w.others["node-1"] = policy.Holder{RunID: "run-0"}
	for _, name := range []string{"node-1", "node-2"} {
		n := w.known[name]
		n.Role = name
		w.known[name] = n
	}
	w.apply(policy.Admit{})
	w.observe() // the turn of node-1, which is locked
	n := w.known["node-1"]
	n.Role = "node-3" // now node-2 comes first
	w.known["node-1"] = n
	w.members(true)
	w.observe()
	w.want("node-2", record.NodeRunning)
	delete(w.others, "node-1")
	w.end("node-2", record.ActionDone, "")
	w.observe()
	w.want("node-1", record.NodeRunning)
}
