package policy

import (
	"slices"

	"github.com/replicante-io/playbooks/playbook"
	"github.com/replicante-io/playbooks/record"
)

// rollbackPass runs the rollback steps of stages on the nodes that they touched, the last stage first and of each the newest batch first. What
// keeps other batches from being opened does not keep these, and failures do not stop it.
func rollbackPass(spec *playbook.Spec, rollback *record.RunRollback) pass {
	p := pass{kind: record.PassRollback, number: rollback.Number, afterOutcome: true,
		limits: limits{failuresOf: []record.PassKind{record.PassRollback}}, takesPart: func(*record.RunNode) bool { return true }}
	for _, name := range rollback.Stages {
		at := slices.IndexFunc(spec.Stages, func(s playbook.Stage) bool { return s.Name == name })
		if at < 0 {
			continue
		}
		s := spec.Stages[at]
		steps := s.Rollback
		s.Targets, s.OrderBy, s.Groups, s.Guard, s.Pick, s.MaxUnavailable = nil, nil, nil, nil, nil, nil
		s.Approval, s.OnFailure, s.MaxFailures, s.BatchPause = nil, playbook.FailureContinue, playbook.Amount{}, 0
		p.stages = append(p.stages, passStage{&s, steps})
	}
	return p
}

// planRollback notes the rollback that the failure of the open stage calls for. It begins once nothing is in flight.
func (p *Plan) planRollback() {
	spec := p.stageSpec()
	if spec.OnFailure != playbook.FailureRollback && spec.OnFailure != playbook.FailureRollbackRun {
		return
	}
	p.run.Rollback = &record.RunRollback{State: record.RollbackPending, Number: p.passesOf(record.PassRollback) + 1, Stage: spec.Name}
	p.pending.run = true
}

// rollbackDue reports whether the run has to be rolled back before it ends.
func (p *Plan) rollbackDue() bool {
	return p.run.Rollback != nil && p.run.Rollback.State == record.RollbackPending && p.run.Outcome == record.RunFailed && p.config.Refused.Run == ""
}

// dropRollback takes back a rollback that is due: an operator cancels the run first.
func (p *Plan) dropRollback() {
	if p.rollbackDue() {
		rollback := *p.run.Rollback
		rollback.State = record.RollbackCancelled
		p.run.Rollback = &rollback
	}
}

// beginRollback begins the rollback that is due. All nodes have ended.
func (p *Plan) beginRollback() {
	rollback := *p.run.Rollback
	rollback.State = record.RollbackRunning
	touched := map[string]bool{}
	failed := slices.IndexFunc(p.spec.Stages, func(s playbook.Stage) bool { return s.Name == rollback.Stage })
	for i := len(p.spec.Stages) - 1; i >= 0; i-- {
		spec := &p.spec.Stages[i]
		if spec.Always || len(spec.Rollback) == 0 || spec.Name != rollback.Stage && p.spec.Stages[failed].OnFailure == playbook.FailureRollback {
			continue
		}
		nodes := 0
		for _, name := range p.names {
			if p.nodes[name].touchedBy(spec.Name) {
				touched[name] = true
				nodes++
			}
		}
		if nodes > 0 || spec.Name == rollback.Stage {
			rollback.Stages = append(rollback.Stages, spec.Name)
		}
	}
	p.run.Rollback = &rollback
	p.setRun(record.RunRollingBack)
	p.beginPass(rollbackPass(p.spec, &rollback))
	stages := make([]any, len(rollback.Stages))
	for i, name := range rollback.Stages {
		stages[i] = name
	}
	p.event(record.EventRunRollingBack, "", rollback.Stage, "", record.Document{"stages": stages, "nodes": int64(len(touched))})
}

// touchedBy reports whether an action of the stage may have been sent to the node and was not rolled back since.
func (n *node) touchedBy(stage string) bool {
	return slices.ContainsFunc(n.rec.Actions, func(a record.Action) bool { return a.Stage == stage && n.stands(&a) })
}

// rollsBack reports whether the stage has to be rolled back on the node by this pass.
func (p *Plan) rollsBack(n *node, stage string) bool {
	for i := range n.rec.Stages {
		e := &n.rec.Stages[i]
		if e.Pass == record.PassRollback && e.PassNumber == p.pass.number && e.State != record.NodeStageDone && e.State != record.NodeStagePending && !e.State.InBatch() {
			return false // it could not be
		}
	}
	return n.touchedBy(stage)
}

// openRollback opens a stage of a rollback for the nodes that it touched. Those that cannot be rolled back have failed.
func (p *Plan) openRollback() {
	spec := p.stageSpec()
	var targets []*node
	for _, name := range p.names {
		if n := p.nodes[name]; p.rollsBack(n, spec.Name) {
			targets = append(targets, n)
		}
	}
	p.openReopened(targets)
	batches := map[batchID]bool{}
	for _, n := range targets {
		batches[n.forwardBatch(spec.Name)] = true
		switch {
		case n.rec.Unsettled():
			p.endNode(n, record.NodeFailed, &record.Error{Code: record.CodeUnsettled, Data: record.Document{"run": p.run.ID, "node": n.rec.Node, "stage": spec.Name}})
		case n.rec.Membership == record.MemberRemoved:
			p.endNode(n, record.NodeFailed, &record.Error{Code: record.CauseRemoved})
		}
	}
	p.stage().Batches = len(batches)
}

// rolledBack ends the node's part in a stage of the rollback. It is ROLLED_BACK once no other stage has to be rolled back on it, and ROLLBACK_FAILED
// as soon as one could not be.
func (p *Plan) rolledBack(n *node, failed *record.Error) {
	if failed == nil {
		for _, later := range p.pass.stages[min(p.run.StageIndex+1, len(p.pass.stages)):] {
			if n.touchedBy(later.Name) {
				p.setNode(n, record.NodeWaiting, &record.Error{Code: record.CauseBetween, Data: record.Document{"after": p.stageSpec().Name}})
				return
			}
		}
	}
	rollback := *p.run.Rollback
	n.rec.Before = nil
	if failed != nil {
		rollback.Failed++
		failed = &record.Error{Code: record.CodeRollbackFailed, Data: record.Document{"stage": p.stageSpec().Name, "error": asData(failed)}}
		n.rec.Error = failed
		p.setNode(n, record.NodeRollbackFailed, failed)
	} else {
		rollback.RolledBack++
		p.setNode(n, record.NodeRolledBack, nil)
	}
	p.run.Rollback, p.pending.run = &rollback, true
	p.mark(n)
}

// endRollback records how the rollback ended. Nodes that it was stopped before have failed. It is false while there are more than one commit should hold.
func (p *Plan) endRollback() bool {
	if p.pass.kind != record.PassRollback || p.run.Rollback.State != record.RollbackRunning {
		return true
	}
	for at := min(p.run.StageIndex, len(p.pass.stages)); at < len(p.pass.stages); at++ {
		for _, name := range p.names {
			n := p.nodes[name]
			if n.rec.State == record.NodeRollbackFailed || !p.rollsBack(n, p.pass.stages[at].Name) {
				continue
			}
			if !p.room() {
				p.more = true
				return false
			}
			p.rolledBack(n, p.stopped())
		}
	}
	rollback := *p.run.Rollback
	switch {
	case p.run.Kill:
		rollback.State = record.RollbackCancelled
	case rollback.Failed > 0:
		rollback.State = record.RollbackFailed
	default:
		rollback.State = record.RollbackDone
	}
	p.run.Rollback, p.pending.run = &rollback, true
	data := record.Document{"state": string(rollback.State), "rolled_back": int64(rollback.RolledBack)}
	if rollback.State == record.RollbackDone {
		p.event(record.EventRunRolledBack, "", rollback.Stage, "", data)
		return true
	}
	data["failed"], data["named"] = int64(rollback.Failed), p.rollbackFailures()
	p.event(record.EventRunRollbackFailed, "", rollback.Stage, "", data)
	return true
}

// rollbackFailures says of at most three nodes why they could not be rolled back.
func (p *Plan) rollbackFailures() []any {
	named := []any{}
	for _, name := range p.names {
		if n := p.nodes[name]; n.rec.State == record.NodeRollbackFailed && len(named) < maxNamed {
			named = append(named, map[string]any{"node": name, "error": asData(n.rec.Error)})
		}
	}
	return named
}

// stopped is why a rollback or a cleanup did not go on.
func (p *Plan) stopped() *record.Error {
	if p.run.Error != nil && p.run.Outcome == record.RunCancelled {
		return p.run.Error
	}
	return &record.Error{Code: record.CauseRunFailed}
}
