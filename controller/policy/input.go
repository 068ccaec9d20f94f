package policy

import (
	"github.com/replicante-io/playbooks/playbook"
	"github.com/replicante-io/playbooks/record"
)

// Input is what a plan hears.
type Input interface {
	apply(p *Plan) *record.Refusal
}

// Admit lets a queued run go on.
type Admit struct{}

// Queue tells a queued run behind which run it waits.
type Queue struct{ Behind string }

// Members tells who is there. With Complete, who is not in Present is gone.
type Members struct {
	Complete bool
	Present  []record.KnownNode
	Gone     []string
}

// Observed answers the Observation of its Key and Ask: what every node asked for said, in Facts; one that did not answer is UNREACHABLE.
type Observed struct {
	Key   string
	Ask   int64
	Facts []record.KnownNode
}

// Accepted tells that an agent has taken an action.
type Accepted struct{ Node, ActionID string }

// Ended tells how an action ended: DONE, FAILED, or UNKNOWN when nobody can tell. An UNKNOWN action that may still run is
// Unsettled.
type Ended struct {
	Node, ActionID string
	State          record.ActionState
	Payload        playbook.Document
	ExitCode       *int
	StdoutTail     string
	StderrTail     string
	Error          *record.Error
	Unsettled      bool
}

// Silent tells that an action's agent does not answer; "" that it does again.
type Silent struct{ Node, Why string }

// Freed tells that another run has let go of nodes that this one waited for.
type Freed struct{ Nodes []string }

// Tick tells that time has passed.
type Tick struct{}

// Command is an operator's word.
type Command struct {
	record.Command
	Actor  string
	Effect *record.Effect
}

func (Tick) apply(*Plan) *record.Refusal { return nil }

func (Admit) apply(p *Plan) *record.Refusal {
	if p.run.State != record.RunPending {
		return nil
	}
	p.setRun(record.RunRunning)
	started := p.now
	p.run.StartTS = &started
	p.run.Pass = record.PassMain
	p.behind = ""
	p.fence = true
	p.event(record.EventRunStarted, "", "", "", nil)
	return nil
}

func (q Queue) apply(p *Plan) *record.Refusal {
	p.behind = q.Behind
	return nil
}

func (f Freed) apply(p *Plan) *record.Refusal {
	for _, name := range f.Nodes {
		if n := p.nodes[name]; n != nil {
			p.touch(n)
		}
	}
	return nil
}

func (s Silent) apply(p *Plan) *record.Refusal {
	if s.Why == "" {
		delete(p.silent, s.Node)
	} else {
		p.silent[s.Node] = s.Why
	}
	return nil
}

// observation is what was heard for one Observation, by node.
type observation struct {
	facts map[string]*record.KnownNode
	all   []any
}

func (o Observed) apply(p *Plan) *record.Refusal {
	if asked, ok := p.observations[o.Key]; !ok || asked.Ask != o.Ask {
		return nil
	}
	seen := &observation{facts: make(map[string]*record.KnownNode, len(o.Facts))}
	for i := range o.Facts {
		fact := &o.Facts[i]
		seen.facts[fact.NodeID] = fact
		if n := p.nodes[fact.NodeID]; n != nil {
			n.fact = *fact
		}
	}
	p.seen[o.Key] = seen
	p.observed(o.Key, seen)
	return nil
}
