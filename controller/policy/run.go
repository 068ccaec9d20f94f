package policy

import (
	"github.com/replicante-io/playbooks/record"
)

// progresses reports whether the run takes decisions about its stages in its state.
func (p *Plan) progresses() bool {
	switch p.run.State {
	case record.RunRunning, record.RunCancelling, record.RunRollingBack:
		return true
	case record.RunPausing:
		return p.run.AfterTogether
	}
	return false
}

// ending reports whether nothing more of the run's pass starts: the outcome of the run is decided, and the pass is none that runs then, or is
// stopped as well.
func (p *Plan) ending() bool { return p.run.Outcome != "" && (!p.pass.afterOutcome || p.run.Kill) }

// hasBegun reports whether the run was admitted: before that, what happens to nodes is as if it had happened before the run.
func (p *Plan) hasBegun() bool {
	return p.run.State != record.RunPending && p.run.State != record.RunPendingApprove
}

// progress takes one decision about the run as a whole, and reports whether it did.
func (p *Plan) progress() bool {
	switch {
	case len(p.run.PutBack) > 0:
		return p.putBack()
	case p.run.State == record.RunPendingApprove:
		return p.expireApproval(p.spec.Approval, p.run.ApprovalUntil, "")
	case p.timedOut():
		return p.pauseForTimeout()
	case p.run.AfterTogether && !p.insideTogether():
		return p.stopNow()
	case p.run.State == record.RunPausing && !p.run.AfterTogether:
		if p.inFlight > 0 {
			return false
		}
		p.setRun(record.RunPaused)
		p.dropChosen()
		p.dropApproval()
		p.event(record.EventRunPaused, "", "", "", nil)
		return true
	case !p.progresses():
		return false
	case !p.ending():
		return p.progressStage()
	case p.inFlight > 0:
		return false
	}
	if decided, open := p.lastGates(); decided || open {
		return decided
	}
	return p.nextPass()
}

// lastGates decides about the nodes of a failed run that passed all steps and wait for their gates. Open is whether such a gate is left.
func (p *Plan) lastGates() (decided, open bool) {
	if p.run.Outcome != record.RunFailed || !p.stageOpen() {
		return false, false
	}
	for i := range p.stage().Groups {
		g := p.groups[p.stage().Groups[i].Key]
		if g.passed == 0 {
			continue
		}
		if p.gate(g) {
			return true, true
		}
		open = true
	}
	return false, open
}

// fail decides that the run ends FAILED once what is in flight has ended, also if it is paused. The first reason stands.
func (p *Plan) fail(err *record.Error) {
	if p.run.Outcome != "" {
		return
	}
	if p.run.State == record.RunPausing || p.run.State == record.RunPaused || p.run.AfterTogether {
		p.setRun(record.RunRunning)
	}
	p.run.AfterTogether = false
	p.run.Outcome, p.run.Error = record.RunFailed, err
	p.pending.run = true
	p.cancelRequests()
}

// pauseFor pauses the run because something needs an operator.
func (p *Plan) pauseFor(err *record.Error) {
	if p.run.AfterTogether && p.run.State == record.RunCancelling { // the stages that run together cannot go on
		p.stopNow()
		return
	}
	if p.run.State != record.RunRunning && !p.run.AfterTogether || p.run.Outcome != "" {
		return
	}
	p.run.AfterTogether = false
	p.setRun(record.RunPausing)
	p.cancelRequests()
	p.run.Error = err
	p.event(record.EventRunPausing, "", "", "", withCause(record.Document{}, err))
}

func (p *Plan) setRun(state record.RunState) {
	if p.run.State != state {
		p.run.State = state
		p.pending.run = true
	}
}
