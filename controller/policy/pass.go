package policy

import (
	"maps"
	"slices"

	"github.com/replicante-io/playbooks/playbook"
	"github.com/replicante-io/playbooks/record"
)

// pass is one walk of a set of nodes through stages.
type pass struct {
	kind   record.PassKind
	number int // from 1 per kind
	stages []passStage
	limits limits
	// afterOutcome is true for a pass that runs although the outcome of the run is decided.
	afterOutcome bool
	// takesPart reports whether a node that is not done with the run belongs to the pass, or, after the outcome, any node.
	takesPart func(*record.RunNode) bool
}

// passStage is a stage as a pass runs it.
type passStage struct {
	*playbook.Stage
	steps []playbook.Step
}

// limits are the limits that hold in a pass.
type limits struct {
	// needsTargets fails a stage that is for no node, where the playbook does not allow it.
	needsTargets bool
	// failuresOf are the kinds of pass whose failures in a stage count against its max_failures.
	failuresOf []record.PassKind
}

// newPass makes the pass that a run is in. A run that has not begun is at its main pass.
func newPass(spec *playbook.Spec, run *record.Run) pass {
	switch run.Pass {
	case record.PassNewcomers:
		return newcomersPass(spec, run.PassNumber)
	case record.PassRetry:
		return retryPass(spec, run.PassNumber, stagesOf(run, record.PassRetry, run.PassNumber))
	case record.PassRollback:
		return rollbackPass(spec, run.Rollback)
	case record.PassCleanup:
		return cleanupPass(spec, run.PassNumber)
	}
	return mainPass(spec)
}

// mainPass takes the nodes that were known when the run began through all stages but those of the cleanup.
func mainPass(spec *playbook.Spec) pass {
	p := pass{
		kind: record.PassMain, number: 1,
		limits:    limits{needsTargets: true, failuresOf: []record.PassKind{record.PassMain, record.PassNewcomers, record.PassRetry}},
		takesPart: func(n *record.RunNode) bool { return !n.Newcomer },
	}
	for i := range spec.Stages {
		if !spec.Stages[i].Always {
			p.stages = append(p.stages, passStage{&spec.Stages[i], spec.Stages[i].Steps})
		}
	}
	return p
}

// newcomersPass takes nodes that appeared during the run through the stages that do not pick. It shares the failure budget of
// the main pass.
func newcomersPass(spec *playbook.Spec, number int) pass {
	p := mainPass(spec)
	p.kind, p.number, p.stages = record.PassNewcomers, number, nil
	p.limits.needsTargets = false
	p.takesPart = func(n *record.RunNode) bool { return n.Newcomer }
	for i := range spec.Stages {
		if spec.Stages[i].Pick == nil && !spec.Stages[i].Always {
			p.stages = append(p.stages, passStage{&spec.Stages[i], spec.Stages[i].Steps})
		}
	}
	return p
}

// records are the stage records of a pass that has not begun.
func (p pass) records() []record.RunStage {
	stages := make([]record.RunStage, len(p.stages))
	for i, stage := range p.stages {
		stages[i] = record.RunStage{Name: stage.Name, Pass: p.kind, PassNumber: p.number, State: record.StagePending}
	}
	return stages
}

// foldNewcomers makes one record per stage of all passes of newcomers that have ended, so that a run to which nodes come again and again
// has a bounded record. The record has the number of the last of them.
func (p *Plan) foldNewcomers(next pass) {
	if next.kind != record.PassNewcomers {
		return
	}
	var kept []record.RunStage
	folded := map[string]int{}
	for _, st := range p.run.Stages {
		at, before := folded[st.Name]
		switch {
		case st.Pass != record.PassNewcomers:
			if kept = append(kept, st); st.Pass == record.PassRetry { // what was before it shares nothing with what is after it
				folded = map[string]int{}
			}
		case !before:
			folded[st.Name] = len(kept)
			kept = append(kept, st)
		default:
			fold(&kept[at], st)
		}
	}
	p.run.Stages = kept
}

// fold adds a later pass of a stage to an earlier one.
func fold(st *record.RunStage, later record.RunStage) {
	st.PassNumber, st.State, st.EndTS = later.PassNumber, later.State, later.EndTS
	st.Total += later.Total
	st.Batch += later.Batch
	st.Batches += later.Batches
	st.AcceptedFailures = max(st.AcceptedFailures, later.AcceptedFailures)
	counts := maps.Clone(st.Counts)
	for state, n := range later.Counts {
		counts[state] += n
	}
	st.Counts = counts
	st.Groups = slices.Clone(st.Groups)
	for _, g := range later.Groups {
		at := slices.IndexFunc(st.Groups, func(other record.StageGroup) bool { return other.Key == g.Key })
		if at < 0 {
			st.Groups = append(st.Groups, g)
		} else {
			st.Groups[at].Batch += g.Batch
		}
	}
}

// passData adds the pass to the data of an event, where it is not the main one.
func (p *Plan) passData(data record.Document) record.Document {
	if p.pass.kind != record.PassMain {
		data["pass"], data["pass_number"] = string(p.pass.kind), int64(p.pass.number)
	}
	return data
}

// takesPart reports whether the node may be a target in the pass that the run is in.
func (p *Plan) takesPart(n *node) bool {
	if p.pass.afterOutcome {
		return p.pass.takesPart(&n.rec)
	}
	switch n.rec.State {
	case record.NodePending, record.NodeRunning, record.NodeWaiting:
		return p.pass.takesPart(&n.rec)
	}
	return false
}

// nextPass begins the pass that follows the one that the run is in, or ends the run. Either the pass has gone through all its stages, or the
// outcome of the run is decided and nothing is in flight. It is false while facts are needed first.
func (p *Plan) nextPass() bool {
	if p.run.Outcome == "" {
		admitted, decided := p.admitNewcomers()
		if !decided {
			return false
		}
		if admitted {
			p.beginPass(newcomersPass(p.spec, p.passesOf(record.PassNewcomers)+1))
			return true
		}
	}
	outcome := p.run.Outcome
	if outcome == "" {
		outcome = record.RunDone
	}
	if !p.finishNodes(outcome) || !p.endRollback() {
		return false
	}
	switch {
	case p.rollbackDue():
		p.finishPass(outcome)
		p.beginRollback()
	case p.cleanupDue():
		p.finishPass(outcome)
		p.beginCleanup(outcome)
	default:
		p.endRun(outcome)
	}
	return true
}

// passesOf is how many passes of a kind there have been.
func (p *Plan) passesOf(kind record.PassKind) int {
	passes := 0
	if p.pass.kind == kind {
		passes = p.pass.number
	}
	for i := range p.run.Stages {
		if st := &p.run.Stages[i]; st.Pass == kind {
			passes = max(passes, st.PassNumber)
		}
	}
	return passes
}

func (p *Plan) beginPass(next pass) {
	p.foldNewcomers(next)
	p.pass, p.run.Kill = next, false // what was to be stopped has ended
	p.run.Pass, p.run.PassNumber, p.run.StageIndex = next.kind, next.number, 0
	p.run.Stages = append(p.run.Stages, next.records()...)
	p.pending.run = true
}
