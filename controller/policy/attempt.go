package policy

import (
	"time"

	"github.com/replicante-io/playbooks/playbook"
	"github.com/replicante-io/playbooks/record"
)

// failedAttempt schedules the next attempt of a step, or fails the node.
func (p *Plan) failedAttempt(n *node, e *record.NodeStage, a *record.Action) {
	step := &p.stageSpec().steps[e.Step]
	retry := step.Retry
	e.HealthyTS = nil
	if a.State == record.ActionUnknown && step.OnUnknown == playbook.UnknownRetry && retry.Attempts == 1 {
		retry.Attempts = unknownAttempts // one attempt alone would make of on_unknown: retry a fail
	}
	switch {
	case n.refused == "" && a.Error.Code == record.CodeNeverStarted && a.CancelCode == "":
		if a.Attempt <= retry.Attempts+maxNeverStarted {
			p.nextAttempt(n, e, a, retry, retry.Backoff)
			return
		}
	case n.refused != "", refusedForGood(a):
		e.FailedAttempts++
	default:
		if e.FailedAttempts++; e.FailedAttempts < retry.Attempts {
			p.nextAttempt(n, e, a, retry, backoff(retry, e.FailedAttempts))
			return
		}
	}
	p.event(record.EventActionFailed, n.rec.Node, a.Stage, a.Step, failureData(a))
	state := record.NodeFailed
	if a.State == record.ActionUnknown {
		state = record.NodeUnknown
	}
	p.endNode(n, state, a.Error)
}

// refusedForGood reports whether an attempt failed for a reason that the next one would meet again: the agent does not know the action,
// cannot read its arguments, or has seen a term that this installation cannot reach; or how the attempt ended cannot be recorded.
func refusedForGood(a *record.Action) bool {
	switch a.Error.Code {
	case record.CodeRejected, record.CodeTermRefused, record.CodeRecordTooLarge, record.CodeNotStorable, record.CodeExpression:
		return a.State == record.ActionFailed
	}
	return false
}

func failureData(a *record.Action) record.Document {
	return withCause(record.Document{"action": a.ID, "attempt": int64(a.Attempt)}, a.Error)
}

func (p *Plan) nextAttempt(n *node, e *record.NodeStage, a *record.Action, retry playbook.Retry, wait time.Duration) {
	next := later(p.now, wait)
	attempts := int64(a.Attempt + retry.Attempts - e.FailedAttempts) // the number of the last one that there can be
	data := failureData(a)
	data["next_ts"], data["attempts"] = next.Format(time.RFC3339Nano), attempts
	p.event(record.EventActionRetry, n.rec.Node, a.Stage, a.Step, data)
	p.cancelRequest(nodeKey(ForVerifying, n))
	p.setEntry(n, e, record.NodeStageBackoff, nil)
	p.setWait(n, e, &record.Wait{For: record.WaitRetry, Since: p.now, Until: next, Stage: e.Name, Node: n.rec.Node,
		Data: withCause(record.Document{"step": a.Step, "attempt": int64(a.Attempt), "attempts": attempts}, a.Error)})
	p.touch(n)
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

// unknownEnd does what the step says about an end that is not known.
func (p *Plan) unknownEnd(n *node, e *record.NodeStage, a *record.Action) {
	step := &p.stageSpec().steps[e.Step]
	switch {
	case p.run.State == record.RunCancelling && p.ending():
		p.endNode(n, record.NodeUnknown, a.Error)
	case step.OnUnknown == playbook.UnknownHealth:
		p.startVerifying(n, e)
	case step.OnUnknown == playbook.UnknownRetry && !a.Unsettled:
		p.failedAttempt(n, e, a)
	case step.OnUnknown == playbook.UnknownRetry:
		p.setEntry(n, e, record.NodeStageSettling, nil)
		p.setWait(n, e, &record.Wait{For: record.WaitUnsettled, Since: p.now, Until: later(p.now, step.Timeout), Stage: e.Name,
			Node: n.rec.Node, Data: record.Document{"step": step.Name}})
		p.touch(n)
	default:
		p.endNode(n, record.NodeUnknown, a.Error)
	}
}

// awaitSettled ends the node when its agent has not said in time that an UNKNOWN action has ended.
func (p *Plan) awaitSettled(n *node, e *record.NodeStage) {
	if !p.now.Before(*e.Waiting.Until) {
		p.endNode(n, record.NodeUnknown, n.lastAction().Error)
	}
}
