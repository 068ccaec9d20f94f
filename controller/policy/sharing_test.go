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
