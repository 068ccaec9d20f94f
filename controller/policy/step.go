package policy

import (
	"errors"
	"fmt"
	"time"

	"github.com/replicante-io/playbooks/playbook"
	"github.com/replicante-io/playbooks/record"
)

// lastAction is the latest action of the node, of any stage. Only it can be in flight or unsettled.
func (n *node) lastAction() *record.Action {
	if len(n.rec.Actions) == 0 {
		return nil
	}
	return &n.rec.Actions[len(n.rec.Actions)-1]
}

func (n *node) entryOf(stage string) *record.NodeStage {
	for i := len(n.rec.Stages) - 1; i >= 0; i-- {
		if n.rec.Stages[i].Name == stage {
			return &n.rec.Stages[i]
		}
	}
	return nil
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

// step moves one node of the open batch through its steps as far as it can go now.
func (p *Plan) step(n *node) {
	if a := n.lastAction(); a != nil && a.State.InFlight() {
		p.watch(n, a)
		return
	}
	e := p.openEntry(n)
	if e == nil || n.over || !n.member || p.run.State == record.RunPaused {
		return
	}
	if e.GateTS != nil {
		p.stepGate(n, e)
		return
	}
	if e.SettleUntil != nil {
		p.awaitEnd(n, e)
		return
	}
	steps := p.stageSpec().Steps
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

// start saves the next attempt of the node's step and wants it sent.
func (p *Plan) start(n *node, e *record.NodeStage, step *playbook.Step, args playbook.Document) {
	attempt := 1
	for i := range n.rec.Actions {
		if a := &n.rec.Actions[i]; a.Stage == e.Name && a.Step == step.Name && a.Pass != record.PassRollback {
			attempt = max(attempt, a.Attempt+1)
		}
	}
	if args == nil {
		args = playbook.Document{}
	}
	deadline := p.now.Add(step.Timeout)
	n.rec.Actions = append(n.rec.Actions, record.Action{
		ID:    record.ActionID(p.run.ID, n.rec.Node, e.Name, e.Pass, step.Name, attempt),
		Stage: e.Name, Pass: e.Pass, Step: step.Name, Attempt: attempt,
		Kind: step.Action, Args: args, AgentURL: n.fact.AgentURL, JournalID: n.fact.JournalID,
		Term: p.run.Term, State: record.ActionSaved, StartTS: p.now, DeadlineTS: deadline,
	})
	e.NextTS = nil
	p.mark(n)
	p.entries++
	p.inFlight++
	p.wakeAt(deadline, n.rec.Node)
	p.want(n, n.lastAction())
}

// watch looks after an action in flight: its deadline, and the end of the patience with its cancel.
func (p *Plan) watch(n *node, a *record.Action) {
	switch {
	case a.State == record.ActionCancelling:
		if p.now.Before(*a.CancelUntil) {
			p.wakeAt(*a.CancelUntil, n.rec.Node)
			return
		}
		p.end(n, a, Ended{State: record.ActionUnknown, Unsettled: true, Error: &record.Error{
			Code:    record.CodeUnknown,
			Message: fmt.Sprintf("its agent at %s did not say how step %s ended, nor that it was stopped", a.AgentURL, a.Step),
		}})
	case !p.now.Before(a.DeadlineTS):
		p.cancelAction(n, a, record.CodeTimeout)
	case p.run.Kill:
		p.cancelAction(n, a, record.CodeCancelled)
	}
}

func (p *Plan) cancelAction(n *node, a *record.Action, code string) {
	until := p.now.Add(cancelPatience)
	a.State, a.CancelCode, a.CancelUntil = record.ActionCancelling, code, &until
	p.mark(n)
	p.wakeAt(until, n.rec.Node)
	p.want(n, a)
}

func (in Accepted) apply(p *Plan) *record.Refusal {
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

func (in Ended) apply(p *Plan) *record.Refusal {
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

// end records how an action in flight ended and moves its node on.
func (p *Plan) end(n *node, a *record.Action, in Ended) {
	if a.CancelCode == record.CodeTimeout && in.State == record.ActionFailed {
		in.Error = &record.Error{Code: record.CodeTimeout, Message: fmt.Sprintf("step %s did not end within %s", a.Step, a.DeadlineTS.Sub(a.StartTS))}
	}
	p.inFlight--
	p.write(n, a, in)
	if in.Unsettled {
		p.run.Unsettled++
		p.runDirty = true
		a.Unsettled = true
		p.want(n, a)
	} else {
		p.release(n)
	}
	e := p.openEntry(n)
	if e == nil {
		return
	}
	p.touch(n)
	switch in.State {
	case record.ActionDone:
		p.passStep(n, e)
	case record.ActionFailed:
		if in.Error != nil && in.Error.Code == record.CodeCancelled && p.run.State == record.RunCancelling {
			p.endNode(n, record.NodeCancelled, in.Error)
			return
		}
		p.failedAttempt(n, e, a)
	default:
		p.event(record.EventActionUnknown, n.rec.Node, a.Stage, a.Step, failureData(a))
		p.unknown(n, e, a)
	}
}

// write puts an end into an action's record.
func (p *Plan) write(n *node, a *record.Action, in Ended) {
	ended := p.now
	a.State, a.FinishTS, a.CancelUntil = in.State, &ended, nil
	a.Payload, a.ExitCode, a.StdoutTail, a.StderrTail, a.Error = in.Payload, in.ExitCode, in.StdoutTail, in.StderrTail, in.Error
	if a.State != record.ActionDone && a.Error == nil {
		a.Error = &record.Error{Code: record.CodeFailed, Message: "its agent gave no reason"}
	}
	p.mark(n)
	p.note(n, a)
}

// settled records that an UNKNOWN action is over.
func (p *Plan) settled(n *node, a *record.Action, in Ended) {
	p.run.Unsettled--
	p.runDirty = true
	p.release(n)
	a.Unsettled = false
	p.mark(n)
	p.event(record.EventActionSettled, n.rec.Node, a.Stage, a.Step, playbook.Document{"action": a.ID, "state": string(in.State)})
	if in.State != record.ActionUnknown {
		p.write(n, a, in)
	}
	e := p.openEntry(n)
	if e == nil || e.SettleUntil == nil && e.GateTS == nil {
		return
	}
	p.touch(n)
	switch {
	case in.State == record.ActionDone:
		p.passStep(n, e)
	case in.State == record.ActionFailed && e.GateTS == nil, e.SettleUntil != nil:
		e.SettleUntil = nil
		p.failedAttempt(n, e, a)
	}
}

// passStep takes the node past its step.
func (p *Plan) passStep(n *node, e *record.NodeStage) {
	p.unobserve(stepGateKey(n))
	e.Step++
	e.Retries, e.NextTS, e.BlockedTS, e.GateTS, e.SettleUntil, e.HealthyTS = 0, nil, nil, nil, nil, nil
	p.mark(n)
	p.touch(n)
}

// failedAttempt tries again after a backoff, or fails the node.
func (p *Plan) failedAttempt(n *node, e *record.NodeStage, a *record.Action) {
	retry := p.stageSpec().Steps[e.Step].Retry
	e.GateTS, e.SettleUntil, e.HealthyTS = nil, nil, nil
	if a.Error != nil && a.Error.Code == record.CodeNeverStarted && a.CancelCode == "" {
		if a.Attempt <= retry.Attempts+maxNeverStarted {
			p.nextAttempt(n, e, a, retry.Backoff)
			return
		}
	} else if e.Retries++; e.Retries < retry.Attempts {
		p.nextAttempt(n, e, a, backoff(retry, e.Retries))
		return
	}
	p.event(record.EventActionFailed, n.rec.Node, a.Stage, a.Step, failureData(a))
	state := record.NodeFailed
	if a.State == record.ActionUnknown {
		state = record.NodeUnknown
	}
	p.endNode(n, state, a.Error)
}

func failureData(a *record.Action) playbook.Document {
	data := playbook.Document{"action": a.ID, "attempt": int64(a.Attempt)}
	if a.Error != nil {
		data["code"], data["message"] = a.Error.Code, a.Error.Message
	}
	return data
}

func (p *Plan) nextAttempt(n *node, e *record.NodeStage, a *record.Action, wait time.Duration) {
	next := p.now.Add(wait)
	e.NextTS = &next
	p.mark(n)
	p.wakeAt(next, n.rec.Node)
	data := failureData(a)
	data["next_ts"] = next.Format(time.RFC3339Nano)
	p.event(record.EventActionRetry, n.rec.Node, a.Stage, a.Step, data)
}

// backoff doubles with every failed attempt up to its bound.
func backoff(retry playbook.Retry, failed int) time.Duration {
	wait := retry.Backoff
	for i := 1; i < failed && wait < retry.MaxBackoff; i++ {
		wait *= 2
	}
	if retry.MaxBackoff > 0 {
		wait = min(wait, retry.MaxBackoff)
	}
	return wait
}

// unknown does what the step says about an end that nobody knows.
func (p *Plan) unknown(n *node, e *record.NodeStage, a *record.Action) {
	step := &p.stageSpec().Steps[e.Step]
	switch {
	case p.run.State == record.RunCancelling:
		p.endNode(n, record.NodeUnknown, a.Error)
	case step.OnUnknown == playbook.UnknownHealth:
		since := p.now
		e.GateTS, e.HealthyTS = &since, nil
		p.mark(n)
	case step.OnUnknown == playbook.UnknownRetry && !a.Unsettled:
		p.failedAttempt(n, e, a)
	case step.OnUnknown == playbook.UnknownRetry:
		until := p.now.Add(step.Timeout)
		e.SettleUntil = &until
		p.mark(n)
	default:
		p.endNode(n, record.NodeUnknown, a.Error)
	}
}

// awaitEnd waits for an agent to say that an UNKNOWN action is over, so that it can be tried again.
func (p *Plan) awaitEnd(n *node, e *record.NodeStage) {
	if p.now.Before(*e.SettleUntil) {
		p.wakeAt(*e.SettleUntil, n.rec.Node)
		return
	}
	p.endNode(n, record.NodeUnknown, n.lastAction().Error)
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
		n.rec.Stages = append(n.rec.Stages, record.NodeStage{
			Name: p.stageSpec().Name, Pass: p.run.Pass, State: record.StagePending,
		})
		e = &n.rec.Stages[len(n.rec.Stages)-1]
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
