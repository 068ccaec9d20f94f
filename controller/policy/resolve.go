package policy

import (
	"github.com/replicante-io/playbooks/record"
)

// resolve takes an operator's decision about an UNKNOWN node, and writes off what may still run on a node.
func (p *Plan) resolve(c Command) *record.RejectedError {
	n := p.nodes[c.Node]
	if n == nil {
		return &record.RejectedError{Code: record.CodeNoSuchNode, Data: record.Document{"run": p.run.ID, "node": c.Node}}
	}
	if c.State != record.NodeDone && c.State != record.NodeFailed {
		return &record.RejectedError{Code: record.CodeBadValue, Data: record.Document{"field": "state", "allowed": []any{"DONE", "FAILED"}}}
	}
	a := n.lastAction()
	unsettled := n.rec.Unsettled()
	if n.rec.State != record.NodeUnknown && !unsettled {
		return &record.RejectedError{Code: record.CodeWrongState, Data: record.Document{"verb": string(c.Verb), "run": p.run.ID,
			"node": c.Node, "state": string(n.rec.State), "allowed": []any{string(record.NodeUnknown)}}}
	}
	p.recordCommand(record.EventNodeResolved, c, c.Node, record.Document{"state": string(c.State)})
	if unsettled {
		a.Unsettled = false
		p.run.Unsettled--
		p.pending.run = true
		p.mark(n)
		p.abandon(n)
		delete(p.silent, c.Node)
		p.unlock(n)
	}
	cause := resolvedCause(c)
	if a != nil && a.State == record.ActionUnknown && a.Error != nil {
		a.Error = withLater(a.Error, map[string]any{"error": asData(cause)})
		p.mark(n)
	}
	p.addLater(n, map[string]any{}, cause)
	if e := n.batchEntry(); e != nil {
		if c.State == record.NodeDone {
			p.passStep(n, e)
		} else {
			p.failedAttempt(n, e, a)
		}
	}
	if n.rec.State == record.NodeUnknown {
		p.resolveNode(n, c.State, cause)
		p.countPicked()
	}
	return nil
}

// resolvedCause is that an operator has decided, who, and why.
func resolvedCause(c Command) *record.Error {
	data := record.Document{"state": string(c.State), "actor": c.Actor}
	if c.Reason != "" {
		data["reason"] = c.Reason
	}
	return &record.Error{Code: record.CauseResolved, Data: data}
}

// Forgotten reports that an operator forgets a node whose key is gone: what may still run on it is written off.
type Forgotten struct{ Node, Actor string }

func (in Forgotten) apply(p *Plan) *record.RejectedError {
	n := p.nodes[in.Node]
	if n == nil || !n.rec.Unsettled() {
		return nil
	}
	p.abandon(n)
	delete(p.silent, in.Node)
	settled := len(p.pending.events)
	p.settle(n, n.lastAction(), Ended{State: record.ActionUnknown})
	p.pending.events[settled].Actor = in.Actor
	p.pending.events[settled].Data["code"] = record.CauseNodeForgotten
	p.addLater(n, map[string]any{}, &record.Error{Code: record.CauseNodeForgotten, Data: record.Document{"actor": in.Actor}})
	return nil
}

// resolveNode takes an UNKNOWN node out of that state. One that is DONE is past the step whose end was not known, and continues
// from there while its stage is open; after that, the decision is its end.
func (p *Plan) resolveNode(n *node, state record.NodeState, cause *record.Error) {
	if state == record.NodeDone {
		n.rec.Error = nil
	}
	e := n.lastEntry()
	if e == nil || e.State != record.NodeStageUnknown {
		p.setNode(n, state, cause)
		return
	}
	if state != record.NodeDone || p.ended() || p.ending() || p.pass.afterOutcome || !p.stageOpen() || !p.isCurrent(e) {
		p.setEntry(n, e, record.NodeStageState(state), cause)
		p.setNode(n, state, cause)
		return
	}
	e.Step++
	e.FailedAttempts, e.HealthyTS, e.Batch = 0, nil, 0
	p.setEntry(n, e, record.NodeStagePending, cause)
	p.setNode(n, record.NodeWaiting, cause)
	if g := p.groups[e.Group]; g != nil {
		p.addPending(g, n)
	}
}
