package policy

import (
	"maps"

	"github.com/replicante-io/playbooks/playbook"
	"github.com/replicante-io/playbooks/record"
)

// acts reports whether an action of the node is in flight.
func (n *node) acts() bool {
	a := n.lastAction()
	return a != nil && a.State.InFlight()
}

// awaitsEnd reports whether the node waits, in its batch, for the end of an UNKNOWN action to be known or for its health to decide.
func (n *node) awaitsEnd() bool {
	e := n.batchEntry()
	return e != nil && (e.State == record.NodeStageSettling || e.State == record.NodeStageVerifying)
}

// lastAction is the latest action of the node, of any stage. Only it can be in flight or unsettled.
func (n *node) lastAction() *record.Action {
	if len(n.rec.Actions) == 0 {
		return nil
	}
	return &n.rec.Actions[len(n.rec.Actions)-1]
}

// lastActionOf is the latest action of an entry of the node; nil when there is none.
func (n *node) lastActionOf(e *record.NodeStage) *record.Action {
	for i := len(n.rec.Actions) - 1; i >= 0; i-- {
		if a := &n.rec.Actions[i]; of(a, e) {
			return a
		}
	}
	return nil
}

// of reports whether an action of a node is of an entry of it.
func of(a *record.Action, e *record.NodeStage) bool {
	return a.Stage == e.Name && a.Pass == e.Pass && a.PassNumber == e.PassNumber
}

// start saves the next attempt of the node's step, to be sent once it is stored.
func (p *Plan) start(n *node, e *record.NodeStage, step *playbook.Step, args record.Document) {
	attempt := 1
	for i := range n.rec.Actions {
		if a := &n.rec.Actions[i]; a.Stage == e.Name && a.Step == step.Name && (a.Pass == record.PassRollback) == (e.Pass == record.PassRollback) {
			attempt = max(attempt, a.Attempt+1)
			p.trim(n, a)
		}
	}
	if args == nil {
		args = record.Document{}
	}
	if n.dirty {
		p.written += record.Size(args)
	}
	n.rec.Actions = append(n.rec.Actions, record.Action{
		ID:    record.ActionID(p.run.ID, n.rec.Node, e.Name, e.Pass, step.Name, attempt),
		Stage: e.Name, Pass: e.Pass, PassNumber: e.PassNumber, Step: step.Name, Attempt: attempt,
		Kind: step.Action, Args: args, AgentURL: n.fact.AgentURL, JournalID: n.fact.JournalID,
		Term: p.run.Term, State: record.ActionSaved, StartTS: p.now, Timeout: step.Timeout.String(), DeadlineTS: p.now.Add(step.Timeout),
	})
	if larger(&n.rec, record.MaxRecord-startReserve) {
		n.rec.Actions = n.rec.Actions[:len(n.rec.Actions)-1]
		p.endNode(n, record.NodeFailed, tooLarge("the arguments", step.Name))
		return
	}
	p.setEntry(n, e, record.NodeStageActing, nil)
	p.entered++
	p.inFlight++
	p.dispatch(n, n.lastAction())
	p.checkGone(n)
}

// watch looks after an action in flight: its deadline, and the end of the patience with its stop.
func (p *Plan) watch(n *node, a *record.Action) {
	switch {
	case a.State == record.ActionCancelling:
		if !p.now.Before(*a.CancelUntil) {
			p.endAction(n, a, Ended{State: record.ActionUnknown, Unsettled: true, Error: &record.Error{
				Code: record.CodeUnknown, Data: record.Document{"step": a.Step, "agent_url": a.AgentURL},
			}})
		}
	case !p.now.Before(a.DeadlineTS):
		p.stopAction(n, a, record.CodeTimeout)
	case p.run.Kill:
		p.stopAction(n, a, record.CodeCancelled)
	}
}

func (p *Plan) stopAction(n *node, a *record.Action, code string) {
	a.State, a.CancelCode, a.CancelUntil = record.ActionCancelling, code, later(p.now, stopPatience)
	p.mark(n)
	p.dispatch(n, a)
}

// endAction records how an action in flight ended and moves its node on.
func (p *Plan) endAction(n *node, a *record.Action, in Ended) {
	if a.CancelCode == record.CodeTimeout && in.State == record.ActionFailed {
		in.Error = &record.Error{Code: record.CodeTimeout, Data: record.Document{
			"step": a.Step, "timeout": a.Timeout}}
	}
	p.inFlight--
	p.withdraw(n)
	delete(p.silent, n.rec.Node)
	p.recordEnd(n, a, in)
	if in.Unsettled {
		p.run.Unsettled++
		p.pending.run = true
		a.Unsettled = true
		p.dispatch(n, a)
	}
	p.checkGone(n)
	e := n.batchEntry()
	if e == nil {
		p.unlock(n)
		return
	}
	p.touch(n)
	switch a.State {
	case record.ActionDone:
		p.passStep(n, e)
	case record.ActionFailed:
		if a.Error.Code == record.CodeCancelled && p.run.State == record.RunCancelling && p.ending() {
			p.endNode(n, record.NodeCancelled, a.Error)
			return
		}
		p.failedAttempt(n, e, a)
	default:
		p.event(record.EventActionUnknown, n.rec.Node, a.Stage, a.Step, failureData(a))
		p.unknownEnd(n, e, a)
	}
}

// recordEnd puts an end into an action's record.
func (p *Plan) recordEnd(n *node, a *record.Action, in Ended) {
	in = p.expect(n, a, in)
	ended := p.now
	a.State, a.FinishTS, a.CancelUntil = in.State, &ended, nil
	a.Payload, a.ExitCode, a.StdoutTail, a.StderrTail, a.Error = in.Payload, in.ExitCode, in.StdoutTail, in.StderrTail, in.Error
	if a.State != record.ActionDone {
		a.Error = actionError(a)
	}
	p.boundEnd(n, a)
	p.mark(n)
	p.expression.addResult(n, a)
}

// maxStderrLine bounds, in bytes, the line of a command's output that its error carries.
const maxStderrLine = 300

// actionError is the error of an action that has ended, with what says most about it wherever it is named: the step, the exit code and the
// last line of the standard error.
func actionError(a *record.Action) *record.Error {
	err := record.Error{Code: record.CodeFailed}
	if a.Error != nil {
		err = *a.Error
	}
	data := record.Document{"step": a.Step}
	maps.Copy(data, err.Data)
	if a.ExitCode != nil {
		data["exit_code"] = int64(*a.ExitCode)
	}
	if line := record.LastLine(a.StderrTail, maxStderrLine); line != "" {
		data["last_stderr_line"] = line
	}
	err.Data = data
	return &err
}
