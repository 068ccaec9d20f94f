package policy

import (
	"time"

	"github.com/replicante-io/playbooks/record"
)

// Input is what a plan is told.
type Input interface {
	apply(p *Plan) *record.RejectedError
}

// Admit lets a queued run begin.
type Admit struct{}

// Queue tells a queued run which run is before it.
type Queue struct{ Behind string }

// Members reports which nodes have a live key. With Complete, a node that is not in Present has none.
type Members struct {
	Complete bool
	Present  []record.Node
	Gone     []string
}

// Facts answers the FactRequest of its Key and ID: what every node that was asked for reported. One that did not answer is
// UNREACHABLE.
type Facts struct {
	Key   FactKey
	ID    int64
	Nodes []record.Node
}

// Accepted reports that an agent has taken an action: now its timeout begins again.
type Accepted struct{ Node, ActionID string }

// Ended reports how an action ended: DONE, FAILED, or UNKNOWN when that cannot be known. An UNKNOWN action that may still run is
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

// AgentSilent reports that the agent of a node with an action in flight does not answer, and why.
type AgentSilent struct{ Node, Reason string }

// AgentAnswers reports that it does again.
type AgentAnswers struct{ Node string }

// Locked answers a LockRequest: its nodes are locked for this run. Where it had a limit, these are as many as that allows.
type Locked struct{ LockRequest }

// NotLocked answers a LockRequest: none of its nodes is locked for it, because other runs have some of them locked. Unlocked
// follows once such a node is free.
type NotLocked struct {
	LockRequest
	Holders map[string]Holder
}

// Holder is a run that has a node locked.
type Holder struct {
	RunID string
	// Unsettled is true when that run has ended and only an action that may still be running holds the node.
	Unsettled bool
}

// Unlocked reports that nodes which were not locked because of another run are worth another try.
type Unlocked struct{ Nodes []string }

// Tick reports that time has passed.
type Tick struct{}

// Command is what an operator tells the run. Idempotency is recorded with what it does.
type Command struct {
	record.Command
	Actor       string
	Idempotency *record.IdempotencyRecord
}

func (Tick) apply(*Plan) *record.RejectedError { return nil }

func (Admit) apply(p *Plan) *record.RejectedError {
	if p.run.State != record.RunPending {
		return nil
	}
	p.setRun(record.RunRunning)
	if started := p.now; p.run.StartTS == nil {
		p.run.StartTS = &started
	}
	p.run.Pass, p.run.PassNumber = p.pass.kind, p.pass.number
	p.behind = ""
	p.pending.fence = true
	p.beginMembership()
	p.event(record.EventRunStarted, "", "", "", nil)
	return nil
}

func (q Queue) apply(p *Plan) *record.RejectedError {
	p.behind = q.Behind
	return nil
}

func (s AgentSilent) apply(p *Plan) *record.RejectedError {
	if n := p.nodes[s.Node]; n != nil && (n.acts() || n.awaitsEnd()) { // else the run does not wait for it
		p.silent[s.Node] = s.Reason
	}
	return nil
}

func (s AgentAnswers) apply(p *Plan) *record.RejectedError {
	delete(p.silent, s.Node)
	return nil
}

func (in Accepted) apply(p *Plan) *record.RejectedError {
	n := p.nodes[in.Node]
	if n == nil {
		return nil
	}
	if a := n.lastAction(); a != nil && a.ID == in.ActionID && a.State == record.ActionSaved {
		a.State = record.ActionRunning
		if timeout, err := time.ParseDuration(a.Timeout); err == nil {
			a.DeadlineTS = p.now.Add(timeout)
		}
		p.touch(n)
		p.mark(n)
	}
	delete(p.silent, in.Node)
	return nil
}

func (in Ended) apply(p *Plan) *record.RejectedError {
	n := p.nodes[in.Node]
	if n == nil {
		return nil
	}
	a := n.lastAction()
	if a == nil || a.ID != in.ActionID {
		return nil
	}
	delete(p.silent, in.Node)
	switch {
	case a.State.InFlight():
		p.endAction(n, a, in)
	case a.Unsettled && !in.Unsettled:
		p.settle(n, a, in)
	}
	return nil
}
