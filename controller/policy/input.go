package policy

import (
	"github.com/replicante-io/playbooks/record"
)

// Input is what a plan hears.
type Input interface {
	apply(p *Plan) *record.RejectedError
}

// Admit lets a queued run go on.
type Admit struct{}

// Queue tells a queued run behind which run it waits.
type Queue struct{ Behind string }

// Members tells who is there. With Complete, who is not in Present is gone.
type Members struct {
	Complete bool
	Present  []record.Node
	Gone     []string
}

// Observed answers the Observation of its Key and Ask: what every node asked for said, in Facts; one that did not answer is UNREACHABLE.
type Observed struct {
	Key   string
	Ask   int64
	Facts []record.Node
}

// Accepted tells that an agent has taken an action.
type Accepted struct{ Node, ActionID string }

// Ended tells how an action ended: DONE, FAILED, or UNKNOWN when nobody can tell. An UNKNOWN action that may still run is
// Unsettled.
type Ended struct {
	Node, ActionID string
	State          record.ActionState
	Payload        record.Document
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
	Effect *record.IdempotencyRecord
}

func (Tick) apply(*Plan) *record.RejectedError { return nil }

func (Admit) apply(p *Plan) *record.RejectedError {
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

func (q Queue) apply(p *Plan) *record.RejectedError {
	p.behind = q.Behind
	return nil
}

func (f Freed) apply(p *Plan) *record.RejectedError {
	for _, name := range f.Nodes {
		if n := p.nodes[name]; n != nil {
			p.touch(n)
		}
	}
	return nil
}

func (s Silent) apply(p *Plan) *record.RejectedError {
	if s.Why == "" {
		delete(p.silent, s.Node)
	} else {
		p.silent[s.Node] = s.Why
	}
	return nil
}

// observation is what was heard for one Observation, by node.
type observation struct {
	facts map[string]*record.Node
	all   []any
}

func (o Observed) apply(p *Plan) *record.RejectedError {
	if asked, ok := p.observations[o.Key]; !ok || asked.Ask != o.Ask {
		return nil
	}
	seen := &observation{facts: make(map[string]*record.Node, len(o.Facts))}
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
