package policy_test

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/replicante-io/playbooks/controller/policy"
	"github.com/replicante-io/playbooks/record"
)

// checkTogether checks that nothing stopped between stages that run together but a failure, or an operator who wanted it at once.
func (w *world) checkTogether(e record.Event) {
	w.t.Helper()
	stopped := e.Type == record.EventRunPaused || e.Type == record.EventRunFinished && e.Data["state"] == string(record.RunCancelled)
	if !stopped || w.killed || w.run.Error != nil && w.run.Error.Code == record.CodeMaxFailures ||
		w.run.Counts[record.NodeFailed]+w.run.Counts[record.NodeUnknown] > 0 {
		return
	}
	for _, group := range w.spec.Together {
		inside := false
		for _, before := range w.events {
			switch {
			case before.Type == record.EventRunRetried && before.Data["pass"] != nil: // it had ended, and waits for its turn again
				inside = false
			case before.Type == record.EventStageStarted && slices.Contains(group, before.Stage):
				inside = true
			case before.Type == record.EventStageFinished && before.Stage == group[len(group)-1] && before.Data["state"] != string(record.StageCancelled):
				inside = false
			}
		}
		if inside {
			w.t.Fatalf("%s between %v\n%s", e.Type, group, w.story())
		}
	}
}

const switchover = `  together: [[stop, promote]]
  stages:
    - {name: check, health: none, steps: [{name: check, action: x}]}
    - {name: stop, health: none, targets: 'node.id == "node-1"', steps: [{name: stop, action: x}]}
    - {name: promote, health: none, on_failure: ON_FAILURE, targets: 'node.id == "node-2"', steps: [{name: promote, action: x}]}
    - {name: after, health: none, steps: [{name: after, action: x}]}
`

func inPromote(t *testing.T, onFailure string) *world {
	w := newWorld(t, 2, strings.Replace(switchover, "ON_FAILURE", onFailure, 1))
	w.apply(policy.Admit{})
	for range 2 {
		w.end(slices.Sorted(maps.Keys(w.orders))[0], record.ActionDone, "")
	}
	w.end("node-1", record.ActionDone, "")
	return w
}

func TestAFailureInsideTogetherIsAsAnywhereElse(t *testing.T) {
	for onFailure, want := range map[string]record.RunState{"abort": record.RunFailed, "pause": record.RunPaused} {
		w := inPromote(t, onFailure)
		w.apply(command(record.VerbPause))
		w.ended(record.RunPausing)
		w.end("node-2", record.ActionFailed, record.CodeExit)
		w.ended(want)
	}
	w := inPromote(t, "pause")
	w.apply(command(record.VerbCancel))
	w.end("node-2", record.ActionFailed, record.CodeExit)
	w.ended(record.RunCancelled)
	w = inPromote(t, "abort")
	w.apply(command(record.VerbCancel))
	w.end("node-2", record.ActionFailed, record.CodeExit)
	w.ended(record.RunFailed)
}

func TestACancelWithKillAndAResumeDoNotWaitForWhatRunsTogether(t *testing.T) {
	w := inPromote(t, "abort")
	w.apply(command(record.VerbPause))
	w.apply(command(record.VerbResume))
	w.ended(record.RunRunning)
	w.apply(command(record.VerbCancel))
	w.apply(command(record.VerbCancel))
	if w.rejected == nil || w.rejected.Code != record.CodeWrongState {
		t.Errorf("a second cancel: %v", w.rejected)
	}
	kill := command(record.VerbCancel)
	kill.Kill = true
	w.apply(kill)
	w.end("node-2", record.ActionFailed, record.CodeCancelled)
	w.ended(record.RunCancelled)
}

func TestAPausePolicyWaitsForWhatRunsTogether(t *testing.T) {
	w := newWorld(t, 2, "  membership: {added: pause}\n"+strings.Replace(switchover, "ON_FAILURE", "abort", 1))
	w.apply(policy.Admit{})
	for range 2 {
		w.end(slices.Sorted(maps.Keys(w.orders))[0], record.ActionDone, "")
	}
	w.known["node-3"] = w.alive("node-3")
	w.members(true)
	if w.ended(record.RunPausing); w.run.Waiting.For != record.WaitTogether || !w.run.AfterTogether {
		t.Errorf("waiting %+v", w.run.Waiting)
	}
	w.end("node-1", record.ActionDone, "")
	w.end("node-2", record.ActionDone, "")
	if w.ended(record.RunPaused); w.run.Error.Code != record.CodeNodeAdded {
		t.Errorf("error %+v", w.run.Error)
	}
}
