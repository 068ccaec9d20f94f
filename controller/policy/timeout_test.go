package policy_test

import (
	"testing"
	"time"

	"github.com/replicante-io/playbooks/controller/policy"
	"github.com/replicante-io/playbooks/record"
)

const timed = `  timeout: 30m
  stages:
    - {name: a, health: none, steps: [{name: one, action: x, timeout: 10h}]}
    - {name: b, health: none, approval: required, steps: [{name: one, action: x, timeout: 10h}]}
`

func TestARunThatTakesTooLongPauses(t *testing.T) {
	w := newWorld(t, 1, timed)
	w.pass(time.Hour) // in the queue
	w.apply(policy.Admit{})
	w.pass(20 * time.Minute)
	w.now = w.now.Add(5 * time.Hour) // nobody leads
	w.crash()
	w.end("node-1", record.ActionDone, "")
	w.pass(6 * time.Hour) // it waits for an approval
	w.apply(command(record.VerbApprove))
	w.pass(5 * time.Minute)
	w.ended(record.RunRunning)
	w.pass(6 * time.Minute)
	if w.ended(record.RunPausing); w.run.Error.Code != record.CodeRunTimeout {
		t.Errorf("error %+v", w.run.Error)
	}
	w.apply(command(record.VerbResume))
	w.pass(29 * time.Minute)
	w.ended(record.RunRunning)
	w.apply(command(record.VerbPause))
	w.end("node-1", record.ActionDone, "")
	w.ended(record.RunPaused)
	w.pass(5 * time.Hour)
	w.apply(command(record.VerbResume))
	w.ended(record.RunDone)
}

func TestATimeoutWaitsForWhatRunsTogether(t *testing.T) {
	w := newWorld(t, 1, `  timeout: 30m
  together: [[a, b]]
  stages:
    - {name: a, health: none, steps: [{name: one, action: x, timeout: 10h}]}
    - {name: b, health: none, steps: [{name: one, action: x, timeout: 10h}]}
    - {name: c, health: none, steps: [{name: one, action: x, timeout: 10h}]}
`)
	w.apply(policy.Admit{})
	w.pass(40 * time.Minute)
	if w.ended(record.RunPausing); w.run.Waiting.For != record.WaitTogether {
		t.Errorf("waiting %+v", w.run.Waiting)
	}
	w.end("node-1", record.ActionDone, "")
	w.pass(40 * time.Minute)
	w.ended(record.RunPausing)
	w.end("node-1", record.ActionDone, "")
	if w.ended(record.RunPaused); w.run.Error.Code != record.CodeRunTimeout {
		t.Errorf("error %+v", w.run.Error)
	}
}
