package policy

import (
	"github.com/replicante-io/playbooks/playbook"
	"github.com/replicante-io/playbooks/record"
)

// maxExpectSteps bounds what is spent on explaining why an expect is false, in steps of expressions.
const maxExpectSteps = 100_000

// expect has the expect of a step decide whether an action that ran to its end was a success, instead of what the action says of itself.
func (p *Plan) expect(n *node, a *record.Action, in Ended) Ended {
	step := p.stepOf(a)
	if step == nil || step.Expect == nil || !ranToItsEnd(a, in) {
		return in
	}
	vars := p.vars(n, nil)
	vars["result"] = resultVar(in)
	holds, err := step.Expect.Bool(vars)
	if err == nil && holds {
		in.State, in.Error = record.ActionDone, nil
		return in
	}
	data := record.Document{"expect": step.Expect.String()}
	left := maxExpectSteps
	if values := readings(step.Expect.Explain(vars, &left).Readings); len(values) > 0 {
		data["values"] = values
	}
	if in.Error != nil {
		data["failed_with"] = asData(in.Error)
	}
	switch {
	case err == nil:
		in.Error = &record.Error{Code: record.CodeExpect, Data: data}
	case in.State == record.ActionDone:
		in.Error = &record.Error{Code: record.CodeExpression, Data: about{what: "expect", step: a.Step, node: n.rec.Node}.data(a.Stage, err)}
	}
	in.State = record.ActionFailed // with its own error, where it failed and the expression cannot be decided
	return in
}

// stepOf is the step that an action is an attempt of; nil when there is none.
func (p *Plan) stepOf(a *record.Action) *playbook.Step {
	for i := range p.spec.Stages {
		stage := &p.spec.Stages[i]
		if stage.Name != a.Stage {
			continue
		}
		for _, steps := range [][]playbook.Step{stage.Steps, stage.Rollback} {
			for j := range steps {
				if steps[j].Name == a.Step {
					return &steps[j]
				}
			}
		}
	}
	return nil
}

// ranToItsEnd reports whether an action that has ended did so by itself: it was started, and not stopped.
func ranToItsEnd(a *record.Action, in Ended) bool {
	switch in.State {
	case record.ActionDone:
		return true
	case record.ActionFailed:
		if a.CancelCode != "" || in.Error == nil {
			return a.CancelCode == ""
		}
		switch in.Error.Code {
		case record.CodeExit, record.CodeFailed:
			return true
		}
	}
	return false
}

// resultVar is how an action ended, as expect sees it.
func resultVar(in Ended) map[string]any {
	result := map[string]any{}
	if in.ExitCode != nil {
		result["exit_code"] = int64(*in.ExitCode)
	}
	if in.Payload != nil {
		result["payload"] = map[string]any(in.Payload)
	}
	if in.Error != nil {
		message, _ := in.Error.Data["message"].(string)
		result["error"] = map[string]any{"code": in.Error.Code, "message": message}
	}
	return result
}
