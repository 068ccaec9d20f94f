package policy

import (
	"slices"

	"github.com/replicante-io/playbooks/playbook"
	"github.com/replicante-io/playbooks/record"
)

// maxNamed is how many nodes are named where many are concerned.
const maxNamed = 3

// sharing are the records of the stage that the run is at, in all passes that share its budget.
func (p *Plan) sharing() []*record.RunStage {
	var all []*record.RunStage
	for i := p.lastRetry(); i < len(p.run.Stages); i++ {
		st := &p.run.Stages[i]
		if p.pass.afterOutcome && st.PassNumber != p.pass.number {
			continue
		}
		if st.Name == p.stageSpec().Name && slices.Contains(p.pass.limits.failuresOf, st.Pass) {
			all = append(all, st)
		}
	}
	return all
}

// lastRetry is the place of the first record of the last retry: it shares no budget with what was before it. Without a retry it is 0.
func (p *Plan) lastRetry() int {
	for i := len(p.run.Stages) - 1; i >= 0; i-- {
		if p.run.Stages[i].Pass != record.PassRetry {
			continue
		}
		for number := p.run.Stages[i].PassNumber; i > 0 && p.run.Stages[i-1].Pass == record.PassRetry && p.run.Stages[i-1].PassNumber == number; {
			i--
		}
		return i
	}
	return 0
}

// stageTotal is how many nodes the stage is for.
func (p *Plan) stageTotal() int {
	total := 0
	for _, st := range p.sharing() {
		total += st.Total
	}
	return total
}

func (p *Plan) stageFailures() int {
	failures := 0
	for _, st := range p.sharing() {
		failures += st.Counts[record.NodeFailed] + st.Counts[record.NodeUnknown]
	}
	return failures
}

func (p *Plan) failureLimit() int { return p.stageSpec().MaxFailures.Of(p.stageTotal()) }

// exceeded reports whether more nodes of the open stage have failed than it allows, or an operator has accepted.
func (p *Plan) exceeded() bool {
	if !p.stageOpen() || p.pass.afterOutcome || p.stageSpec().OnFailure == playbook.FailureContinue {
		return false
	}
	accepted := 0
	for _, st := range p.sharing() {
		accepted = max(accepted, st.AcceptedFailures)
	}
	return p.stageFailures() > max(p.failureLimit(), accepted)
}

// overBudget does what the stage says about too many failures.
func (p *Plan) overBudget() bool {
	spec := p.stageSpec()
	data := p.failures(spec.Name)
	data["nodes"] = int64(p.stageTotal())
	data["stage"], data["max_failures"] = spec.Name, int64(p.failureLimit())
	err := &record.Error{Code: record.CodeMaxFailures, Data: data}
	if spec.OnFailure == playbook.FailurePause {
		p.pauseFor(err)
	} else {
		p.planRollback()
		p.failStage(err)
	}
	return true
}

// failures says which nodes failed, of a stage or, where stage is empty, of the whole run and were not replaced, and why, for at most three.
func (p *Plan) failures(stage string) record.Document {
	failed, named, full := 0, []any{}, p.fullPicks()
	for _, name := range p.names {
		n := p.nodes[name]
		if n.rec.State != record.NodeFailed && n.rec.State != record.NodeUnknown ||
			stage != "" && !hasEntry(&n.rec, stage) || stage == "" && n.replaced(full) {
			continue
		}
		if failed++; failed <= maxNamed {
			one := record.Document{"node": name}
			if n.rec.Error != nil {
				one["error"] = asData(n.rec.Error)
			}
			named = append(named, map[string]any(one))
		}
	}
	return record.Document{"failed": int64(failed), "nodes": int64(len(p.names)), "named": named}
}

func hasEntry(n *record.RunNode, stage string) bool {
	return slices.ContainsFunc(n.Stages, func(e record.NodeStage) bool { return e.Name == stage })
}

// asData is an error as a value of a Document.
func asData(err *record.Error) map[string]any {
	data := map[string]any{"code": err.Code}
	if err.Message != "" {
		data["message"] = err.Message
	}
	if len(err.Data) > 0 {
		data["data"] = map[string]any(err.Data)
	}
	return data
}
