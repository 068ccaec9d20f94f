package policy

import (
	"math"
	"slices"

	"github.com/replicante-io/playbooks/record"
)

// missing is how many nodes the open stage has still to pick beside those that are done or in a batch; more than there are nodes where it does
// not pick.
func (p *Plan) missing() int {
	pick := p.stageSpec().Pick
	if pick == nil {
		return math.MaxInt
	}
	return pick.Count - p.picked() - p.stage().Counts[record.NodeRunning]
}

// wanted is how many nodes the open stage has still to pick beside those that a batch is about to take.
func (p *Plan) wanted() int {
	wanted := p.missing()
	for _, g := range p.groups {
		wanted -= len(g.chosen)
		if g.locking {
			wanted -= g.asked
		}
	}
	return max(0, wanted)
}

// picked is how many nodes are done with the stage that the run is at, also those that were before a retry.
func (p *Plan) picked() int { return p.pickedBefore + p.stage().Counts[record.NodeDone] }

// countPicked counts the nodes that were done with the stage before this pass.
func (p *Plan) countPicked() {
	p.pickedBefore = 0
	if p.pass.kind != record.PassRetry || p.stage() == nil || p.stageSpec().Pick == nil {
		return
	}
	for _, n := range p.nodes {
		if p.entryOf(n) == nil && n.doneWith(p.stageSpec().Name) {
			p.pickedBefore++
		}
	}
}

// doneWith reports whether the node is done with the stage by the last pass in which it took part in it.
func (n *node) doneWith(stage string) bool {
	for i := len(n.rec.Stages) - 1; i >= 0; i-- {
		e := &n.rec.Stages[i]
		switch {
		case e.Name != stage || e.State == record.NodeStagePending || e.State == record.NodeStageNotReached || e.State == record.NodeStageSkipped:
		default:
			return e.State == record.NodeStageDone && e.Pass != record.PassRollback
		}
	}
	return false
}

// pickedAll reports whether the open stage picks, and has picked as many nodes as it is to.
func (p *Plan) pickedAll() bool {
	pick := p.stageSpec().Pick
	return pick != nil && p.picked() >= pick.Count
}

// picksTooFew reports whether the open stage cannot pick as many nodes any longer as it has to.
func (p *Plan) picksTooFew() bool {
	pick, st := p.stageSpec().Pick, p.stage()
	return pick != nil && st.Total > 0 && p.picked()+st.Counts[record.NodeRunning]+st.Counts[record.NodePending] < pick.AtLeast
}

// tooFewPicked ends the run because the stage cannot pick enough nodes.
func (p *Plan) tooFewPicked() bool {
	spec, st := p.stageSpec(), p.stage()
	data := p.failures(spec.Name)
	data["stage"], data["nodes"], data["picked"] = spec.Name, int64(st.Total), int64(p.picked()+st.Counts[record.NodeRunning]+st.Counts[record.NodePending])
	data["at_least"] = int64(spec.Pick.AtLeast)
	p.failStage(&record.Error{Code: record.CodePickTooFew, Data: data})
	return true
}

// pickEnded reports whether the open stage has picked all its nodes, works on none, and is not about to.
func (p *Plan) pickEnded() bool {
	if !p.pickedAll() || p.batchOpen() {
		return false
	}
	for _, g := range p.groups {
		if g.locking {
			return false
		}
	}
	return true
}

// closePick ends a stage that has picked all its nodes. It leaves the others to later stages, as if it were not for them. It is false where
// more of their records change than one commit should hold.
func (p *Plan) closePick() bool {
	st, last := p.stage(), p.run.StageIndex == len(p.pass.stages)-1
	for _, name := range p.names {
		n := p.nodes[name]
		e := p.entryOf(n)
		if !p.takesPart(n) || e == nil && !last || e != nil && e.State != record.NodeStagePending {
			continue
		}
		if !p.room() {
			p.more = true
			return false
		}
		p.notPicked(n, e, last)
	}
	for _, g := range p.groups {
		p.cancelRequest(p.selectionKey(g))
	}
	st.Total -= st.Counts[record.NodePending]
	delete(st.Counts, record.NodePending)
	p.closeStage()
	return true
}

// notPicked takes a node out of the open stage. One that was in a batch of it before keeps an entry that says so.
func (p *Plan) notPicked(n *node, e *record.NodeStage, last bool) {
	cause := &record.Error{Code: record.CauseNotPicked, Data: record.Document{"stage": p.stageSpec().Name}}
	switch {
	case e == nil:
	case e.Cause != nil: // it was put back
		p.setEntry(n, e, record.NodeStageSkipped, cause)
	default:
		p.setWait(n, e, nil)
		n.rec.Stages = n.rec.Stages[:len(n.rec.Stages)-1]
		p.mark(n)
	}
	switch begun := n.lastDone() != ""; {
	case last && begun:
		p.setNode(n, record.NodeDone, nil)
	case last:
		p.setNode(n, record.NodeSkipped, cause)
	case !begun:
		p.setNode(n, record.NodePending, cause)
	}
}

// replaced reports whether the node failed in one of these stages, in which others took its place.
func (n *node) replaced(stages []string) bool {
	e := n.lastWork()
	return e != nil && slices.Contains(stages, e.Name)
}

// fullPicks are the stages that have picked as many nodes as they were to.
func (p *Plan) fullPicks() []string {
	var full []string
	for i := range p.spec.Stages {
		spec := &p.spec.Stages[i]
		if spec.Pick == nil || !p.endedWell(spec.Name) {
			continue
		}
		picked := 0
		for _, n := range p.nodes {
			if n.doneWith(spec.Name) {
				picked++
			}
		}
		if picked >= spec.Pick.Count {
			full = append(full, spec.Name)
		}
	}
	return full
}

// endedWell reports whether the stage ended DONE in the last pass that nodes took through it.
func (p *Plan) endedWell(stage string) bool {
	well := false
	for i := range p.run.Stages {
		if st := &p.run.Stages[i]; st.Name == stage && (st.Pass == record.PassMain || st.Pass == record.PassRetry) {
			well = st.State == record.StageDone
		}
	}
	return well
}
