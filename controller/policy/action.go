package policy

import (
	"fmt"
	"time"

	"github.com/replicante-io/playbooks/playbook"
	"github.com/replicante-io/playbooks/record"
)

// lastAction is the latest action of the node, of any stage. Only it can be in flight or unsettled.
func (n *node) lastAction() *record.Action {
	if len(n.rec.Actions) == 0 {
		return nil
	}
	return &n.rec.Actions[len(n.rec.Actions)-1]
}

// start saves the next attempt of the node's step and wants it sent.
func (p *Plan) start(n *node, e *record.NodeStage, step *playbook.Step, args record.Document) {
	attempt := 1
	for i := range n.rec.Actions {
		if a := &n.rec.Actions[i]; a.Stage == e.Name && a.Step == step.Name && a.Pass != record.PassRollback {
			attempt = max(attempt, a.Attempt+1)
		}
	}
	if args == nil {
		args = record.Document{}
	}
	deadline := p.now.Add(step.Timeout)
	n.rec.Actions = append(n.rec.Actions, record.Action{
		ID:    record.ActionID(p.run.ID, n.rec.Node, e.Name, e.Pass, step.Name, attempt),
		Stage: e.Name, Pass: e.Pass, Step: step.Name, Attempt: attempt,
		Kind: step.Action, Args: args, AgentURL: n.fact.AgentURL, JournalID: n.fact.JournalID,
		Term: p.run.Term, State: record.ActionSaved, StartTS: p.now, DeadlineTS: deadline,
	})
	e.NextTS = nil
	p.mark(n)
	p.entries++
	p.inFlight++
	p.wakeAt(deadline, n.rec.Node)
	p.want(n, n.lastAction())
}

// watch looks after an action in flight: its deadline, and the end of the patience with its cancel.
func (p *Plan) watch(n *node, a *record.Action) {
	switch {
	case a.State == record.ActionCancelling:
		if p.now.Before(*a.CancelUntil) {
			p.wakeAt(*a.CancelUntil, n.rec.Node)
			return
		}
		p.end(n, a, Ended{State: record.ActionUnknown, Unsettled: true, Error: &record.Error{
			Code:    record.CodeUnknown,
			Message: fmt.Sprintf("its agent at %s did not say how step %s ended, nor that it was stopped", a.AgentURL, a.Step),
		}})
	case !p.now.Before(a.DeadlineTS):
		p.cancelAction(n, a, record.CodeTimeout)
	case p.run.Kill:
		p.cancelAction(n, a, record.CodeCancelled)
	}
}

func (p *Plan) cancelAction(n *node, a *record.Action, code string) {
	until := p.now.Add(cancelPatience)
	a.State, a.CancelCode, a.CancelUntil = record.ActionCancelling, code, &until
	p.mark(n)
	p.wakeAt(until, n.rec.Node)
	p.want(n, a)
}

// end records how an action in flight ended and moves its node on.
func (p *Plan) end(n *node, a *record.Action, in Ended) {
	if a.CancelCode == record.CodeTimeout && in.State == record.ActionFailed {
		in.Error = &record.Error{Code: record.CodeTimeout, Message: fmt.Sprintf("step %s did not end within %s", a.Step, a.DeadlineTS.Sub(a.StartTS))}
	}
	p.inFlight--
	p.write(n, a, in)
	if in.Unsettled {
		p.run.Unsettled++
		p.runDirty = true
		a.Unsettled = true
		p.want(n, a)
	} else {
		p.release(n)
	}
	e := p.openEntry(n)
	if e == nil {
		return
	}
	p.touch(n)
	switch in.State {
	case record.ActionDone:
		p.passStep(n, e)
	case record.ActionFailed:
		if in.Error != nil && in.Error.Code == record.CodeCancelled && p.run.State == record.RunCancelling {
			p.endNode(n, record.NodeCancelled, in.Error)
			return
		}
		p.failedAttempt(n, e, a)
	default:
		p.event(record.EventActionUnknown, n.rec.Node, a.Stage, a.Step, failureData(a))
		p.unknown(n, e, a)
	}
}

// write puts an end into an action's record.
func (p *Plan) write(n *node, a *record.Action, in Ended) {
	ended := p.now
	a.State, a.FinishTS, a.CancelUntil = in.State, &ended, nil
	a.Payload, a.ExitCode, a.StdoutTail, a.StderrTail, a.Error = in.Payload, in.ExitCode, in.StdoutTail, in.StderrTail, in.Error
	if a.State != record.ActionDone && a.Error == nil {
		a.Error = &record.Error{Code: record.CodeFailed, Message: "its agent gave no reason"}
	}
	p.mark(n)
	p.note(n, a)
}

// settled records that an UNKNOWN action is over.
func (p *Plan) settled(n *node, a *record.Action, in Ended) {
	p.run.Unsettled--
	p.runDirty = true
	p.release(n)
	a.Unsettled = false
	p.mark(n)
	p.event(record.EventActionSettled, n.rec.Node, a.Stage, a.Step, record.Document{"action": a.ID, "state": string(in.State)})
	if in.State != record.ActionUnknown {
		p.write(n, a, in)
	}
	e := p.openEntry(n)
	if e == nil || e.SettleUntil == nil && e.GateTS == nil {
		return
	}
	p.touch(n)
	switch {
	case in.State == record.ActionDone:
		p.passStep(n, e)
	case in.State == record.ActionFailed && e.GateTS == nil, e.SettleUntil != nil:
		e.SettleUntil = nil
		p.failedAttempt(n, e, a)
	}
}

// failedAttempt tries again after a backoff, or fails the node.
func (p *Plan) failedAttempt(n *node, e *record.NodeStage, a *record.Action) {
	step := &p.stageSpec().Steps[e.Step]
	retry := step.Retry
	e.GateTS, e.SettleUntil, e.HealthyTS = nil, nil, nil
	if a.State == record.ActionUnknown && step.OnUnknown == playbook.UnknownRetry && retry.Attempts == 1 {
		retry.Attempts = unknownAttempts // one attempt alone would make of on_unknown: retry a fail
	}
	if a.Error != nil && a.Error.Code == record.CodeNeverStarted && a.CancelCode == "" {
		if a.Attempt <= retry.Attempts+maxNeverStarted {
			p.nextAttempt(n, e, a, retry.Backoff)
			return
		}
	} else if e.Retries++; e.Retries < retry.Attempts {
		p.nextAttempt(n, e, a, backoff(retry, e.Retries))
		return
	}
	p.event(record.EventActionFailed, n.rec.Node, a.Stage, a.Step, failureData(a))
	state := record.NodeFailed
	if a.State == record.ActionUnknown {
		state = record.NodeUnknown
	}
	p.endNode(n, state, a.Error)
}

func failureData(a *record.Action) record.Document {
	data := record.Document{"action": a.ID, "attempt": int64(a.Attempt)}
	if a.Error != nil {
		data["code"], data["message"] = a.Error.Code, a.Error.Message
	}
	return data
}

func (p *Plan) nextAttempt(n *node, e *record.NodeStage, a *record.Action, wait time.Duration) {
	next := p.now.Add(wait)
	e.NextTS = &next
	p.mark(n)
	p.wakeAt(next, n.rec.Node)
	data := failureData(a)
	data["next_ts"] = next.Format(time.RFC3339Nano)
	p.event(record.EventActionRetry, n.rec.Node, a.Stage, a.Step, data)
}

// backoff doubles with every failed attempt up to its bound.
func backoff(retry playbook.Retry, failed int) time.Duration {
	wait := retry.Backoff
	for i := 1; i < failed && wait < retry.MaxBackoff; i++ {
		wait *= 2
	}
	if retry.MaxBackoff > 0 {
		wait = min(wait, retry.MaxBackoff)
	}
	return wait
}

// unknown does what the step says about an end that nobody knows.
func (p *Plan) unknown(n *node, e *record.NodeStage, a *record.Action) {
	step := &p.stageSpec().Steps[e.Step]
	switch {
	case p.run.State == record.RunCancelling:
		p.endNode(n, record.NodeUnknown, a.Error)
	case step.OnUnknown == playbook.UnknownHealth:
		since := p.now
		e.GateTS, e.HealthyTS, n.unwell = &since, nil, ""
		p.mark(n)
	case step.OnUnknown == playbook.UnknownRetry && !a.Unsettled:
		p.failedAttempt(n, e, a)
	case step.OnUnknown == playbook.UnknownRetry:
		until := p.now.Add(step.Timeout)
		e.SettleUntil = &until
		p.mark(n)
	default:
		p.endNode(n, record.NodeUnknown, a.Error)
	}
}

// awaitEnd waits for an agent to say that an UNKNOWN action is over, so that it can be tried again.
func (p *Plan) awaitEnd(n *node, e *record.NodeStage) {
	if p.now.Before(*e.SettleUntil) {
		p.wakeAt(*e.SettleUntil, n.rec.Node)
		return
	}
	p.endNode(n, record.NodeUnknown, n.lastAction().Error)
}
