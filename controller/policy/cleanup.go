package policy

import (
	"slices"

	"github.com/replicante-io/playbooks/playbook"
	"github.com/replicante-io/playbooks/record"
)

// cleanupPass takes all nodes of the run through the stages that run whatever happened. Each of them runs also when an earlier one has failed.
func cleanupPass(spec *playbook.Spec, number int) pass {
	p := pass{kind: record.PassCleanup, number: number, afterOutcome: true,
		limits: limits{failuresOf: []record.PassKind{record.PassCleanup}}, takesPart: isCleanedUp}
	for i := range spec.Stages {
		if spec.Stages[i].Always {
			p.stages = append(p.stages, passStage{&spec.Stages[i], spec.Stages[i].Steps})
		}
	}
	return p
}

// isCleanedUp reports whether the stages that run whatever happened may be for a node: it is there, it was part of the run, and nothing runs on it.
func isCleanedUp(n *record.RunNode) bool {
	if n.Membership == record.MemberRemoved || n.Unsettled() {
		return false
	}
	switch n.State {
	case record.NodeAdded, record.NodeRemoved:
		return false
	case record.NodeSkipped: // not those that the run was not for
		last := len(n.History) - 1
		return last >= 0 && n.History[last].Cause != nil && n.History[last].Cause.Code == record.CauseNoStage
	}
	return true
}

// cleanupDue reports whether stages that run whatever happened have to run before the run ends: not where nothing has begun since they ran last.
func (p *Plan) cleanupDue() bool {
	if p.run.StartTS == nil || p.config.Refused.Run != "" || p.pass.kind == record.PassCleanup || len(cleanupPass(p.spec, 1).stages) == 0 {
		return false
	}
	return p.pass.kind != record.PassRetry || slices.ContainsFunc(p.run.Stages[p.lastRetry():], func(st record.RunStage) bool { return st.StartTS != nil })
}

// beginCleanup begins the stages that run whatever happened. All nodes have ended.
func (p *Plan) beginCleanup(outcome record.RunState) {
	p.run.Outcome = p.judge(outcome)
	if p.run.State == record.RunRollingBack {
		p.setRun(record.RunRunning)
	}
	p.beginPass(cleanupPass(p.spec, p.passesOf(record.PassCleanup)+1))
}

// cleanedUp ends the node's part in a stage of the cleanup: it is again what it was, unless it was DONE and has failed now.
func (p *Plan) cleanedUp(n *node, failed *record.Error) {
	before := n.rec.Before
	if failed != nil {
		failed = &record.Error{Code: record.CodeCleanupFailed, Data: record.Document{"stage": p.stageSpec().Name, "error": asData(failed)}}
		if n.rec.Error == nil {
			n.rec.Error = failed
		}
	}
	switch skipped := before.State == record.NodeSkipped; {
	case failed == nil && skipped:
		n.rec.Before = nil
		p.setNode(n, record.NodeDone, nil)
	case failed != nil && (skipped || before.State == record.NodeDone):
		n.rec.Before, n.rec.Error = nil, failed
		p.setNode(n, record.NodeFailed, failed)
	default:
		p.asBefore(n)
	}
}

// cleanupExceeded reports whether an open stage of the cleanup that is not to continue has more failures than it allows.
func (p *Plan) cleanupExceeded() bool {
	return p.pass.kind == record.PassCleanup && p.stageOpen() && p.stage().Error == nil &&
		p.stageSpec().OnFailure != playbook.FailureContinue && p.stageFailures() > p.failureLimit()
}

// failCleanup ends a stage of the cleanup that cannot continue: no further batch of it is opened, and the run has failed.
func (p *Plan) failCleanup(err *record.Error) {
	st := p.stage()
	st.Error = err
	p.pending.run = true
	if p.run.Outcome == record.RunDone {
		p.run.Outcome, p.run.Error = record.RunFailed, err
	}
	for _, name := range p.names {
		n := p.nodes[name]
		if e := p.entryOf(n); e != nil && e.State == record.NodeStagePending && n.rec.Before != nil {
			p.cancelNodeRequests(n)
			p.setEntry(n, e, record.NodeStageNotReached, err)
			p.asBefore(n)
		}
	}
	for _, g := range p.groups {
		g.pending = nil
		p.cancelRequest(p.stageKey(ForSelection, g))
	}
	if st.State == record.StagePending {
		p.cancelRequest(p.stageKey(ForTargets, nil))
		p.endStage(st, record.StageFailed)
		p.run.StageIndex++
	}
}
