package policy_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/replicante-io/playbooks/controller/policy"
	"github.com/replicante-io/playbooks/record"
)

// TestACommitIsBoundedInBytesWhateverTheArguments: 100 nodes with large arguments begin, end, pass the gate and finish by many commits.
func TestACommitIsBoundedInBytesWhateverTheArguments(t *testing.T) {
	const bound = 80_000
	for _, end := range []string{"done", "cancelled"} {
		w := newWorld(t, 100, `  params: [{name: text, type: string}]
  stages:
    - name: s
      batch: "100%"
      health: {check: 'node.status == "HEALTHY"', timeout: 30s}
      steps: [{name: a, action: x/a, args: {text: "${params.text}"}}]
    - name: t
      batch: 1
      health: none
      steps: [{name: a, action: x/a}]
`).withCommits(bound)
		w.run.Params = record.Document{"text": strings.Repeat("x", 9000)}
		w.load(false)
		largest := 0
		var apply func(inputs ...policy.Input)
		land := func(commit record.Commit, effects policy.Effects) (answers []policy.Input, more bool) {
			raw, err := json.Marshal(commit.Nodes)
			if err != nil {
				t.Fatal(err)
			}
			largest = max(largest, len(raw))
			answers = w.take(commit, effects)
			return answers, w.more
		}
		apply = func(inputs ...policy.Input) {
			for len(inputs) > 0 {
				commit, effects, _ := w.plan.Apply(w.now, inputs)
				answers, more := land(commit, effects)
				if inputs = answers; more {
					inputs = append(inputs, policy.Tick{})
				}
			}
		}
		ends := func() {
			var inputs []policy.Input
			weight := 0
			for node, p := range w.orders {
				in := policy.Ended{Node: node, ActionID: p.Action.ID, State: record.ActionDone, Payload: record.Document{"text": strings.Repeat("y", 1000)}}
				delete(w.orders, node)
				inputs = append(inputs, in)
				if weight += w.plan.Weight(in); weight > bound {
					apply(inputs...)
					inputs, weight = nil, 0
				}
			}
			apply(inputs...)
		}
		apply(policy.Admit{})
		if len(w.orders) != 100 {
			t.Fatalf("%d actions were started", len(w.orders))
		}
		ends()
		for key, request := range w.asked {
			if key.Purpose == policy.ForGate {
				apply(w.answer(request))
			}
		}
		if end == "done" {
			for !w.run.State.Final() && len(w.orders) > 0 {
				ends()
			}
		} else {
			apply(command(record.VerbCancel))
			ends()
		}
		if !w.run.State.Final() || end == "done" && w.run.State != record.RunDone {
			t.Fatalf("the run is %s, waiting %+v", w.run.State, w.run.Waiting)
		}
		if most := bound + 15_000; largest > most {
			t.Errorf("%s: a commit of %d bytes, want at most %d", end, largest, most)
		}
	}
}
