package policy

import (
	"fmt"

	"github.com/replicante-io/playbooks/playbook"
	"github.com/replicante-io/playbooks/record"
)

func (p *Plan) stageFailures() int {
	counts := p.stage().Counts
	return counts[record.NodeFailed] + counts[record.NodeUnknown]
}

// exceeded tells whether more nodes of the open stage have failed than it allows, or an operator has accepted.
func (p *Plan) exceeded() bool {
	if !p.started() || p.stageSpec().OnFailure == playbook.FailureContinue {
		return false
	}
	return p.stageFailures() > max(p.stageSpec().MaxFailures.Of(p.stage().Total), p.stage().Forgiven)
}

// overBudget does what the stage says about too many failures.
func (p *Plan) overBudget() bool {
	spec := p.stageSpec()
	message := fmt.Sprintf("stage %s: %s; max_failures is %d", spec.Name, p.failures(spec.Name), spec.MaxFailures.Of(p.stage().Total))
	if spec.OnFailure == playbook.FailurePause {
		p.pauseFor(record.CodeMaxFailures, message)
		return true
	}
	p.stage().Error = &record.Error{Code: record.CodeMaxFailures, Message: message}
	p.fail(record.CodeMaxFailures, message)
	return true
}

// failures says in plain words which nodes failed, of a stage or of the whole run, and why, for at most three.
func (p *Plan) failures(stage string) string {
	var failed []*node
	for _, name := range p.names {
		n := p.nodes[name]
		if n.rec.State != record.NodeFailed && n.rec.State != record.NodeUnknown {
			continue
		}
		if stage == "" || n.entryOf(stage) != nil {
			failed = append(failed, n)
		}
	}
	words := fmt.Sprintf("%d of %d nodes failed", len(failed), len(p.names))
	if len(failed) == 1 {
		words = fmt.Sprintf("1 of %d nodes failed", len(p.names))
	}
	for i, n := range failed[:min(3, len(failed))] {
		sep := "; "
		if i == 0 {
			sep = ": "
		}
		words += sep + n.rec.Node
		if n.rec.Error != nil {
			words += " (" + n.rec.Error.Message + ")"
		}
	}
	if len(failed) > 3 {
		words += fmt.Sprintf("; and %d more", len(failed)-3)
	}
	return words
}
