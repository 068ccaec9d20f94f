package controller_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"github.com/replicante-io/playbooks/record"
)

// stages of a playbook that needs actions x/a, on some nodes x/b, and, if it is guarded, x/c.
const needsActions = `  stages:
    - name: one
      health: none
      steps: [{name: a, action: x/a}, {name: c, action: x/c, when: 'false'}]
    - name: two
      targets: 'node.id == "node-1"'
      health: none
      steps: [{name: b, action: x/b}]
`

func TestAnActionThatNodesDoNotKnowIsRefusedBeforeTheRun(t *testing.T) {
	all := []string{"x/a", "x/b", "x/c"}
	ab, bc, ac := []string{"x/a", "x/b"}, []string{"x/b", "x/c"}, []string{"x/a", "x/c"}
	for name, c := range map[string]struct {
		keys, answers [3][]string // what keys say, and what agents answer, where that differs
		want          string      // the actions that are refused, with the nodes
		asked         int
	}{
		"every node knows every action":                   {keys: [3][]string{all, all, all}},
		"an action that no node gets to for sure":         {keys: [3][]string{all, ac, ab}},
		"one node lacks what every node gets":             {keys: [3][]string{all, bc, all}, want: "x/a of step a: 1 of 3: node-2", asked: 1},
		"all lack what some nodes get":                    {keys: [3][]string{ac, ac, ac}, want: "x/b of step b: 3 of 3: node-1 node-2 node-3", asked: 3},
		"all lack what a when guards":                     {keys: [3][]string{ab, ab, ab}, want: "x/c of step c: 3 of 3: node-1 node-2 node-3", asked: 3},
		"all lack the first":                              {keys: [3][]string{{"x/b"}, bc, {"x/b"}}, want: "x/a of step a: 3 of 3: node-1 node-2 node-3", asked: 3},
		"agents of others":                                {asked: 3},
		"an agent of others may know what our nodes lack": {keys: [3][]string{ac, ac, nil}, asked: 3},
		"our node beside those of others":                 {keys: [3][]string{{"x/b"}, nil, nil}, want: "x/a of step a: 1 of 3: node-1", asked: 3},
		"an agent that was restarted with more since":     {keys: [3][]string{bc, all, all}, answers: [3][]string{all, nil, nil}, asked: 1},
		"agents whose keys do not say what they answer":   {answers: [3][]string{all, all, ab}, asked: 3},
		"agents whose keys do not say what they lack":     {answers: [3][]string{all, all, bc}, want: "x/a of step a: 1 of 3: node-3", asked: 3},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newInstallation(t, 3, needsActions)
				h.keys = map[string][]string{}
				for i, node := range h.nodes {
					h.keys[node] = c.keys[i]
					h.fleet.kinds["http://"+node] = c.keys[i]
					if c.answers[i] != nil {
						h.fleet.kinds["http://"+node] = c.answers[i]
					}
				}
				h.lead()
				defer h.kill()
				run, err := h.current.Start(t.Context(), record.Request{}, record.RunRequest{Playbook: "test", Cluster: "c"})
				if got := refusedActions(t, err); got != c.want {
					t.Errorf("refused: %q, wanted %q", got, c.want)
				}
				if h.fleet.kindsAsked != c.asked {
					t.Errorf("%d agents were asked, wanted %d", h.fleet.kindsAsked, c.asked)
				}
				if err == nil {
					h.await(run.ID, record.RunDone)
				}
			})
		})
	}
}

// refusedActions are the actions that err refuses, and the nodes that it names.
func refusedActions(t *testing.T, err error) string {
	t.Helper()
	if err == nil {
		return ""
	}
	var rejected *record.RejectedError
	if !errors.As(err, &rejected) || rejected.Code != record.CodeUnknownAction {
		t.Fatal(err)
	}
	lines := []string{}
	unknown, _ := rejected.Data["unknown"].([]any)
	for _, item := range unknown {
		one, _ := item.(map[string]any)
		named, _ := one["nodes"].([]any)
		lines = append(lines, fmt.Sprintf("%s of step %s: %d of %d: %s", one["action"], one["step"], one["count"], one["of"],
			strings.Trim(fmt.Sprint(named), "[]")))
	}
	return strings.Join(lines, "; ")
}

func TestAgentsThatDoNotAnswerDelayAStartOnlyForAMoment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newInstallation(t, 3, needsActions)
		for _, node := range h.nodes {
			h.fleet.hangs["http://"+node] = true
		}
		h.lead()
		defer h.kill()
		before := record.Now()
		run := h.start(record.Request{}, record.RunRequest{})
		if took := record.Now().Sub(before); took.Seconds() > 2 {
			t.Errorf("the start took %s", took)
		}
		h.await(run.ID, record.RunDone)
	})
}

func TestALargeClusterIsNotAskedForItsActions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newInstallation(t, 200, needsActions)
		h.keys = map[string][]string{}
		for _, node := range h.nodes {
			h.keys[node] = []string{"x/b"}
			h.fleet.kinds["http://"+node] = []string{"x/b"}
		}
		h.lead()
		defer h.kill()
		_, err := h.current.Start(t.Context(), record.Request{}, record.RunRequest{Playbook: "test", Cluster: "c"})
		var rejected *record.RejectedError
		if !errors.As(err, &rejected) || h.fleet.kindsAsked != 64 {
			t.Fatalf("%v after %d questions", err, h.fleet.kindsAsked)
		}
		want := []any{
			map[string]any{"action": "x/a", "stage": "one", "step": "a", "nodes": []any{"node-1", "node-10", "node-100"}, "count": int64(200), "of": int64(200)},
			map[string]any{"action": "x/c", "stage": "one", "step": "c", "nodes": []any{"node-1", "node-10", "node-100"}, "count": int64(200), "of": int64(200)},
		}
		if diff := cmp.Diff(want, rejected.Data["unknown"]); diff != "" {
			t.Error(diff)
		}
	})
}

func TestAnUnknownActionIsRefusedWithTheOneThatWasMeant(t *testing.T) {
	knows := []string{"agent.replicante.io/test.fail", "agent.replicante.io/test.success", "external.agent.replicante.io/restart-shop", "x/a"}
	for given, want := range map[string]any{
		"restart-shop":                              "external.agent.replicante.io/restart-shop",
		"agent.replicante.io/restart-shop":          "external.agent.replicante.io/restart-shop",
		"external.agent.replicante.io/restart_shop": "external.agent.replicante.io/restart-shop",
		"external.agent.replicante.io/restrat-shop": "external.agent.replicante.io/restart-shop",
		"external.agent.replicante.io/test.success": "agent.replicante.io/test.success",
		"external.agent.replicante.io/drain":        nil,
		"x/b":                                       nil,
	} {
		synctest.Test(t, func(t *testing.T) {
			h := newInstallation(t, 1, "  stages: [{name: one, health: none, steps: [{name: a, action: "+given+"}]}]\n")
			h.keys = map[string][]string{h.nodes[0]: knows}
			h.fleet.kinds["http://"+h.nodes[0]] = knows
			h.lead()
			defer h.kill()
			_, err := h.current.Start(t.Context(), record.Request{}, record.RunRequest{Playbook: "test", Cluster: "c"})
			var rejected *record.RejectedError
			if !errors.As(err, &rejected) {
				t.Fatal(given, err)
			}
			unknown, _ := rejected.Data["unknown"].([]any)
			if one, _ := unknown[0].(map[string]any); one["meant"] != want {
				t.Errorf("%s: %v was meant, wanted %v", given, one["meant"], want)
			}
		})
	}
}
