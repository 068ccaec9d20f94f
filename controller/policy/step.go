package policy

import (
	"errors"
	"fmt"

	"github.com/replicante-io/playbooks/playbook"
	"github.com/replicante-io/playbooks/record"
)

func (n *node) entryOf(stage string) *record.NodeStage {
	for i := len(n.rec.Stages) - 1; i >= 0; i-- {
		if n.rec.Stages[i].Name == stage {
			return &n.rec.Stages[i]
		}
	}
	return nil
}

// entry is the node's entry of the open stage, made where there is none yet.
func (p *Plan) entry(n *node) *record.NodeStage {
	if e := n.entryOf(p.stageSpec().Name); e != nil {
		return e
	}
	n.rec.Stages = append(n.rec.Stages, record.NodeStage{Name: p.stageSpec().Name, Pass: p.run.Pass, State: record.StagePending})
	return &n.rec.Stages[len(n.rec.Stages)-1]
}

// waitingEntry is the entry of a stage that the node was chosen for and has not entered.
func (n *node) waitingEntry() *record.NodeStage {
	if len(n.rec.Stages) == 0 {
		return nil
	}
	if e := &n.rec.Stages[len(n.rec.Stages)-1]; e.State == record.StagePending {
		return e
	}
	return nil
}

// openEntry is the entry by which the node is at work in the open batch.
func (p *Plan) openEntry(n *node) *record.NodeStage {
	if len(n.rec.Stages) == 0 {
		return nil
	}
	e := &n.rec.Stages[len(n.rec.Stages)-1]
	if e.State == record.StageRunning || e.State == record.StageChecking {
		return e
	}
	return nil
}

// setEntry moves a node's stage on, and the stage's counts with it.
func (p *Plan) setEntry(n *node, e *record.NodeStage, state record.StageState, reason string) {
	for i := range p.run.Stages {
		if st := &p.run.Stages[i]; st.Name == e.Name {
			p.count(st.Counts, countedAs(e.State), countedAs(state))
		}
	}
	e.State, e.Reason = state, reason
	p.mark(n)
}

// countedAs is the node state under which a stage counts an entry.
func countedAs(state record.StageState) record.NodeState {
	if state == record.StageChecking {
		return record.NodeRunning
	}
	return record.NodeState(state)
}

// mayStart tells whether anything may start now.
func (p *Plan) mayStart() bool {
	return p.run.State == record.RunRunning && p.run.Verdict == "" && !p.exceeded()
}

// awaits looks after what a node waits for, and is false when it may have a step to start.
func (p *Plan) awaits(n *node) bool {
	if a := n.lastAction(); a != nil && a.State.InFlight() {
		p.watch(n, a)
		return true
	}
	e := p.openEntry(n)
	switch {
	case e == nil || n.over || !n.member || p.run.State == record.RunPaused:
	case e.GateTS != nil:
		p.stepGate(n, e)
	case e.SettleUntil != nil:
		p.awaitEnd(n, e)
	default:
		return false
	}
	return true
}

// step moves one node of the open batch, which awaits nothing, through its steps as far as it can go now.
func (p *Plan) step(n *node) {
	e, steps := p.openEntry(n), p.stageSpec().Steps
	for e.Step < len(steps) {
		if !p.mayStart() {
			return
		}
		if e.NextTS != nil && p.now.Before(*e.NextTS) {
			p.wakeAt(*e.NextTS, n.rec.Node)
			return
		}
		if !p.tryStep(n, e, &steps[e.Step]) {
			return
		}
	}
	if p.stageSpec().Health == nil {
		p.pass(n) // no other node of the batch has a say in it
		return
	}
	n.over = true
	p.working--
	p.over++
}

// tryStep starts or skips the node's step. True means that the node is past it.
func (p *Plan) tryStep(n *node, e *record.NodeStage, step *playbook.Step) bool {
	name := n.rec.Node
	var seen *observation
	key := "step/" + name
	all := step.When.NeedsAllNodes() || step.Args.NeedsAllNodes()
	if all || step.When.NeedsFacts() || step.Args.NeedsFacts() {
		if seen = p.observe(key, factsEvery, all, name); seen == nil {
			return false
		}
	}
	vars := p.vars(n, seen)
	if step.When != nil && e.Retries == 0 {
		run, err := step.When.Bool(vars)
		if err != nil {
			p.undecidedStep(n, e, key, "whether step "+step.Name+" is for it", err)
			return false
		}
		if !run {
			p.unobserve(key)
			p.event(record.EventStepSkipped, name, e.Name, step.Name, nil)
			p.passStep(n, e)
			return true
		}
	}
	args, err := step.Args.Resolve(vars)
	if err != nil {
		p.undecidedStep(n, e, key, "the arguments of step "+step.Name, err)
		return false
	}
	if p.entries >= maxEntries+maxEntries { // a node that enters starts in the same commit
		p.again = true
		p.wakeAt(p.now, name)
		return false
	}
	if !p.reserve(n, e) {
		return false
	}
	p.unobserve(key)
	p.start(n, e, step, args)
	return false
}

// undecidedStep waits for a fact that a step of one node lacks; the node fails when the patience is over.
func (p *Plan) undecidedStep(n *node, e *record.NodeStage, key, what string, err error) {
	delete(p.seen, key)
	if !errors.Is(err, playbook.ErrAbsent) {
		p.unobserve(key)
		p.endNode(n, record.NodeFailed, &record.Error{Code: record.CodeExpression, Message: fmt.Sprintf("cannot decide %s: %v", what, err)})
		return
	}
	if e.BlockedTS == nil {
		since := p.now
		e.BlockedTS = &since
		p.mark(n)
	}
	until := e.BlockedTS.Add(factsPatience)
	if !p.now.Before(until) {
		p.unobserve(key)
		p.endNode(n, record.NodeFailed, &record.Error{
			Code: record.CodeFactsAbsent, Message: fmt.Sprintf("cannot decide %s: %v; waited %s for it", what, err, factsPatience),
		})
		return
	}
	p.factsFor = fmt.Sprintf("a fact of node %s that decides %s: %v", n.rec.Node, what, err)
	p.wakeAt(until, n.rec.Node)
	p.observe(key, factsEvery, false, n.rec.Node)
}

// reserve takes the node from other runs, or waits for them to let go of it.
func (p *Plan) reserve(n *node, e *record.NodeStage) bool {
	name := n.rec.Node
	holder, ok := p.config.Reserve(name)
	if ok {
		n.taken = true
		delete(p.stuck, name)
		if e.BlockedTS != nil {
			e.BlockedTS = nil
			p.mark(n)
		}
		return true
	}
	p.stuck[name] = holder.Unsettled
	if !holder.Unsettled {
		return false // that run goes on and will let go of it
	}
	if e.BlockedTS == nil {
		since := p.now
		e.BlockedTS = &since
		p.mark(n)
	}
	until := e.BlockedTS.Add(factsPatience)
	if p.now.Before(until) {
		p.wakeAt(until, name)
		return false
	}
	delete(p.stuck, name)
	p.endNode(n, record.NodeFailed, &record.Error{Code: record.CodeUnsettled, Message: fmt.Sprintf(
		"an action of run %s may still be running on it; if you know that it is over: replictl run resolve %s %s FAILED",
		holder.RunID, holder.RunID, name)})
	return false
}

func (in Accepted) apply(p *Plan) *record.RejectedError {
	n := p.nodes[in.Node]
	if n == nil {
		return nil
	}
	if a := n.lastAction(); a != nil && a.ID == in.ActionID && a.State == record.ActionSaved {
		a.State = record.ActionRunning
		p.mark(n)
	}
	delete(p.silent, in.Node)
	return nil
}

func (in Ended) apply(p *Plan) *record.RejectedError {
	n := p.nodes[in.Node]
	if n == nil {
		return nil
	}
	a := n.lastAction()
	if a == nil || a.ID != in.ActionID {
		return nil
	}
	delete(p.silent, in.Node)
	switch {
	case a.State.InFlight():
		p.end(n, a, in)
	case a.Unsettled && !in.Unsettled:
		p.settled(n, a, in)
	}
	return nil
}

// passStep takes the node past its step.
func (p *Plan) passStep(n *node, e *record.NodeStage) {
	p.unobserve(stepGateKey(n))
	e.Step++
	e.Retries, e.NextTS, e.BlockedTS, e.GateTS, e.SettleUntil, e.HealthyTS = 0, nil, nil, nil, nil, nil
	p.mark(n)
	p.touch(n)
}

// endNode ends the node's record, and its part in the open stage.
func (p *Plan) endNode(n *node, state record.NodeState, err *record.Error) {
	if n.rec.State.Final() {
		return
	}
	reason := ""
	if err != nil {
		reason = err.Message
		n.rec.Error = err
	}
	e := n.entryOf(p.stageSpec().Name)
	if e == nil && p.started() {
		e = p.entry(n)
	}
	if e != nil && (e.State == record.StagePending || e.State == record.StageRunning || e.State == record.StageChecking) {
		p.setEntry(n, e, record.StageState(state), reason)
		e.GateTS, e.SettleUntil, e.NextTS = nil, nil, nil
	}
	p.leaveBatch(n)
	p.setNode(n, state, reason)
	p.checkGone(n)
}

// leaveBatch takes the node out of the open batch's counts.
func (p *Plan) leaveBatch(n *node) {
	if !n.member {
		return
	}
	if n.over {
		p.over--
	} else {
		p.working--
	}
	n.member, n.over = false, false
	delete(p.stuck, n.rec.Node)
	p.unobserve("step/" + n.rec.Node)
	p.unobserve(stepGateKey(n))
}
