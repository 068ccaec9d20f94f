package policy

import (
	"maps"
	"slices"

	"github.com/replicante-io/playbooks/record"
)

// Refused is what the store does not take of a run, for good. The leader that has tried knows it; another one tries again.
type Refused struct {
	// Nodes is why the record of a node could not be stored: it ends with that reason, and without the content of its actions.
	Nodes map[string]string
	// Run is why nothing of the run could be stored: it ends with that reason.
	Run string
}

// refuse notes what the store has refused of the nodes.
func (p *Plan) refuse() {
	for _, n := range p.nodes {
		if n.refused = p.config.Refused.Nodes[n.rec.Node]; n.refused == "" {
			n.refused = p.config.Refused.Run
		}
	}
}

// endRefused ends what the store has refused. A node whose action may still run ends with it.
func (p *Plan) endRefused() {
	for _, name := range slices.Sorted(maps.Keys(p.config.Refused.Nodes)) {
		if n := p.nodes[name]; n != nil && !n.acts() && !n.rec.Unsettled() {
			p.endNode(n, record.NodeFailed, notStorable(n.refused))
		}
	}
	if p.config.Refused.Run == "" {
		return
	}
	reason := notStorable(p.config.Refused.Run)
	if !p.hasBegun() {
		p.run.Error = reason
		for _, name := range p.names {
			p.finishNode(p.nodes[name], record.RunFailed)
		}
		p.endRun(record.RunFailed)
		return
	}
	if p.pass.afterOutcome { // it is stopped
		p.run.Outcome, p.run.Error, p.run.Kill, p.pending.run = record.RunFailed, reason, true, true
	}
	p.fail(reason)
}

func notStorable(why string) *record.Error {
	return &record.Error{Code: record.CodeNotStorable, Data: record.Document{"error": why}}
}
