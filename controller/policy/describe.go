package policy

import (
	"slices"

	"github.com/replicante-io/playbooks/playbook"
	"github.com/replicante-io/playbooks/record"
)

// describe is what a playbook says, before anything is decided, and whether its guards hold on what was seen.
func describe(run *record.Run, spec *playbook.Spec, seen *facts) planned {
	p := &Plan{run: *run, spec: spec}
	d := planned{
		Plan: record.Plan{Cluster: run.Cluster, Params: run.Params, Where: run.Where, Only: run.Nodes, ObservedTS: run.CreatedTS,
			Playbook: record.PlanPlaybook{Name: run.Playbook.Name, Version: run.Playbook.Version, Revision: run.Playbook.Revision},
			Approval: p.describeApproval(spec.Approval), Together: spec.Together, Stages: []record.PlanStage{}},
		spec: map[string]*record.PlanStage{}, limits: map[string]playbook.Amount{}, open: map[stagePass]int{}, batch: map[batchKey]int{},
		placed: map[nodePass]bool{}, at: map[nodeStage]place{}, failed: map[string]bool{},
	}
	for i := range spec.Stages {
		stage := p.describeStage(&spec.Stages[i])
		p.look(&spec.Stages[i], stage.Guard, seen)
		d.spec[stage.Name], d.limits[stage.Name] = &stage, spec.Stages[i].MaxFailures
		d.open[stagePass{stage.Name, stage.Pass, 1}] = len(d.Stages)
		d.Stages = append(d.Stages, stage)
	}
	return d
}

func (p *Plan) describeApproval(approval *playbook.Approval) *record.PlanApproval {
	if approval == nil {
		return nil
	}
	described := &record.PlanApproval{Message: approval.Message.Known().Text(p.runVars())}
	if approval.Timeout > 0 {
		described.Timeout, described.OnTimeout = approval.Timeout.String(), string(approval.OnTimeout)
	}
	return described
}

func (p *Plan) describeStage(stage *playbook.Stage) record.PlanStage {
	d := record.PlanStage{
		Name: stage.Name, Pass: passKindOf(stage), Approval: p.describeApproval(stage.Approval), OnFailure: string(stage.OnFailure),
		AtRunTime: unplanable(stage), Batches: []record.PlanBatch{}, Steps: []record.PlanStep{},
	}
	if stage.OrderBy.KnownAtRunTime() {
		d.AtRunTime = append(d.AtRunTime, "order_by")
	}
	if stage.BatchPause > 0 {
		d.BatchPause = stage.BatchPause.String()
	}
	if guard := stage.Guard; guard != nil {
		d.Guard = &record.PlanGuard{Checks: describeCheck(guard.Check), Timeout: guard.Timeout.String(), OnTimeout: string(guard.OnTimeout)}
	}
	if health := stage.Health; health != nil {
		d.Health = &record.PlanHealth{Checks: describeCheck(health.Check), Timeout: health.Timeout.String()}
		if health.Settle > 0 {
			d.Health.Settle = health.Settle.String()
		}
	}
	for i := range stage.Steps {
		step := &stage.Steps[i]
		one := record.PlanStep{Name: step.Name, Action: step.Action, Timeout: step.Timeout.String()}
		if step.When != nil {
			one.When = step.When.String()
		}
		if step.When.KnownAtRunTime() {
			one.AtRunTime = append(one.AtRunTime, "when")
		}
		_, places := step.Args.Known()
		for _, place := range places {
			one.AtRunTime = append(one.AtRunTime, "args."+place)
		}
		d.Steps = append(d.Steps, one)
	}
	return d
}

// passKindOf is the pass in which a stage runs for the nodes that are known.
func passKindOf(stage *playbook.Stage) record.PassKind {
	if stage.Always {
		return record.PassCleanup
	}
	return record.PassMain
}

func describeCheck(check *playbook.Check) []record.PlanCheck {
	if check == nil {
		return nil
	}
	parts := make([]record.PlanCheck, len(check.Parts))
	for i, part := range check.Parts {
		parts[i] = record.PlanCheck{Name: part.Name, Check: part.String()}
	}
	return parts
}

// look says of a stage's guard whether it holds on what was seen.
func (p *Plan) look(stage *playbook.Stage, guard *record.PlanGuard, seen *facts) {
	if guard == nil || slices.ContainsFunc(stage.Guard.Check.Parts, func(part playbook.CheckPart) bool { return part.KnownAtRunTime() }) {
		return
	}
	nobody := &node{} // a guard is about no node of its own
	why := p.unmetCheck(stage.Guard.Check, nobody, seen)
	holds := why == nil
	if guard.Holds = &holds; !holds {
		left := maxExplainSteps
		guard.Error = p.explain(why, nobody, seen, &left)
	}
}
