package api

import (
	"go/ast"
	"go/parser"
	"go/token"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/replicante-io/playbooks/record"
)

// constants are the values of a file's constants whose names begin with prefix, by name.
func constants(t *testing.T, file, prefix string) map[string]string {
	t.Helper()
	parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	ast.Inspect(parsed, func(n ast.Node) bool {
		if spec, ok := n.(*ast.ValueSpec); ok && strings.HasPrefix(spec.Names[0].Name, prefix) {
			value, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
			if err != nil {
				t.Fatal(err)
			}
			found[spec.Names[0].Name] = value
		}
		return true
	})
	if len(found) == 0 {
		t.Fatalf("%s has no constants %s…", file, prefix)
	}
	return found
}

func TestEveryCodeAndCauseHasAText(t *testing.T) {
	for _, prefix := range []string{"Code", "Cause"} {
		for name, code := range constants(t, "../record/code.go", prefix) {
			rejected := rejection(&record.RejectedError{Code: code, Data: record.Document{"x": "y"},
				Problems: []record.Problem{{Message: "grace is missing"}}}).Detail
			text := errorText(&record.Error{Code: code, Data: record.Document{"x": "y"}})
			if fallback := code + ": map[x:y]"; text == fallback && strings.HasPrefix(rejected, code+" map") {
				t.Errorf("record.%s (%s) has no text", name, code)
			}
		}
	}
}

func TestEveryWaitHasAText(t *testing.T) {
	until := time.Date(2026, 1, 1, 0, 1, 0, 0, time.UTC)
	not := []record.WaitReason{record.WaitGuard, record.WaitFreeze} // nothing waits for them yet
	for name, reason := range constants(t, "../record/wait.go", "Wait") {
		text := waitText(&record.Wait{For: record.WaitReason(reason), Until: &until, Stage: "s", Node: "n"})
		fallback := text == reason+" of stage s on node n; waiting until 2026-01-01T00:01:00Z"
		for _, of := range not {
			fallback = fallback && string(of) != reason
		}
		if fallback {
			t.Errorf("record.%s has no text", name)
		}
	}
}

func TestTexts(t *testing.T) {
	until := time.Date(2026, 1, 1, 0, 1, 0, 0, time.UTC)
	reading := func(name string, value any) any { return map[string]any{"name": name, "value": value} }
	othersFail := map[string]any{"part": "links", "check": "x", "false_for_total": int64(7), "false_for": []any{
		map[string]any{"node": "c", "status": "UNHEALTHY", "status_reason": "no quorum", "values": []any{reading("n.status", "UNHEALTHY")}},
		map[string]any{"node": "d", "status": "LEAVING", "values": []any{reading("n.role", "x")}}}}
	unknown := func(later map[string]any) *record.Error {
		return &record.Error{Code: record.CodeUnknown, Data: record.Document{"step": "stop", "agent_url": "http://a", "later": later}}
	}
	exit := record.Document{"step": "stop", "exit_code": int64(3), "last_stderr_line": "could not connect to 10.0.0.1",
		"message": "the command ended with exit status 3"}
	failed := map[string]any{"node": "node-1", "error": map[string]any{"code": "exit", "data": map[string]any(exit)}}
	for want, got := range map[string]string{
		`exit code 3: "could not connect to 10.0.0.1"`: errorText(&record.Error{Code: record.CodeExit, Data: exit}),
		"exit code 137 (signal 9)":                     errorText(&record.Error{Code: record.CodeExit, Data: record.Document{"exit_code": int64(137)}}),
		"it said no":                                   errorText(&record.Error{Code: record.CodeExit, Data: record.Document{"message": "it said no"}}),
		`step stop failed: exit code 3: "could not connect to 10.0.0.1"`: nodeErrorText(&record.Error{Code: record.CodeExit, Data: exit}),
		"step stop failed: this action always fails": nodeErrorText(&record.Error{Code: record.CodeFailed,
			Data: record.Document{"step": "stop", "message": "this action always fails"}}),
		"step stop failed: disk is full": nodeErrorText(&record.Error{Code: "agents_own",
			Data: record.Document{"step": "stop", "message": "disk is full"}}),
		"step stop has an unknown end: it was running when its agent stopped": nodeErrorText(&record.Error{Code: record.CodeLost,
			Data: record.Document{"step": "stop"}}),
		"its agent at http://a rejects step stop: args.count is -1; it is not tried again": errorText(&record.Error{Code: record.CodeRejected,
			Data: record.Document{"step": "stop", "agent_url": "http://a", "error": "args.count is -1"}}),
		`step stop did not end within 3s: "still waiting"`: nodeErrorText(&record.Error{Code: record.CodeTimeout,
			Data: record.Document{"step": "stop", "timeout": "3s", "last_stderr_line": "still waiting"}}),
		"stage s has to pick at least 2 of its 3 nodes, and can pick 1: 2 of 3 nodes failed; and 2 more": errorText(&record.Error{Code: record.CodePickTooFew,
			Data: record.Document{"stage": "s", "nodes": int64(3), "at_least": int64(2), "picked": int64(1), "failed": int64(2)}}),
		"stage s has to pick at least 2 of its 1 node, and can pick 1": errorText(&record.Error{Code: record.CodePickTooFew,
			Data: record.Document{"stage": "s", "nodes": int64(1), "at_least": int64(2), "picked": int64(1)}}),
		`stage s: 1 of 3 nodes failed: node-1 (step stop failed: exit code 3: "could not connect to 10.0.0.1"); max_failures is 0`: errorText(&record.Error{Code: record.CodeMaxFailures,
			Data: record.Document{"stage": "s", "failed": int64(1), "nodes": int64(3), "named": []any{failed}, "max_failures": int64(0)}}),
		`3 of 9 nodes failed: node-1 (step stop failed: exit code 3: "could not connect to 10.0.0.1"); and 2 more`: errorText(&record.Error{Code: record.CodeNodesFailed,
			Data: record.Document{"failed": int64(3), "nodes": int64(9), "named": []any{failed}}}),
		"not healthy within 2m0s after its steps: its status is UNHEALTHY": errorText(&record.Error{Code: record.CodeHealthTimeout,
			Data: record.Document{"timeout": "2m0s", "why": map[string]any{"code": "status", "data": map[string]any{"status": "UNHEALTHY"}}}}),
		"cannot decide order_by of stage s on node n: node.role is absent; waited 2m0s": errorText(&record.Error{Code: record.CodeFactsAbsent,
			Data: record.Document{"what": "order_by", "stage": "s", "node": "n", "error": "node.role is absent", "waited": "2m0s"}}),
		"it appeared during the run (membership.added: ignore)": errorText(&record.Error{Code: record.CauseJoined, Data: record.Document{"policy": "ignore"}}),
		"the agent of node n does not answer: cannot connect to the agent: connection refused (http://a:1); waiting until 2026-01-01T00:01:00Z": waitText(
			&record.Wait{For: record.WaitAgent, Node: "n", Until: &until, Data: record.Document{"agent_url": "http://a:1",
				"error": "cannot connect to the agent: connection refused (http://a:1)"}}),
		"the agent at http://a:1 is that of node g1: step s was not sent to it; correct agent_url in the node's key in etcd": errorText(&record.Error{
			Code: record.CodeUnreachable, Data: record.Document{"agent_url": "http://a:1", "other_node": "g1", "step": "s", "sent": false}}),
		"its agent did not answer when its turn came: no answer in time (http://a:1); waited 2m0s": errorText(&record.Error{Code: record.CodeUnreachable,
			Data: record.Document{"agent_url": "http://a:1", "status_reason": "no answer in time (http://a:1/api/unstable/info/node)", "waited": "2m0s"}}),
		"its agent at http://a did not report in time how step stop ended, nor that it was stopped; its agent reported later that the step was lost: " +
			"it was running when its agent stopped": nodeErrorText(unknown(map[string]any{"state": "UNKNOWN", "error": map[string]any{"code": "lost"}})),
		"its agent at http://a did not report in time how step stop ended, nor that it was stopped; its agent reported later that the step is done": nodeErrorText(
			unknown(map[string]any{"state": "DONE"})),
		"its agent at http://a did not report in time how step stop ended, nor that it was stopped; its agent reported later that the step has failed: exit code 3": nodeErrorText(
			unknown(map[string]any{"state": "FAILED", "error": map[string]any{"code": "exit", "data": map[string]any{"step": "stop", "exit_code": int64(3)}}})),
		"its agent at http://a did not report in time how step stop ended, nor that it was stopped; resolved DONE by ann: it is up": nodeErrorText(
			unknown(map[string]any{"error": map[string]any{"code": "resolved", "data": map[string]any{"state": "DONE", "actor": "ann", "reason": "it is up"}}})),
		"resolved by an operator": errorText(&record.Error{Code: record.CauseResolved}),
		"an agent's own message":  errorText(&record.Error{Code: record.CodeTimeout, Message: "an agent's own message"}),
		"new_code: map[a:1]":      errorText(&record.Error{Code: "new_code", Data: record.Document{"a": int64(1)}}),
		"run r has node n locked for a batch": waitText(&record.Wait{For: record.WaitNode, Node: "n",
			Data: record.Document{"code": record.CauseLocked, "run": "r"}}),
		`attempt 2 of 3 of step stop on node n and of 2 more nodes starts at 2026-01-01T00:01:00Z: attempt 1 failed: exit code 3: "could not connect to 10.0.0.1"`: waitText(
			&record.Wait{For: record.WaitRetry, Node: "n", Until: &until, Data: record.Document{"attempt": int64(1), "attempts": int64(3),
				"step": "stop", "nodes": int64(3), "code": "exit", "about": map[string]any(exit)}}),
		"nodes of stage s are not healthy: n (its agent did not answer in time), 2 more; waiting until 2026-01-01T00:01:00Z": waitText(&record.Wait{
			For: record.WaitGate, Stage: "s", Until: &until, Data: record.Document{"nodes": int64(5), "unhealthy": int64(3),
				"named": []any{map[string]any{"node": "n", "error": map[string]any{"code": "no_answer"}}}}}),
		"nodes of stage s are not healthy: a (check lag is false: node.shards[x].lag.value is 42, params.most is 10; so is check up), " +
			"b (its status is UNHEALTHY: no quorum), 2 more": waitText(&record.Wait{For: record.WaitGate, Stage: "s", Data: record.Document{"unhealthy": int64(4), "named": []any{
			map[string]any{"node": "a", "error": map[string]any{"code": "check_false", "data": map[string]any{"node": "a", "part": "lag", "check": "x", "status": "HEALTHY",
				"also_false": []any{"up"}, "values": []any{reading("node.shards[x].lag.value", int64(42)), reading("params.most", int64(10))}}}},
			map[string]any{"node": "b", "error": map[string]any{"code": "status", "data": map[string]any{"status": "UNHEALTHY", "status_reason": "no quorum"}}}}}}),
		"the health check of stage s does not hold yet: check links is false for c (n.status is UNHEALTHY: no quorum), d (n.role is x; its status is LEAVING), 5 more": waitText(
			&record.Wait{For: record.WaitGate, Stage: "s", Data: record.Document{"unhealthy": int64(2), "named": []any{
				map[string]any{"nodes": int64(2), "error": map[string]any{"code": "check_false", "data": othersFail}}}}}),
		"the health check of its batch did not hold within 20s: check links is false for c (n.status is UNHEALTHY: no quorum), d (n.role is x; its status is LEAVING), 5 more": errorText(
			&record.Error{Code: record.CodeHealthTimeout, Data: record.Document{"timeout": "20s", "why": map[string]any{"code": "check_false", "data": othersFail}}}),
		`nodes.all(n, n.role == "x") is false: nodes is []; so are checks a and b`: errorText(&record.Error{Code: record.CauseCheckFalse, Data: record.Document{
			"check": `nodes.all(n, n.role == "x")`, "values": []any{reading("nodes", "[]")}, "also_false": []any{"a", "b"}}}),
		"the run ended before step start of stage restart; done on it: drain and restart/stop": errorText(&record.Error{Code: record.CauseBeforeStep,
			Data: record.Document{"stage": "restart", "step": "start", "done": []any{"drain", "restart/stop"}}}),
		"the run failed after stage drain of this node": errorText(&record.Error{Code: record.CauseRunFailed,
			Data: record.Document{"after": "drain", "done": []any{"drain"}}}),
		"it has passed stage drain and waits for its next stage": errorText(&record.Error{Code: record.CauseBetween, Data: record.Document{"after": "drain"}}),
		"cannot decide check role: node.role of d is absent; d is UNREACHABLE: connection refused": errorText(&record.Error{Code: record.CodeFactsAbsent,
			Data: record.Document{"what": "check", "part": "role", "check": "x", "error": "node.role of d is absent", "undecided_for": []any{
				map[string]any{"node": "d", "status": "UNREACHABLE", "status_reason": "connection refused"}}}}),
		"action x/a of step a (stage s) is not known to 5 of 9 nodes of cluster c: n1, n2 and 3 more; action x/b of step b (stage s) is not known to 9 of 9 nodes " +
			"of cluster c: n1 and 8 more; nothing was started: correct its name, or add it to actions in the configuration of these agents and restart them, " +
			"or give the stage targets that leave these nodes out; known: x/c and x/d": rejection(&record.RejectedError{Code: record.CodeUnknownAction,
			Data: record.Document{"cluster": "c", "known": []any{"x/c", "x/d"}, "unknown": []any{
				map[string]any{"action": "x/a", "stage": "s", "step": "a", "nodes": []any{"n1", "n2"}, "count": int64(5), "of": int64(9)},
				map[string]any{"action": "x/b", "stage": "s", "step": "b", "nodes": []any{"n1"}, "count": int64(9), "of": int64(9)}}}}).Detail,
		"action restart of step a (stage s) is not known to 1 of 1 node of cluster c: n1 (did you mean external.agent.replicante.io/restart-shop?); " +
			"action go of step b (stage s) is not known to 1 of 1 node of cluster c: n1 (an agent's configured command NAME is the action " +
			"external.agent.replicante.io/NAME); nothing was started: correct its name, or add it to actions in the configuration of these agents and " +
			"restart them": rejection(&record.RejectedError{Code: record.CodeUnknownAction, Data: record.Document{"cluster": "c", "unknown": []any{
			map[string]any{"action": "restart", "stage": "s", "step": "a", "nodes": []any{"n1"}, "count": int64(1), "of": int64(1),
				"meant": "external.agent.replicante.io/restart-shop"},
			map[string]any{"action": "go", "stage": "s", "step": "b", "nodes": []any{"n1"}, "count": int64(1), "of": int64(1)}}}}).Detail,
		"the run is paused once its running actions have ended: step stop on node a, step stop on node b and on 2 more nodes; waiting until 2026-01-01T00:01:00Z": waitText(
			&record.Wait{For: record.WaitAction, Until: &until, Data: record.Document{"then": "PAUSED", "kill": false, "nodes": int64(4), "named": []any{
				map[string]any{"node": "a", "step": "stop"}, map[string]any{"node": "b", "step": "stop"}}}}),
		"the run ends CANCELLED once its running actions have been stopped: step stop on node a; waiting until 2026-01-01T00:01:00Z": waitText(
			&record.Wait{For: record.WaitAction, Until: &until, Data: record.Document{"then": "CANCELLED", "kill": true, "nodes": int64(1), "named": []any{
				map[string]any{"node": "a", "step": "stop"}}}}),
		"the run has ended, and step stop may still be running on node a, as may 2 more actions; it is kept until the agent reports the end, " +
			"or an operator resolves or forgets the node": waitText(&record.Wait{For: record.WaitUnsettled, Node: "a",
			Data: record.Document{"actions": int64(3), "step": "stop"}}),
		"the leader is of a version that does not know all that the run needs, and leaves it alone: spec.x: unknown key; upgrade all replicas, " +
			"or let a newer one lead": waitText(&record.Wait{For: record.WaitLeader,
			Data: record.Document{"code": record.CodeUnknownFeature, "error": "spec.x: unknown key"}}),
		"the guard of stage s does not hold, so no batch opens: check links is false for c (n.status is UNHEALTHY: no quorum), d (n.role is x; its status is LEAVING), 5 more; " +
			"the run continues by itself once it holds, and pauses at 2026-01-01T00:01:00Z": waitText(&record.Wait{For: record.WaitGuard, Stage: "s", Until: &until,
			Data: record.Document{"on_timeout": "pause", "error": map[string]any{"code": "check_false", "data": othersFail}}}),
		"a batch of stage s would leave more than 1 of 12 nodes out, which is its max_unavailable; out are a (UNREACHABLE), " +
			"b (UNHEALTHY; run r has it locked for a batch), c (an action of run q may still be running), 1 more; the run continues by itself once fewer are": waitText(&record.Wait{
			For: record.WaitNode, Stage: "s", Data: record.Document{"code": record.CauseMaxUnavailable, "max_unavailable": int64(1), "nodes": int64(12), "out": int64(4),
				"named": []any{map[string]any{"node": "a", "status": "UNREACHABLE"}, map[string]any{"node": "b", "status": "UNHEALTHY", "run": "r", "unsettled": false},
					map[string]any{"node": "c", "run": "q", "unsettled": true}}}}),
		"the guard of stage s did not hold within 1h0m0s: cannot decide check role: node.role of d is absent": errorText(&record.Error{Code: record.CodeGuardTimeout,
			Data: record.Document{"stage": "s", "timeout": "1h0m0s", "on_timeout": "fail", "why": map[string]any{"code": record.CodeFactsAbsent, "data": map[string]any{
				"what": "check", "part": "role", "error": "node.role of d is absent"}}}}),
		"cannot pause run r: it is DONE; it has to be RUNNING": rejection(&record.RejectedError{Code: record.CodeWrongState,
			Data: record.Document{"verb": "pause", "run": "r", "state": "DONE", "allowed": []any{"RUNNING"}}}).Detail,
		"cannot resolve node n of run r: it is DONE; it has to be UNKNOWN": rejection(&record.RejectedError{Code: record.CodeWrongState,
			Data: record.Document{"verb": "resolve", "run": "r", "node": "n", "state": "DONE", "allowed": []any{"UNKNOWN"}}}).Detail,
		"cannot pause run r: it is RUNNING and ends FAILED; it has to be RUNNING or PAUSED": rejection(&record.RejectedError{Code: record.CodeWrongState,
			Data: record.Document{"verb": "pause", "run": "r", "state": "RUNNING", "outcome": "FAILED", "allowed": []any{"RUNNING", "PAUSED"}}}).Detail,
	} {
		if got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
	if f := rejection(&record.RejectedError{Code: record.CodeNotLeading}); f.Status != http.StatusServiceUnavailable || f.retryAfter == 0 {
		t.Errorf("%+v", f)
	}
}

// TestTextsDoNotChangeWhatIsStored: answers from memory share records with the leader.
func TestTextsDoNotChangeWhatIsStored(t *testing.T) {
	run := record.Run{Error: &record.Error{Code: record.CodeNodesFailed}, Waiting: &record.Wait{For: record.WaitPause},
		Stages: []record.RunStage{{Error: &record.Error{Code: record.CodeNoTargets}, Groups: []record.StageGroup{{Waiting: &record.Wait{For: record.WaitGate}}}}}}
	shown := runWithTexts(run)
	if shown.Error.Message == "" || shown.Waiting.Message == "" || shown.Stages[0].Error.Message == "" || shown.Stages[0].Groups[0].Waiting.Message == "" {
		t.Errorf("without texts: %+v", shown)
	}
	if run.Error.Message != "" || run.Waiting.Message != "" || run.Stages[0].Error.Message != "" || run.Stages[0].Groups[0].Waiting.Message != "" {
		t.Errorf("changed: %+v", run)
	}
	node := record.RunNode{Error: &record.Error{Code: record.CodeFailed}, History: []record.NodeChange{{Cause: &record.Error{Code: record.CauseRemoved}}},
		Actions: []record.Action{{Error: &record.Error{Code: record.CodeFailed}}}, Stages: []record.NodeStage{{Cause: &record.Error{Code: record.CauseRunFailed}}}}
	seen := nodeWithTexts(node)
	if seen.Error.Message == "" || seen.History[0].Reason == "" || seen.Actions[0].Error.Message == "" || seen.Stages[0].Reason == "" {
		t.Errorf("without texts: %+v", seen)
	}
	if node.Error.Message != "" || node.History[0].Reason != "" || node.Actions[0].Error.Message != "" || node.Stages[0].Reason != "" {
		t.Errorf("changed: %+v", node)
	}
}
