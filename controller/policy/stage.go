package policy

import (
	"errors"
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
	case p.exceeded():
		return p.overBudget()
	}
	st := p.stage()
	left := false
	for i := range st.Groups {
		g := p.groups[st.Groups[i].Key]
		if p.progressGroup(g) {
			return true
		}
		left = left || st.Groups[i].State != record.GroupIdle || len(g.pending) > 0
	}
	if left {
		return false
	}
	p.closeStage()
	return true
}

// openStage decides which nodes the stage is for.
func (p *Plan) openStage() bool {
	spec, st := p.stageSpec(), p.stage()
	targets, others, undecided, ok := p.targets()
	if !ok {
		return p.ending()
	}
	p.cancelRequest(p.stageKey(ForTargets, nil))
	started := p.now
	st.State, st.StartTS, st.Waiting = record.StageRunning, &started, nil
	st.Total = len(targets) + len(undecided)
	st.Counts = map[record.NodeState]int{}
	if st.Total > 0 {
		st.Counts[record.NodePending] = st.Total
	}
	st.Groups = []record.StageGroup{{State: record.GroupIdle}}
	g := &group{}
	p.groups = map[string]*group{g.key: g}
	for _, n := range targets {
		g.pending = append(g.pending, n.rec.Node)
		if spec.Targets != nil {
			p.entry(n)
		}
	}
	st.Batches = p.batchesFor(g, len(targets))
	p.pending.run = true
	p.event(record.EventStageStarted, "", spec.Name, "", p.passData(record.Document{"nodes": int64(st.Total)}))
	for _, f := range undecided {
		p.endNode(f.node, record.NodeFailed, f.err)
	}
	if p.run.StageIndex == len(p.pass.stages)-1 {
		for _, n := range others {
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

// targets divides the nodes of the pass that the stage has not had yet into those that it is for, the others, and those about which
// it could not be decided in time. It is false while that is waited for.
func (p *Plan) targets() (targets, others []*node, undecided []failedNode, ok bool) {
	spec, key := p.stageSpec(), p.stageKey(ForTargets, nil)
	seen, ok := p.targetFacts(key)
	if !ok {
		return nil, nil, nil, false
	}
	waits := false
	for _, name := range p.names {
		n := p.nodes[name]
		if !p.takesPart(n) || p.entryOf(n) != nil {
			continue
		}
		matches, err := true, error(nil)
		if spec.Targets != nil {
			matches, err = spec.Targets.Bool(p.vars(n, seen))
		}
		switch {
		case errors.Is(err, playbook.ErrAbsent):
			if p.awaitFact(n, err) {
				waits = true
				continue
			}
			failed := undecidable("targets", n, err)
			failed.Data["stage"], failed.Data["waited"] = spec.Name, p.patience(n).String()
			undecided = append(undecided, failedNode{n, failed})
		case err != nil:
			p.cancelRequest(key)
			p.failStage(&record.Error{Code: record.CodeExpression, Data: about{what: "targets", node: name}.data(spec.Name, err)})
			return nil, nil, nil, false
		case matches:
			targets = append(targets, n)
		default:
			others = append(others, n)
		}
	}
	if waits {
		p.spend(key)
		p.request(key, factsEvery, true) // where the expression needs no facts, only time
		return nil, nil, nil, false
	}
	return targets, others, undecided, true
}

// targetFacts are the facts on which the targets are decided, nil where none are needed. It is false while they are not there.
func (p *Plan) targetFacts(key FactKey) (*facts, bool) {
	spec := p.stageSpec()
	if !spec.Targets.NeedsFacts() && !spec.Targets.NeedsAllNodes() {
		return nil, true
	}
	var ask []string
	for _, name := range p.names {
		if p.takesPart(p.nodes[name]) {
			ask = append(ask, name)
		}
	}
	if len(ask) == 0 {
		p.cancelRequest(key)
		return nil, true
	}
	seen := p.request(key, factsEvery, spec.Targets.NeedsAllNodes(), ask...)
	return seen, seen != nil
}

// awaitFact has the stage wait for a fact of a node that decides its targets, and is false once the patience is over.
func (p *Plan) awaitFact(n *node, err error) bool {
	wait, since := &p.stage().Waiting, p.now
	if *wait != nil {
		since = (*wait).Since
	}
	until := since.Add(p.patience(n))
	if !p.now.Before(until) {
		return false
	}
	if *wait == nil || (*wait).Node == n.rec.Node || !p.now.Before(*(*wait).Until) {
		data := about{what: "targets", node: n.rec.Node}.data(p.stageSpec().Name, err)
		addStatus(data, &n.fact)
		p.replaceWait(wait, &record.Wait{For: record.WaitFacts, Since: since, Until: &until, Stage: p.stageSpec().Name, Node: n.rec.Node, Data: data})
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
	p.stage().Error = err
	p.fail(err)
}

// about says what an expression decides.
type about struct {
	what string // targets, order_by, when, args
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
	if p.stageFailures() > p.failureLimit() {
		state = record.StageFailed
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
	case e == nil && p.stageSpec().Targets == nil:
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
