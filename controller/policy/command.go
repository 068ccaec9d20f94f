package policy

import (
	"github.com/replicante-io/playbooks/record"
)

func (c Command) apply(p *Plan) *record.RejectedError {
	var rejected *record.RejectedError
	switch c.Verb {
	case record.VerbPause:
		rejected = p.pause(c)
	case record.VerbResume:
		rejected = p.resume(c)
	case record.VerbCancel:
		rejected = p.cancel(c)
	case record.VerbApprove:
		rejected = p.approve(c)
	case record.VerbReject:
		rejected = p.reject(c)
	case record.VerbRetry:
		rejected = p.retry(c)
	case record.VerbResolve:
		rejected = p.resolve(c)
	default:
		rejected = &record.RejectedError{Code: record.CodeNotSupported, Data: record.Document{"verb": string(c.Verb)}}
	}
	if rejected == nil && c.Idempotency != nil {
		p.pending.idempotency = append(p.pending.idempotency, *c.Idempotency)
	}
	return rejected
}

// wrongState rejects a verb that the run's state does not allow, and says which would.
func (p *Plan) wrongState(c Command, right ...record.RunState) *record.RejectedError {
	states := make([]any, len(right))
	for i, state := range right {
		states[i] = string(state)
	}
	data := record.Document{"verb": string(c.Verb), "run": p.run.ID, "state": string(p.run.State), "allowed": states}
	if p.run.Outcome != "" && !p.ended() {
		data["outcome"] = string(p.run.Outcome)
	}
	if p.pass.afterOutcome {
		data["pass"] = string(p.pass.kind)
	}
	return &record.RejectedError{Code: record.CodeWrongState, Data: data}
}

// recordCommand stores what an operator has told the run.
func (p *Plan) recordCommand(kind record.EventType, c Command, node string, data record.Document) {
	if node == "" {
		p.run.LastCommand = &record.LastCommand{Verb: c.Verb, Actor: c.Actor, Reason: c.Reason, TS: p.now}
		p.pending.run = true
	}
	if c.Reason != "" {
		data["reason"] = c.Reason
	}
	p.event(kind, node, "", "", data)
	p.pending.events[len(p.pending.events)-1].Actor = c.Actor
}

func (p *Plan) pause(c Command) *record.RejectedError {
	if p.run.State != record.RunRunning || p.run.Outcome != "" {
		return p.wrongState(c, record.RunRunning)
	}
	if p.stopsLater() {
		p.stopLater(record.RunPausing)
	} else {
		p.setRun(record.RunPausing)
		p.cancelRequests()
	}
	p.recordCommand(record.EventRunPausing, c, "", p.togetherData())
	return nil
}

func (p *Plan) resume(c Command) *record.RejectedError {
	if p.run.State != record.RunPaused && p.run.State != record.RunPausing {
		return p.wrongState(c, record.RunPaused, record.RunPausing)
	}
	p.setRun(record.RunRunning)
	p.run.TimeoutSpentMS = 0
	if p.run.AfterTogether { // nothing has stopped yet
		p.run.AfterTogether, p.run.Error = false, nil
		p.recordCommand(record.EventRunResumed, c, "", record.Document{})
		return nil
	}
	accepts := p.run.Error != nil && p.run.Error.Code == record.CodeMaxFailures // what the operator has seen
	p.run.Error = nil
	p.recordCommand(record.EventRunResumed, c, "", record.Document{})
	if p.stage() != nil {
		p.reopenStage(accepts)
	}
	for _, name := range p.names {
		n := p.nodes[name]
		e := n.batchEntry()
		if e == nil {
			continue
		}
		if e.State == record.NodeStageVerifying {
			p.startVerifying(n, e)
		}
		p.touch(n)
	}
	return nil
}

// reopenStage gives the waits of the open stage their full time again.
func (p *Plan) reopenStage(acceptFailures bool) {
	st := p.stage()
	st.Waiting = nil
	if acceptFailures {
		st.AcceptedFailures = p.stageFailures()
	}
	for i := range st.Groups {
		if w := st.Groups[i].Waiting; w == nil || w.For != record.WaitPause {
			st.Groups[i].Waiting = nil
		}
		if g := p.groups[st.Groups[i].Key]; g != nil && st.Groups[i].State == record.GroupChecking {
			p.cancelRequest(p.stageKey(ForGate, g))
		}
	}
	p.pending.run = true
}

func (p *Plan) cancel(c Command) *record.RejectedError {
	if p.run.State.Final() || (p.run.State == record.RunCancelling || p.pass.afterOutcome) && (p.run.Kill || !c.Kill) {
		return p.wrongState(c, record.RunPendingApprove, record.RunPending, record.RunRunning, record.RunPausing, record.RunPaused)
	}
	p.pending.run = true
	p.run.Error = &record.Error{Code: record.CodeCancelled, Data: p.cancelData(c)}
	if !c.Kill && p.stopsLater() {
		p.stopLater(record.RunCancelling)
		p.recordCommand(record.EventRunCancelling, c, "", p.togetherData())
		return nil
	}
	p.setRun(record.RunCancelling)
	p.dropRollback()
	p.run.Outcome, p.run.Kill, p.run.ApprovalUntil, p.run.AfterTogether = record.RunCancelled, c.Kill, nil, false
	p.cancelRequests()
	p.recordCommand(record.EventRunCancelling, c, "", record.Document{})
	if c.Kill {
		for _, name := range p.names {
			if a := p.nodes[name].lastAction(); a != nil && a.State.InFlight() {
				p.touch(p.nodes[name])
			}
		}
	}
	return nil
}

// cancelData says who cancelled the run and why. A second command without a reason keeps the first one's.
func (p *Plan) cancelData(c Command) record.Document {
	data := record.Document{}
	if c.Actor != "" {
		data["actor"] = c.Actor
	}
	if p.pass.afterOutcome && p.run.Error != nil && p.run.Error.Code != record.CodeCancelled {
		data["before"] = asData(p.run.Error)
	}
	if c.Reason != "" {
		data["reason"] = c.Reason
	} else if before := p.run.Error; before != nil && before.Code == record.CodeCancelled && before.Data["reason"] != nil {
		data["reason"] = before.Data["reason"]
	}
	return data
}
