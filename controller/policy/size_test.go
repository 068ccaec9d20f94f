package policy_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/replicante-io/playbooks/controller/policy"
	"github.com/replicante-io/playbooks/record"
)

// ends reports the end of a node's action, with a payload.
func (w *world) ends(node string, state record.ActionState, payload record.Document) {
	w.t.Helper()
	in := policy.Ended{Node: node, ActionID: w.orders[node].Action.ID, State: state, Payload: payload, StdoutTail: "out", StderrTail: "err"}
	if state != record.ActionDone {
		in.Error = &record.Error{Code: record.CodeExit, Message: "exit status 3"}
	}
	delete(w.orders, node)
	w.apply(in)
}

func TestOfAnEarlierAttemptStateErrorAndTimesAreKept(t *testing.T) {
	w := newWorld(t, 1, `  stages:
    - name: s
      health: none
      steps:
        - {name: a, action: x/a, args: {text: long}, retry: {attempts: 3, backoff: 1s}}
        - {name: b, action: x/b, args: {n: "${results.s.a[node.id].payload.n}"}}
`)
	w.apply(policy.Admit{})
	w.observe()
	for n := range 2 {
		w.ends("node-1", record.ActionFailed, record.Document{"n": int64(n)})
		w.pass(time.Minute)
	}
	w.ends("node-1", record.ActionDone, record.Document{"n": int64(2)})
	actions := w.nodes["node-1"].Actions
	if len(actions) != 4 {
		t.Fatalf("actions: %+v", actions)
	}
	for _, a := range actions[:2] {
		if a.Args != nil || a.Payload != nil || a.StdoutTail != "" || a.StderrTail != "" || a.State != record.ActionFailed ||
			a.Error == nil || a.Error.Message != "exit status 3" || a.FinishTS == nil || a.StartTS.IsZero() {
			t.Errorf("an earlier attempt: %+v", a)
		}
	}
	if last := actions[2]; last.Args["text"] != "long" || last.Payload["n"] != int64(2) || last.StdoutTail != "out" {
		t.Errorf("the last attempt: %+v", last)
	}
	if args := actions[3].Args; args["n"] != int64(2) {
		t.Errorf("the next step sees %v", args)
	}
}

// TestARecordOfANodeIsBounded: with the payload that does not fit, the node fails and says so; other nodes continue.
func TestARecordOfANodeIsBounded(t *testing.T) {
	var steps strings.Builder
	for _, name := range []string{"a", "b", "c", "d", "e"} {
		steps.WriteString("        - {name: " + name + ", action: x/x, retry: {attempts: 3}}\n")
	}
	w := newWorld(t, 2, "  stages:\n    - name: s\n      batch: 2\n      max_failures: 1\n      health: none\n      steps:\n"+steps.String())
	w.apply(policy.Admit{})
	w.observe()
	for range 5 {
		w.ends("node-1", record.ActionDone, record.Document{"text": strings.Repeat("\x01", 36<<10)}) // six times as long in JSON
		w.ends("node-2", record.ActionDone, nil)
		if len(w.orders) == 0 {
			break
		}
	}
	w.ended(record.RunFailed)
	w.want("node-2", record.NodeDone)
	w.want("node-1", record.NodeFailed)
	node := w.nodes["node-1"]
	last := node.Actions[len(node.Actions)-1]
	if len(node.Actions) != 5 || last.Attempt != 1 || last.State != record.ActionFailed || last.Payload != nil || last.Error.Code != record.CodeRecordTooLarge ||
		node.Error.Code != record.CodeRecordTooLarge || node.Actions[0].Payload == nil {
		t.Errorf("%d actions, the last %+v, error %+v", len(node.Actions), last, node.Error)
	}
	if raw, err := json.Marshal(node); err != nil || len(raw) > record.MaxRecord {
		t.Errorf("the record takes %d bytes, %v", len(raw), err)
	}
}

func TestArgumentsThatCannotBeRecordedAreNotSent(t *testing.T) {
	for want, args := range map[string]string{
		record.CodeRecordTooLarge: `{a: "${params.text}", b: "${params.text}", c: "${params.text}"}`,
		record.CodeBadArgs:        `{a: {b: {c: "${params.deep}"}}}`,
	} {
		w := newWorld(t, 1, "  params: [{name: text, type: string}, {name: deep, type: map}]\n  stages:\n    - name: s\n      health: none\n"+
			"      steps:\n        - {name: a, action: x/x, args: "+args+"}\n")
		var deep any = "x"
		for range 62 {
			deep = map[string]any{"d": deep}
		}
		w.run.Params = record.Document{"text": strings.Repeat("x", 340<<10), "deep": deep}
		w.load(false)
		w.apply(policy.Admit{})
		w.observe()
		w.ended(record.RunFailed)
		if node := w.nodes["node-1"]; len(w.started) > 0 || node.Error == nil || node.Error.Code != want {
			t.Errorf("%s: %d actions were sent; error %+v", want, len(w.started), node.Error)
		}
	}
}

// TestANodeWhoseRecordTheStoreRefusesFails, while its run continues: what is in flight ends without its content, and nothing else
// starts on the node.
func TestANodeWhoseRecordTheStoreRefusesFails(t *testing.T) {
	const spec = `  stages:
    - name: s
      max_failures: 1
      health: none
      steps: [{name: a, action: x/a, retry: {attempts: 3}}, {name: b, action: x/b}]
`
	for name, state := range map[string]record.ActionState{"done": record.ActionDone, "failed": record.ActionFailed} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 2, spec)
			w.apply(policy.Admit{})
			w.observe()
			w.refused = policy.Refused{Nodes: map[string]string{"node-1": "too large", "nobody": "x"}}
			w.crash()
			w.ends("node-1", state, record.Document{"n": int64(1)})
			w.want("node-1", record.NodeFailed)
			actions := w.nodes["node-1"].Actions
			if len(actions) != 1 || actions[0].Payload != nil || actions[0].StdoutTail != "" {
				t.Errorf("actions: %+v", actions)
			}
			if want := map[string]string{"done": record.CodeNotStorable, "failed": record.CodeExit}[name]; actions[0].Error.Code != want {
				t.Errorf("error %+v, want %s", actions[0].Error, want)
			}
			w.work()
			w.ended(record.RunFailed)
			w.want("node-2", record.NodeDone)
		})
	}
	t.Run("before its action", func(t *testing.T) {
		w := newWorld(t, 2, strings.Replace(spec, "x/a,", `x/a, when: 'node.role == "PRIMARY"',`, 1))
		w.apply(policy.Admit{})
		w.refused = policy.Refused{Nodes: map[string]string{"node-1": "too large"}}
		w.crash()
		w.want("node-1", record.NodeFailed)
		if len(w.nodes["node-1"].Actions) > 0 || w.nodes["node-1"].Error.Code != record.CodeNotStorable {
			t.Errorf("%+v", w.nodes["node-1"])
		}
	})
}

func TestARunOfWhichTheStoreTakesNothingEndsWithThatReason(t *testing.T) {
	for name, begin := range map[string]bool{"queued": false, "running": true} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 2, oneStep)
			if begin {
				w.apply(policy.Admit{})
				w.observe()
			}
			w.refused = policy.Refused{Run: "malformed"}
			w.crash()
			if begin {
				w.ends("node-1", record.ActionDone, record.Document{"n": int64(1)})
			}
			w.ended(record.RunFailed)
			if w.run.Error.Code != record.CodeNotStorable || w.run.Error.Data["error"] != "malformed" {
				t.Errorf("error %+v", w.run.Error)
			}
			w.want("node-2", record.NodeNotReached)
		})
	}
}
