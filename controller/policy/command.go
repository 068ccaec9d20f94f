package policy

import (
	"fmt"

	"github.com/replicante-io/playbooks/record"
)

func (c Command) apply(p *Plan) *record.RejectedError {
	var refusal *record.RejectedError
	switch c.Verb {
	case record.VerbPause:
		refusal = p.pause(c)
	case record.VerbResume:
		refusal = p.resume(c)
	case record.VerbCancel:
		refusal = p.cancel(c)
	case record.VerbResolve:
		refusal = p.resolve(c)
	default:
		refusal = &record.RejectedError{Status: 400, Code: "not_supported", Message: fmt.Sprintf("%s is not supported yet", c.Verb)}
	}
	if refusal == nil && c.Effect != nil {
		p.effects = append(p.effects, *c.Effect)
	}
	return refusal
}

// wrongState refuses a verb that the run's state does not allow, and says which would.
func (p *Plan) wrongState(c Command, right string) *record.RejectedError {
	return &record.RejectedError{Status: 409, Code: "wrong_state", Message: fmt.Sprintf(
		"cannot %s run %s: it is %s, not %s", c.Verb, p.run.ID, p.run.State, right)}
}

// said records an operator's word.
func (p *Plan) said(kind record.EventType, c Command, node string) {
	data := record.Document{}
	if c.Reason != "" {
		data["reason"] = c.Reason
	}
	p.event(kind, node, "", "", data)
	p.events[len(p.events)-1].Actor = c.Actor
}

func (p *Plan) pause(c Command) *record.RejectedError {
	switch {
	case p.run.State != record.RunRunning:
		return p.wrongState(c, "RUNNING")
	case p.run.Verdict != "":
		return p.wrongState(c, "going on: it ends "+string(p.run.Verdict)+" once nothing is in flight")
	}
	p.setRun(record.RunPausing)
	p.said(record.EventRunPausing, c, "")
	return nil
}

func (p *Plan) resume(c Command) *record.RejectedError {
	if p.run.State != record.RunPaused && p.run.State != record.RunPausing {
		return p.wrongState(c, "PAUSED or PAUSING")
	}
	p.setRun(record.RunRunning)
	accepts := p.run.Error != nil && p.run.Error.Code == record.CodeMaxFailures // what the operator was told
	p.run.Error = nil
	p.said(record.EventRunResumed, c, "")
	if p.started() {
		st := p.stage()
		if accepts {
			st.Forgiven = p.stageFailures()
		}
		if st.GateTS != nil {
			st.GateTS = nil
			p.unobserve(p.decisionKey("gate"))
		}
		st.FactsUntil = nil
	}
	for _, name := range p.names {
		n := p.nodes[name]
		e := p.openEntry(n)
		if e == nil {
			continue
		}
		if e.GateTS != nil {
			reopened := p.now
			e.GateTS, e.HealthyTS, n.unwell = &reopened, nil, ""
			p.mark(n)
		}
		p.touch(n)
	}
	return nil
}

func (p *Plan) cancel(c Command) *record.RejectedError {
	if p.run.State.Final() || p.run.State == record.RunCancelling && (p.run.Kill || !c.Kill) {
		right := "PENDING, RUNNING, PAUSING or PAUSED"
		if p.run.State == record.RunCancelling && !p.run.Kill {
			right += " (kill stops what is in flight)"
		}
		return p.wrongState(c, right)
	}
	p.setRun(record.RunCancelling)
	p.run.Verdict = record.RunCancelled
	p.run.Kill = c.Kill
	p.runDirty = true
	message := "cancelled"
	if c.Actor != "" {
		message += " by " + c.Actor
	}
	if c.Reason != "" {
		message += ": " + c.Reason
	}
	p.run.Error = &record.Error{Code: record.CodeCancelled, Message: message}
	p.said(record.EventRunCancelling, c, "")
	if c.Kill {
		for _, name := range p.names {
			if a := p.nodes[name].lastAction(); a != nil && a.State.InFlight() {
				p.touch(p.nodes[name])
			}
		}
	}
	return nil
}

// resolve takes an operator's word on an UNKNOWN node, and writes off what may still run on a node.
func (p *Plan) resolve(c Command) *record.RejectedError {
	n := p.nodes[c.Node]
	if n == nil {
		return &record.RejectedError{Status: 404, Code: "not_found", Message: fmt.Sprintf("run %s has no node %s", p.run.ID, c.Node)}
	}
	if c.State != record.NodeDone && c.State != record.NodeFailed {
		return &record.RejectedError{Status: 400, Code: "bad_value", Message: "state must be DONE or FAILED"}
	}
	a := n.lastAction()
	unsettled := a != nil && a.Unsettled
	if n.rec.State != record.NodeUnknown && !unsettled {
		return &record.RejectedError{Status: 409, Code: "wrong_state", Message: fmt.Sprintf(
			"cannot resolve node %s of run %s: it is %s, not UNKNOWN", c.Node, p.run.ID, n.rec.State)}
	}
	data := record.Document{"state": string(c.State)}
	if c.Reason != "" {
		data["reason"] = c.Reason
	}
	p.event(record.EventNodeResolved, c.Node, "", "", data)
	p.events[len(p.events)-1].Actor = c.Actor
	if unsettled {
		a.Unsettled = false
		p.run.Unsettled--
		p.runDirty = true
		p.mark(n)
		p.release(n)
		p.wants.Actions = append(p.wants.Actions, Pursuit{Node: c.Node})
	}
	if e := p.openEntry(n); e != nil && n.rec.State == record.NodeRunning {
		if c.State == record.NodeDone {
			p.passStep(n, e)
		} else {
			p.failedAttempt(n, e, a)
		}
		return nil
	}
	if n.rec.State == record.NodeUnknown {
		p.resolved(n, c.State)
	}
	return nil
}

// resolved takes an UNKNOWN node out of that state. One that is DONE is past the step that nobody knew about, and goes on
// from there while its stage is open; after that, the word is its end.
func (p *Plan) resolved(n *node, state record.NodeState) {
	const reason = "resolved by an operator"
	if state == record.NodeDone {
		n.rec.Error = nil
	}
	var e *record.NodeStage
	if len(n.rec.Stages) > 0 {
		e = &n.rec.Stages[len(n.rec.Stages)-1]
	}
	if e == nil || e.State != record.StageUnknown {
		p.setNode(n, state, reason)
		return
	}
	if state == record.NodeDone && p.run.FinishTS == nil && p.run.Verdict == "" && p.started() &&
		p.stageSpec().Name == e.Name && e.Pass == p.run.Pass {
		p.passStep(n, e)
		e.Batch = 0
		p.setEntry(n, e, record.StagePending, reason)
		p.setNode(n, record.NodeRunning, reason)
		p.findPending()
		return
	}
	p.setEntry(n, e, record.StageState(state), reason)
	p.setNode(n, state, reason)
}
