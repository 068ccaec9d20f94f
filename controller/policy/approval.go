package policy

import (
	"time"

	"github.com/replicante-io/playbooks/playbook"
	"github.com/replicante-io/playbooks/record"
)

// AwaitApproval has a run that is about to be created wait for its approval, where its playbook wants one, and reports whether it does.
// Such a run has no place in the queue of its cluster until it is approved.
func AwaitApproval(create *record.Commit, spec *playbook.Spec) bool {
	if spec.Approval == nil {
		return false
	}
	run := &create.Run
	run.State = record.RunPendingApprove
	if spec.Approval.Timeout > 0 {
		run.ApprovalUntil = later(run.CreatedTS, spec.Approval.Timeout)
	}
	p := &Plan{run: *run, spec: spec, now: run.CreatedTS}
	p.setWaiting(p.runApproval())
	run.Waiting, run.Seq = p.run.Waiting, p.run.Seq
	create.Events = append(create.Events, p.pending.events...)
	return true
}

// runApproval is the wait of a run for its approval.
func (p *Plan) runApproval() *record.Wait {
	return p.newApproval(p.spec.Approval, p.run.CreatedTS, p.run.ApprovalUntil, "")
}

func (p *Plan) newApproval(spec *playbook.Approval, since time.Time, until *time.Time, stage string) *record.Wait {
	wait := &record.Wait{For: record.WaitApproval, Since: since, Until: until, Stage: stage, Data: record.Document{}}
	if text := spec.Message.Text(p.runVars()); text != "" {
		wait.Data["message"] = text
	}
	if until != nil {
		wait.Data["on_timeout"] = string(spec.OnTimeout)
	}
	return wait
}

// stageApproved reports whether the stage that the run is at may start. An approval of a stage holds for the whole run.
func (p *Plan) stageApproved() bool {
	spec := p.stageSpec()
	if spec.Approval == nil || p.pass.afterOutcome {
		return true
	}
	for i := range p.run.Stages {
		if st := &p.run.Stages[i]; st.Name == spec.Name && st.Approved {
			return true
		}
	}
	return false
}

// awaitApproval has the stage wait for its approval, and decides at the end of its time. It is false while it waits.
func (p *Plan) awaitApproval() bool {
	st, spec := p.stage(), p.stageSpec()
	if w := st.Waiting; w == nil || w.For != record.WaitApproval {
		var until *time.Time
		if spec.Approval.Timeout > 0 {
			until = later(p.now, spec.Approval.Timeout)
		}
		p.replaceWait(&st.Waiting, p.newApproval(spec.Approval, p.now, until, spec.Name))
		return false
	}
	return p.expireApproval(spec.Approval, st.Waiting.Until, spec.Name)
}

// expireApproval does what the playbook says where nobody has approved or rejected in time. Stage is empty for the run's approval.
func (p *Plan) expireApproval(spec *playbook.Approval, until *time.Time, stage string) bool {
	if until == nil || p.now.Before(*until) {
		return false
	}
	err := &record.Error{Code: record.CodeApprovalTimeout, Data: record.Document{"timeout": spec.Timeout.String()}}
	if stage != "" {
		err.Data["stage"] = stage
	}
	if spec.OnTimeout == playbook.TimeoutApprove {
		p.event(approvedEvent(stage), "", stage, "", withCause(record.Document{}, err))
		p.approved(stage)
		return true
	}
	p.event(rejectedEvent(stage), "", stage, "", withCause(record.Document{}, err))
	p.rejected(err)
	return true
}

func approvedEvent(stage string) record.EventType {
	if stage != "" {
		return record.EventStageApproved
	}
	return record.EventRunApproved
}

func rejectedEvent(stage string) record.EventType {
	if stage != "" {
		return record.EventStageRejected
	}
	return record.EventRunRejected
}

// approved lets the stage start or, where stage is empty, gives the run the last place in the queue of its cluster.
func (p *Plan) approved(stage string) {
	p.pending.run = true
	if stage != "" {
		st := p.stage()
		st.Approved, st.Waiting = true, nil
		return
	}
	queued := p.now
	p.run.QueuedTS, p.run.ApprovalUntil = &queued, nil
	p.setRun(record.RunPending)
	p.effects.EnterQueue = true
}

// rejected ends the run because what it waited for was not approved.
func (p *Plan) rejected(err *record.Error) {
	p.setRun(record.RunCancelling)
	p.run.Outcome, p.run.Error, p.run.ApprovalUntil = record.RunCancelled, err, nil
	p.cancelRequests()
	p.pending.run = true
}

// dropApproval ends the wait of a stage for its approval while the run is paused: after a resume it has its full time.
func (p *Plan) dropApproval() {
	if st := p.stage(); st != nil && st.Waiting != nil && st.Waiting.For == record.WaitApproval {
		p.replaceWait(&st.Waiting, nil)
	}
}

func (p *Plan) approve(c Command) *record.RejectedError {
	stage, rejected := p.approvalFor(c)
	if rejected != nil {
		return rejected
	}
	p.recordApproval(approvedEvent(stage), c, stage)
	p.approved(stage)
	return nil
}

func (p *Plan) reject(c Command) *record.RejectedError {
	stage, rejected := p.approvalFor(c)
	if rejected != nil {
		return rejected
	}
	err := &record.Error{Code: record.CodeApprovalRejected, Data: p.cancelData(c)}
	if stage != "" {
		err.Data["stage"] = stage
	}
	p.recordApproval(rejectedEvent(stage), c, stage)
	p.rejected(err)
	return nil
}

func (p *Plan) recordApproval(kind record.EventType, c Command, stage string) {
	p.recordCommand(kind, c, "", record.Document{})
	p.pending.events[len(p.pending.events)-1].Stage = stage
}

// openApproval is the approval that is waited for: that of a stage or, where stage is empty, the run's.
func (p *Plan) openApproval() (stage string, open bool) {
	if p.run.State == record.RunPendingApprove {
		return "", true
	}
	if st := p.stage(); p.run.State == record.RunRunning && p.run.Outcome == "" && st != nil && st.Waiting != nil && st.Waiting.For == record.WaitApproval {
		return st.Name, true
	}
	return "", false
}

// approvalFor is the approval that a command is about: that of a stage or, where stage is empty, the run's.
func (p *Plan) approvalFor(c Command) (stage string, rejected *record.RejectedError) {
	open, waits := p.openApproval()
	if waits && (c.Stage == "" || c.Stage == open) {
		return open, nil
	}
	if c.Stage == "" {
		return "", p.wrongState(c, record.RunPendingApprove, record.RunRunning)
	}
	state, names := record.StageState(""), []any{}
	for i := range p.run.Stages {
		if st := &p.run.Stages[i]; st.Name == c.Stage {
			state = st.State
		}
	}
	for i := range p.spec.Stages {
		names = append(names, p.spec.Stages[i].Name)
	}
	if state == "" {
		return "", &record.RejectedError{Code: record.CodeBadValue, Data: record.Document{"field": "stage", "allowed": names}}
	}
	rejected = p.wrongState(c)
	rejected.Data["stage"], rejected.Data["run_state"], rejected.Data["state"] = c.Stage, rejected.Data["state"], string(state)
	rejected.Data["allowed"] = []any{string(record.StagePending)}
	return "", rejected
}
