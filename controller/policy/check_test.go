package policy_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/replicante-io/playbooks/controller/policy"
	"github.com/replicante-io/playbooks/record"
)

// checked is a run of two nodes in one batch whose gate has the check, opened.
func checked(t *testing.T, nodes int, check string, set func(map[string]record.Node)) *world {
	t.Helper()
	w := newWorld(t, nodes, `  params: [{name: most, type: int, default: 10}]
  stages:
    - name: restart
      batch: 2
      steps: [{name: restart, action: x/restart, timeout: 1m}]
      health: {timeout: 20s, interval: 2s, check: `+check+`}
`)
	w.run.Params = record.Document{"most": int64(10)}
	w.load(false)
	set(w.known)
	w.members(true)
	w.apply(policy.Admit{})
	w.observe()
	w.end("node-1", record.ActionDone, "")
	w.end("node-2", record.ActionDone, "")
	w.observe()
	return w
}

func asJSON(t *testing.T, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func change(nodes map[string]record.Node, name string, by func(*record.Node)) {
	n := nodes[name]
	by(&n)
	nodes[name] = n
}

const namedParts = `{all_up: 'nodes.all(n, n.status == "HEALTHY")', lag: 'node.shards.all(s, s.lag.value <= params.most)', up: 'node.status == "HEALTHY"'}`

func TestAGateThatFailsForAnotherNodeNamesThatNode(t *testing.T) {
	w := checked(t, 3, namedParts, func(nodes map[string]record.Node) {
		for name := range nodes {
			change(nodes, name, func(n *record.Node) { n.Shards = []record.Shard{} })
		}
		change(nodes, "node-3", func(n *record.Node) { n.Status, n.StatusReason = record.StatusUnhealthy, "replication is broken" })
	})
	why := `{"code":"check_false","data":{"check":"nodes.all(n, n.status == \"HEALTHY\")","false_for":[{"node":"node-3","status":"UNHEALTHY",` +
		`"status_reason":"replication is broken","values":[{"name":"n.status","value":"UNHEALTHY"}]}],"false_for_total":1,"part":"all_up"}}`
	if wait := w.run.Waiting; wait == nil || wait.For != record.WaitGate || wait.Node != "" || wait.Until == nil ||
		asJSON(t, wait.Data) != `{"named":[{"error":`+why+`,"nodes":2}],"nodes":2,"unhealthy":2}` {
		t.Errorf("the run waits for %s", asJSON(t, w.run.Waiting))
	}
	w.resumed()
	w.pass(30 * time.Second)
	w.observe()
	w.ended(record.RunFailed)
	for _, node := range []string{"node-1", "node-2"} {
		w.want(node, record.NodeFailed)
		if got := asJSON(t, w.nodes[node].Error.Data["why"]); got != why {
			t.Errorf("%s failed: %s\nwant %s", node, got, why)
		}
	}
	w.want("node-3", record.NodeNotReached)
}

func TestAGateNamesThePartThatIsFalseForANodeAndWhatItRead(t *testing.T) {
	w := checked(t, 2, namedParts, func(nodes map[string]record.Node) {
		change(nodes, "node-1", func(n *record.Node) {
			n.Shards = []record.Shard{{ID: "a", Lag: &record.Lag{Value: 3}}, {ID: "b", Lag: &record.Lag{Value: 42}}}
		})
		change(nodes, "node-2", func(n *record.Node) { n.Shards = []record.Shard{} })
	})
	want := `{"named":[{"error":{"code":"check_false","data":{"check":"node.shards.all(s, s.lag.value \u003c= params.most)","node":"node-1","part":"lag",` +
		`"status":"HEALTHY","values":[{"name":"node.shards[b].lag.value","value":42},{"name":"params.most","value":10}]}},"node":"node-1"}],"nodes":2,"unhealthy":1}`
	if got := asJSON(t, w.run.Waiting.Data); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestAPartThatIsFalseComesBeforeOneThatCannotBeDecided(t *testing.T) {
	w := checked(t, 2, `{a_lag: 'node.shards.all(s, s.lag.value < 1)', b_role: 'node.role == "x"', c_up: 'node.status == "LEAVING"'}`, func(nodes map[string]record.Node) {
		change(nodes, "node-1", func(n *record.Node) { n.Role = "y" })
		change(nodes, "node-2", func(n *record.Node) { n.Status = record.StatusLeaving })
	})
	text := asJSON(t, w.run.Waiting.Data)
	if !strings.Contains(text, `"also_false":["c_up"]`) || !strings.Contains(text, `"part":"b_role"`) ||
		!strings.Contains(text, `{"code":"facts_absent","data":{"check":"node.shards.all(s, s.lag.value \u003c 1)","error":"node.shards of node-2 is absent"`) {
		t.Error(text)
	}
}

func TestACheckThatCannotBeDecidedNamesTheNodesOnWhichItDepends(t *testing.T) {
	w := checked(t, 3, `'nodes.all(n, n.role != "x")'`, func(nodes map[string]record.Node) {
		for name := range nodes {
			change(nodes, name, func(n *record.Node) { n.Role = "y" })
		}
		change(nodes, "node-3", func(n *record.Node) {
			n.Role, n.Status, n.StatusReason = "", record.StatusUnreachable, "connection refused"
		})
	})
	text := asJSON(t, w.run.Waiting.Data)
	if !strings.Contains(text, `"undecided_for":[{"node":"node-3","status":"UNREACHABLE","status_reason":"connection refused","values":[{"name":"n.role","value":null}]}]`) ||
		!strings.Contains(text, `"code":"facts_absent"`) {
		t.Error(text)
	}
}

func TestTheStateOfANodeSaysWhatWasDoneOnIt(t *testing.T) {
	w := newWorld(t, 2, `  stages:
    - {name: drain, batch: 2, health: none, steps: [{name: drain, action: x/drain}]}
    - name: restart
      batch: 2
      health: none
      steps: [{name: stop, action: x/stop}, {name: start, action: x/start}]
    - {name: enable, batch: 2, health: none, targets: 'node.id == "node-1"', steps: [{name: enable, action: x/enable}]}
`)
	w.apply(policy.Admit{})
	w.end("node-1", record.ActionDone, "")
	last := func(node string) string {
		history := w.nodes[node].History
		return asJSON(t, history[len(history)-1].Cause)
	}
	w.want("node-1", record.NodeWaiting)
	if want := `{"code":"between_stages","data":{"after":"drain"}}`; last("node-1") != want {
		t.Errorf("node-1 is WAITING for %s", last("node-1"))
	}
	w.end("node-2", record.ActionDone, "")
	w.end("node-1", record.ActionDone, "") // its stop
	w.end("node-2", record.ActionFailed, "exit")
	w.end("node-1", record.ActionDone, "") // its start
	w.ended(record.RunFailed)
	w.want("node-1", record.NodeIncomplete)
	if want := `{"code":"run_failed","data":{"after":"restart","done":["drain","restart"]}}`; last("node-1") != want {
		t.Errorf("node-1 is INCOMPLETE for %s", last("node-1"))
	}

	w = newWorld(t, 2, `  stages:
    - {name: drain, batch: 2, health: none, steps: [{name: drain, action: x/drain}]}
    - {name: restart, batch: 2, steps: [{name: stop, action: x/stop}, {name: start, action: x/start}]}
`)
	w.apply(policy.Admit{})
	w.end("node-1", record.ActionDone, "")
	w.end("node-2", record.ActionDone, "")
	w.observe()
	w.end("node-2", record.ActionFailed, "exit")
	w.end("node-1", record.ActionDone, "")
	w.ended(record.RunFailed)
	if want := `{"code":"before_step","data":{"done":["drain","restart/stop"],"stage":"restart","step":"start"}}`; last("node-1") != want {
		t.Errorf("node-1 is %s for %s", w.nodes["node-1"].State, last("node-1"))
	}
}
