package policy

import (
	"errors"

	"github.com/replicante-io/playbooks/playbook"
	"github.com/replicante-io/playbooks/record"
)

// mayAct reports whether the run is in a state in which steps start and what was done is verified.
func (p *Plan) mayAct() bool {
	return !p.ending() && (p.run.State == record.RunRunning || p.run.AfterTogether || p.pass.afterOutcome && p.progresses())
}

// mayStart reports whether anything may start now.
func (p *Plan) mayStart() bool {
	return p.mayAct() && !p.exceeded()
}

// attend looks after what a node waits for, and is false when a step of it may start.
func (p *Plan) attend(n *node) bool {
	if a := n.lastAction(); a != nil && a.State.InFlight() {
		p.watch(n, a)
		return true
	}
	e := n.batchEntry()
	if e == nil || p.run.State == record.RunPaused {
		return true
	}
	switch e.State {
	case record.NodeStageReady, record.NodeStageBackoff:
		return false
	case record.NodeStageVerifying:
		p.verify(n, e)
	case record.NodeStageSettling:
		p.awaitSettled(n, e)
	}
	return true
}

// runSteps takes a node of the open batch, which waits for nothing, through its steps as far as it can go now.
func (p *Plan) runSteps(n *node) {
	e, steps := n.batchEntry(), p.stageSpec().steps
	for e.Step < len(steps) {
		if !p.mayStart() {
			return
		}
		if e.State == record.NodeStageBackoff {
			if p.now.Before(*e.Waiting.Until) {
				return
			}
			p.setEntry(n, e, record.NodeStageReady, nil)
		}
		if !p.tryStep(n, e, &steps[e.Step]) {
			return
		}
	}
	if p.stageSpec().Health == nil {
		p.passGate(n) // it does not depend on the other nodes of the batch
		return
	}
	p.setEntry(n, e, record.NodeStagePassed, nil)
}

// tryStep starts or skips the node's step. True means that the node is past it.
func (p *Plan) tryStep(n *node, e *record.NodeStage, step *playbook.Step) bool {
	key := nodeKey(ForStep, n)
	var seen *facts
	all := step.When.NeedsAllNodes() || step.Args.NeedsAllNodes()
	if all || step.When.NeedsFacts() || step.Args.NeedsFacts() {
		if seen = p.request(key, factsEvery, all, n.rec.Node); seen == nil {
			return false
		}
	}
	vars := p.vars(n, seen)
	if step.When != nil && e.FailedAttempts == 0 {
		run, err := step.When.Bool(vars)
		if err != nil {
			p.undecidedStep(n, e, about{what: "when", step: step.Name}, err)
			return false
		}
		if !run {
			p.cancelRequest(key)
			p.event(record.EventStepSkipped, n.rec.Node, e.Name, step.Name, nil)
			p.passStep(n, e)
			return true
		}
	}
	if !p.room() {
		p.postpone(n)
		return false
	}
	args, err := step.Args.Resolve(vars)
	if err != nil {
		p.undecidedStep(n, e, about{what: "args", step: step.Name}, err)
		return false
	}
	if err := record.CheckStorable(args, record.MaxRecord); err != nil {
		p.endNode(n, record.NodeFailed, &record.Error{Code: record.CodeBadArgs, Data: record.Document{"step": step.Name, "error": err.Error()}})
		return false
	}
	if p.entered >= 2*maxEntries { // a node that enters starts in the same commit
		p.postpone(n)
		return false
	}
	p.cancelRequest(key)
	p.start(n, e, step, args)
	return false
}

// undecidedStep waits for a fact that a step of one node lacks; the node fails when the patience is over.
func (p *Plan) undecidedStep(n *node, e *record.NodeStage, a about, err error) {
	key := nodeKey(ForStep, n)
	p.spend(key)
	data := a.data(e.Name, err)
	addStatus(data, &n.fact)
	if !errors.Is(err, playbook.ErrAbsent) {
		p.endNode(n, record.NodeFailed, &record.Error{Code: record.CodeExpression, Data: data})
		return
	}
	if e.Waiting == nil {
		p.setWait(n, e, &record.Wait{For: record.WaitFacts, Since: p.now, Until: later(p.now, factsPatience), Stage: e.Name,
			Node: n.rec.Node, Data: data})
	}
	if !p.now.Before(*e.Waiting.Until) {
		data["waited"] = factsPatience.String()
		p.endNode(n, record.NodeFailed, &record.Error{Code: record.CodeFactsAbsent, Data: data})
		return
	}
	p.request(key, factsEvery, false, n.rec.Node)
}

// passStep takes the node past its step.
func (p *Plan) passStep(n *node, e *record.NodeStage) {
	p.cancelRequest(nodeKey(ForVerifying, n))
	delete(p.silent, n.rec.Node)
	e.Step++
	e.FailedAttempts, e.HealthyTS = 0, nil
	p.setEntry(n, e, record.NodeStageReady, nil)
	p.touch(n)
}
