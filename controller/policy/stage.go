package policy

import (
	"slices"

	"github.com/replicante-io/playbooks/playbook"
	"github.com/replicante-io/playbooks/record"
)

// noStage stands for the stage of a pass that has none left.
var noStage = passStage{Stage: &playbook.Stage{}}

// stageSpec is the stage that the run is at, as its pass runs it.
func (p *Plan) stageSpec() *passStage {
	if p.run.StageIndex >= len(p.pass.stages) {
		return &noStage
	}
	return &p.pass.stages[p.run.StageIndex]
}

// stage is the record of the stage that the run is at; nil when the pass has none left.
func (p *Plan) stage() *record.RunStage {
	if p.run.StageIndex >= len(p.pass.stages) {
		return nil
	}
	return p.stageRecord(p.stageSpec().Name, p.pass)
}

func (p *Plan) stageRecord(name string, of pass) *record.RunStage {
	for i := range p.run.Stages { // the record of a pass of newcomers may stand for earlier ones, too
		st := &p.run.Stages[i]
		if st.Name == name && st.Pass == of.kind && (st.PassNumber == of.number || of.kind == record.PassNewcomers && st.PassNumber > of.number) {
			return st
		}
	}
	return nil
}

// stageOpen reports whether the stage that the run is at has chosen its nodes.
func (p *Plan) stageOpen() bool {
	st := p.stage()
	return st != nil && st.State == record.StageRunning
}

// progressStage takes one decision about the stage that the run is at.
func (p *Plan) progressStage() bool {
	switch {
	case p.stage() == nil:
		return p.nextPass()
	case !p.stageOpen() && !p.stageApproved():
		return p.awaitApproval()
	case !p.stageOpen():
		return p.openStage()
	case p.exceeded(), p.cleanupExceeded():
		return p.overBudget()
	case p.picksTooFew():
		return p.tooFewPicked()
	case p.pickEnded():
		return p.closePick()
	}
	decided, left := p.progressGroups()
	if decided {
		return true
	}
	if left {
		return false
	}
	p.closeStage()
	return true
}

// openStage decides which nodes the stage is for.
func (p *Plan) openStage() bool {
	if p.pass.kind == record.PassRollback {
		p.openRollback()
		return true
	}
	spec, st, at := p.stageSpec(), p.stage(), p.run.StageIndex
	o, ok := p.targets()
	if !ok {
		return p.ending() || p.run.StageIndex != at
	}
	p.cancelRequest(p.stageKey(ForTargets, nil))
	started := p.now
	st.State, st.StartTS, st.Waiting = record.StageRunning, &started, nil
	st.Total = len(o.targets) + len(o.undecided)
	st.Counts = map[record.NodeState]int{}
	if st.Total > 0 {
		st.Counts[record.NodePending] = st.Total
	}
	p.countPicked()
	p.makeGroups(o)
	p.pending.run = true
	p.event(record.EventStageStarted, "", spec.Name, "", p.passData(record.Document{"nodes": int64(st.Total)}))
	for _, f := range o.undecided {
		if p.pass.afterOutcome {
			p.reopen(f.node)
		}
		p.endNode(f.node, record.NodeFailed, f.err)
	}
	if p.run.StageIndex == len(p.pass.stages)-1 && !p.pass.afterOutcome {
		for _, n := range o.others {
			p.finishStages(n)
		}
	}
	if st.Total == 0 && p.pass.limits.needsTargets && !spec.AllowEmpty {
		data := record.Document{"stage": spec.Name}
		if spec.Targets != nil {
			data["targets"] = spec.Targets.String()
		}
		p.failStage(&record.Error{Code: record.CodeNoTargets, Data: data})
	}
	return true
}

// finishStages ends the record of a node that no later stage of the pass is for.
func (p *Plan) finishStages(n *node) {
	if n.rec.State == record.NodePending {
		p.setNode(n, record.NodeSkipped, &record.Error{Code: record.CauseNoStage})
	} else {
		p.setNode(n, record.NodeDone, nil)
	}
}

// failStage ends the run because its stage cannot continue.
func (p *Plan) failStage(err *record.Error) {
	if p.pass.kind == record.PassCleanup {
		p.failCleanup(err)
		return
	}
	p.stage().Error = err
	p.fail(err)
}

// about says what an expression decides.
type about struct {
	what string // targets, groups, order_by, when, args
	node string
	step string
}

func (a about) data(stage string, err error) record.Document {
	data := record.Document{"what": a.what, "stage": stage, "error": err.Error()}
	if a.node != "" {
		data["node"] = a.node
	}
	if a.step != "" {
		data["step"] = a.step
	}
	return data
}

// replaceWait changes a wait of the stage or of a group, unless nothing about it has changed.
func (p *Plan) replaceWait(wait **record.Wait, next *record.Wait) {
	if (*wait).Same(next) && (next == nil || sameData((*wait).Data, next.Data)) {
		return
	}
	*wait = next
	p.pending.run = true
}

// closeStage ends the stage in this pass and goes to the next.
func (p *Plan) closeStage() {
	st := p.stage()
	state := record.StageDone
	if p.stageFailures() > p.failureLimit() || st.Error != nil {
		state = record.StageFailed
	}
	if p.stageSpec().Pick != nil {
		st.Batches = st.Batch
	}
	p.endStage(st, state)
	p.groups = map[string]*group{}
	p.run.StageIndex++
}

func (p *Plan) endStage(st *record.RunStage, state record.StageState) {
	st.State, st.Waiting = state, nil
	for i := range st.Groups {
		st.Groups[i].State, st.Groups[i].Size, st.Groups[i].Waiting = record.GroupIdle, 0, nil
	}
	ended := p.now
	st.EndTS = &ended
	p.pending.run = true
	p.event(record.EventStageFinished, "", st.Name, "", p.passData(record.Document{"state": string(state)}))
}

// restoreGroups computes what follows from the record of the open stage.
func (p *Plan) restoreGroups() {
	if p.ended() || !p.stageOpen() {
		return
	}
	p.countPicked()
	st := p.stage()
	for i := range st.Groups {
		p.groups[st.Groups[i].Key] = &group{key: st.Groups[i].Key, index: i}
	}
	for _, name := range p.names {
		n := p.nodes[name]
		if g := p.pendingIn(n); g != nil {
			g.pending = append(g.pending, name)
		}
		if e := p.entryOf(n); e != nil && p.groups[e.Group] != nil {
			p.groups[e.Group].count(e.State, +1)
		}
	}
}

// pendingIn is the group in which the node waits for a batch of the open stage; nil when it does not.
func (p *Plan) pendingIn(n *node) *group {
	if !p.takesPart(n) {
		return nil
	}
	e := p.entryOf(n)
	switch {
	case e == nil && p.stageSpec().Targets == nil && p.stageSpec().Groups == nil && p.pass.kind != record.PassRetry && !p.pass.afterOutcome:
		return p.groups[""]
	case e != nil && e.State == record.NodeStagePending:
		return p.groups[e.Group]
	}
	return nil
}

// dropTaken removes from a group's pending nodes those that are not pending any longer.
func (p *Plan) dropTaken(g *group) {
	g.pending = slices.DeleteFunc(g.pending, func(name string) bool { return p.pendingIn(p.nodes[name]) != g })
}
