package policy

import (
	"errors"
	"fmt"

	"github.com/replicante-io/playbooks/playbook"
	"github.com/replicante-io/playbooks/record"
)

// stageSpec is the stage that the run is at; stage its progress.
func (p *Plan) stageSpec() *playbook.Stage {
	if p.run.StageIndex >= len(p.spec.Stages) {
		return &playbook.Stage{}
	}
	return &p.spec.Stages[p.run.StageIndex]
}

func (p *Plan) stage() *record.RunStage { return &p.run.Stages[p.run.StageIndex] }

// started tells whether the stage that the run is at has chosen its nodes in this pass.
func (p *Plan) started() bool {
	return p.run.StageIndex < len(p.spec.Stages) &&
		p.stage().State == record.StageRunning && p.stage().Pass == p.run.Pass
}

// progressStage takes one decision about the stage that the run is at.
func (p *Plan) progressStage() bool {
	if p.run.StageIndex >= len(p.spec.Stages) {
		return p.endPass()
	}
	if !p.started() {
		return p.openStage()
	}
	st := p.stage()
	if p.exceeded() {
		return p.overBudget()
	}
	if !st.Open {
		if st.PauseUntil != nil && p.now.Before(*st.PauseUntil) {
			p.wakeAt(*st.PauseUntil, "")
			return false
		}
		if p.pending = p.stillPending(); len(p.pending) == 0 {
			p.closeStage()
			return true
		}
		return p.openBatch()
	}
	if p.enter() {
		return true
	}
	if p.working > 0 || p.inFlight > 0 || len(p.entering) > 0 || p.again {
		return false
	}
	if p.over > 0 {
		return p.gate()
	}
	return p.closeBatch()
}

// endPass goes on with the nodes that appeared since, or ends the run.
func (p *Plan) endPass() bool {
	newcomers := false
	for _, name := range p.names {
		n := p.nodes[name]
		if n.rec.State == record.NodeAdded {
			p.setNode(n, record.NodePending, "")
			newcomers = true
		}
	}
	if !newcomers {
		p.finish(record.RunDone)
		return true
	}
	p.run.Pass = record.PassNewcomers
	p.run.StageIndex = 0
	for i := range p.run.Stages {
		if st := &p.run.Stages[i]; st.Pass == p.run.Pass {
			st.Pass = record.PassMain // closed by an earlier round of newcomers
		}
	}
	p.runDirty = true
	return true
}

// takesPart tells whether the node may be a target in this pass.
func (p *Plan) takesPart(n *node) bool {
	if n.rec.Newcomer != (p.run.Pass == record.PassNewcomers) {
		return false
	}
	return n.rec.State == record.NodePending || n.rec.State == record.NodeRunning
}

// openStage decides which nodes the stage is for.
func (p *Plan) openStage() bool {
	spec, st := p.stageSpec(), p.stage()
	if p.run.Pass == record.PassNewcomers && spec.Pick > 0 {
		p.run.StageIndex++
		p.runDirty = true
		return true
	}
	key := p.decisionKey("targets")
	var seen *observation
	if spec.Targets != nil && spec.Targets.NeedsFacts() || spec.Targets.NeedsAllNodes() {
		var ask []string
		for _, name := range p.names {
			if p.takesPart(p.nodes[name]) {
				ask = append(ask, name)
			}
		}
		if len(ask) > 0 {
			if seen = p.observe(key, factsEvery, spec.Targets.NeedsAllNodes(), ask...); seen == nil {
				return false
			}
		}
	}
	var targets, others []*node
	for _, name := range p.names {
		n := p.nodes[name]
		if !p.takesPart(n) || n.entryOf(spec.Name) != nil {
			continue
		}
		matches := true
		if spec.Targets != nil {
			var err error
			if matches, err = spec.Targets.Bool(p.vars(n, seen)); err != nil {
				return p.undecided(key, fmt.Sprintf("which nodes stage %s is for", spec.Name), n, err)
			}
		}
		if matches {
			targets = append(targets, n)
		} else {
			others = append(others, n)
		}
	}
	p.unobserve(key)
	p.decided(st)
	if st.StartTS == nil {
		started := p.now
		st.StartTS = &started
		p.event(record.EventStageStarted, "", spec.Name, "", record.Document{"nodes": int64(len(targets))})
	}
	if st.Counts == nil {
		st.Counts = map[record.NodeState]int{}
	}
	st.Pass, st.State = p.run.Pass, record.StageRunning
	st.Total += len(targets)
	if len(targets) > 0 {
		st.Counts[record.NodePending] += len(targets)
	}
	p.runDirty = true
	p.pending = p.pending[:0]
	for _, n := range targets {
		p.pending = append(p.pending, n.rec.Node)
		if spec.Targets != nil {
			p.entry(n)
			p.mark(n)
		}
	}
	if p.run.StageIndex == len(p.spec.Stages)-1 {
		for _, n := range others {
			p.endedStages(n)
		}
	}
	st.Batches = st.Batch + p.batchesFor(len(targets))
	if len(targets) == 0 && p.run.Pass == record.PassMain && !spec.AllowEmpty {
		message := fmt.Sprintf("stage %s is for no node", spec.Name)
		if spec.Targets != nil {
			message += fmt.Sprintf(": no node that is still in the run matches %s", spec.Targets)
		} else {
			message += ": no node is left in the run"
		}
		p.failStage(record.CodeNoTargets, message)
	}
	return true
}

// endedStages ends the record of a node that no later stage is for.
func (p *Plan) endedStages(n *node) {
	if n.rec.State == record.NodeRunning {
		p.setNode(n, record.NodeDone, "")
	} else {
		p.setNode(n, record.NodeSkipped, "no stage was for it")
	}
}

// failStage ends the run because its stage cannot go on.
func (p *Plan) failStage(code, message string) {
	st := p.stage()
	st.Error = &record.Error{Code: code, Message: message}
	p.fail(code, message)
}

// undecided waits for a fact that a decision of the stage lacks, until its patience is over.
func (p *Plan) undecided(key, what string, n *node, err error) bool {
	name := ""
	if n != nil {
		name = " on node " + n.rec.Node
	}
	delete(p.seen, key)
	st := p.stage()
	if !errors.Is(err, playbook.ErrAbsent) {
		p.unobserve(key)
		p.failStage(record.CodeExpression, fmt.Sprintf("cannot decide %s%s: %v", what, name, err))
		return true
	}
	if st.FactsUntil == nil {
		until := p.now.Add(factsPatience)
		st.FactsUntil = &until
		p.runDirty = true
	}
	if !p.now.Before(*st.FactsUntil) {
		p.unobserve(key)
		p.failStage(record.CodeFactsAbsent, fmt.Sprintf("cannot decide %s%s: %v; waited %s for it", what, name, err, factsPatience))
		return true
	}
	p.factsFor = fmt.Sprintf("a fact that decides %s%s: %v", what, name, err)
	p.wakeAt(*st.FactsUntil, "")
	if _, asked := p.observations[key]; !asked { // the expression needs no observation, only time
		p.observe(key, factsEvery, true)
	}
	return false
}

// decided forgets that a decision of the stage has waited for facts.
func (p *Plan) decided(st *record.RunStage) {
	if st.FactsUntil != nil {
		st.FactsUntil = nil
		p.runDirty = true
	}
	p.factsFor = ""
}

func (p *Plan) decisionKey(what string) string {
	return fmt.Sprintf("%s/%s/%s/%d", what, p.stageSpec().Name, p.run.Pass, p.stage().Batch)
}

// findPending finds the nodes that the open stage is for and no batch has taken.
func (p *Plan) findPending() {
	p.pending = p.pending[:0]
	if !p.started() {
		return
	}
	for _, name := range p.names {
		if p.isPending(p.nodes[name]) {
			p.pending = append(p.pending, name)
		}
	}
}

func (p *Plan) isPending(n *node) bool {
	if !p.takesPart(n) {
		return false
	}
	e := n.entryOf(p.stageSpec().Name)
	if e == nil {
		return p.stageSpec().Targets == nil
	}
	return e.State == record.StagePending && e.Batch == 0
}

func (p *Plan) stillPending() []string {
	kept := p.pending[:0]
	for _, name := range p.pending {
		if p.isPending(p.nodes[name]) {
			kept = append(kept, name)
		}
	}
	return kept
}

// closeStage ends the stage in this pass and goes to the next.
func (p *Plan) closeStage() {
	st := p.stage()
	state := record.StageDone
	if p.stageFailures() > p.stageSpec().MaxFailures.Of(st.Total) {
		state = record.StageFailed
	}
	p.endStage(st, state)
	p.pending = nil
	p.run.StageIndex++
}

func (p *Plan) endStage(st *record.RunStage, state record.StageState) {
	st.State, st.Open, st.PauseUntil, st.GateTS, st.FactsUntil = state, false, nil, nil, nil
	ended := p.now
	st.EndTS = &ended
	p.runDirty = true
	p.event(record.EventStageFinished, "", st.Name, "", record.Document{"state": string(state)})
}
