package policy_test

import (
	"testing"

	"github.com/replicante-io/playbooks/controller/policy"
	"github.com/replicante-io/playbooks/record"
)

func TestANodeThatJoinsTakesPartWhereTheRunIsForIt(t *testing.T) {
	for name, want := range map[string]struct {
		where string
		nodes []string
		state record.NodeState
	}{
		"where is true":          {`node.status == "HEALTHY"`, nil, record.NodeDone},
		"where is false":         {`node.status != "HEALTHY"`, nil, record.NodeSkipped},
		"where needs no facts":   {`node.id == "node-1"`, nil, record.NodeSkipped},
		"where is over nodes":    {`size(nodes) > 2`, nil, record.NodeDone},
		"where is undecided":     {`node.attributes.rack == "r1"`, nil, record.NodeSkipped},
		"nodes are named":        {"", []string{"node-1", "node-2"}, record.NodeSkipped},
		"it is one of the named": {"", []string{"node-1", "node-2", "node-9"}, record.NodeDone},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 2, oneStep)
			w.run.Where, w.run.Nodes = want.where, want.nodes
			w.load(false)
			w.apply(policy.Admit{})
			w.observe()
			w.known["node-9"] = w.alive("node-9")
			w.members(true)
			w.work()
			w.ended(record.RunDone)
			w.want("node-9", want.state)
			w.want("node-1", record.NodeDone)
		})
	}
}
