package policy

import (
	"slices"

	"github.com/replicante-io/playbooks/playbook"
	"github.com/replicante-io/playbooks/record"
)

// retryPass takes nodes that were not done again through the stages that are left for them, each from the step at which it was.
func retryPass(spec *playbook.Spec, number int, stages []string) pass {
	p := mainPass(spec)
	all := p.stages
	p.kind, p.number, p.stages = record.PassRetry, number, nil
	p.limits.needsTargets = false
	p.takesPart = func(*record.RunNode) bool { return true }
	for _, stage := range all {
		if slices.Contains(stages, stage.Name) {
			p.stages = append(p.stages, stage)
		}
	}
	return p
}

// stagesOf are the stages of a pass that the run has a record of.
func stagesOf(run *record.Run, kind record.PassKind, number int) []string {
	var names []string
	for i := range run.Stages {
		if st := &run.Stages[i]; st.Pass == kind && st.PassNumber == number {
			names = append(names, st.Name)
		}
	}
	return names
}

// retry has nodes that are not done begin again where they were: in the open stage of a paused run, or in a pass of their own of a run
// that has ended.
func (p *Plan) retry(c Command) *record.RejectedError {
	if !p.ended() && (p.run.State != record.RunPaused || p.run.Outcome != "") {
		return p.wrongState(c, record.RunPaused, record.RunFailed, record.RunCancelled, record.RunDone)
	}
	if p.run.StartTS == nil { // it may not even have been approved
		return &record.RejectedError{Code: record.CodeNothingToRetry, Data: record.Document{"run": p.run.ID, "state": string(p.run.State), "begun": false}}
	}
	nodes, rejected := p.toRetry(c)
	if rejected != nil {
		return rejected
	}
	data := record.Document{"nodes": int64(len(nodes))}
	named := make([]any, min(len(nodes), maxRetryNamed))
	for i := range named {
		named[i] = nodes[i]
	}
	data["named"] = named
	if !p.ended() {
		p.recordCommand(record.EventRunRetried, c, "", data)
		last := p.run.LastCommand
		if rejected := p.resume(Command{Command: record.Command{Verb: record.VerbResume}}); rejected != nil {
			return rejected
		}
		p.run.LastCommand, p.run.PutBack = last, nodes
		p.pending.events[len(p.pending.events)-1].Actor = c.Actor
		return nil
	}
	p.reopenRun(nodes)
	p.recordCommand(record.EventRunRetried, c, "", p.passData(data))
	return nil
}

// maxRetryNamed is how many nodes an event names.
const maxRetryNamed = 100

// reopenRun takes back the end of the run, which gets the last place in the queue of its cluster.
func (p *Plan) reopenRun(nodes []string) {
	from := len(p.spec.Stages)
	for _, name := range nodes {
		from = min(from, p.resumesAt(p.nodes[name]))
	}
	var stages []string
	all := mainPass(p.spec).stages
	for i, stage := range all {
		if p.stageAt(stage.Name) >= from || i == len(all)-1 {
			stages = append(stages, stage.Name)
		}
	}
	queued := p.now
	p.run.QueuedTS, p.run.EndTS, p.run.Outcome, p.run.Error, p.run.Rollback = &queued, nil, "", nil, nil
	p.setWaiting(nil)
	p.setRun(record.RunPending)
	p.beginPass(retryPass(p.spec, p.passesOf(record.PassRetry)+1, stages))
	p.run.PutBack = nodes
	p.pending.fence, p.effects.EnterQueue = true, true
}

// awaitsRetry reports whether the run has ended before, and was not admitted again.
func (p *Plan) awaitsRetry() bool {
	return p.run.State == record.RunPending && p.pass.kind == record.PassRetry
}

// toRetry are the nodes that a retry is about: those that it names, or all that are not done.
func (p *Plan) toRetry(c Command) ([]string, *record.RejectedError) {
	var nodes []string
	for _, name := range c.Nodes {
		n := p.nodes[name]
		if n == nil {
			return nil, &record.RejectedError{Code: record.CodeNoSuchNode, Data: record.Document{"run": p.run.ID, "node": name}}
		}
		if why := p.keepsFromRetry(n); why != "" {
			return nil, &record.RejectedError{Code: record.CodeNotRetried, Data: record.Document{
				"run": p.run.ID, "node": name, "state": string(n.rec.State), "why": why}}
		}
	}
	unsettled := int64(0)
	for _, name := range p.names {
		n := p.nodes[name]
		if len(c.Nodes) > 0 && !slices.Contains(c.Nodes, name) {
			continue
		}
		switch p.keepsFromRetry(n) {
		case "":
			nodes = append(nodes, name)
		case whyUnsettled:
			unsettled++
		}
	}
	if len(nodes) == 0 {
		return nil, &record.RejectedError{Code: record.CodeNothingToRetry, Data: record.Document{
			"run": p.run.ID, "state": string(p.run.State), "unsettled": unsettled}}
	}
	return nodes, nil
}

// Why a node is not retried.
const (
	whyState     = "state"     // its state is none that is retried
	whyUnsettled = "unsettled" // an action may still be running on it
	whyRemoved   = "removed"   // it was removed and is not back
	whyStage     = "stage"     // it did not fail in the open stage of the paused run
)

// keepsFromRetry is why a node is not retried; empty where it can be.
func (p *Plan) keepsFromRetry(n *node) string {
	switch n.rec.State {
	case record.NodeFailed, record.NodeUnknown, record.NodeNotReached, record.NodeIncomplete, record.NodeCancelled,
		record.NodeRolledBack, record.NodeRollbackFailed:
	case record.NodeRemoved:
		if !p.ended() || !n.fact.Present {
			return whyRemoved
		}
	default:
		return whyState
	}
	if n.rec.Unsettled() {
		return whyUnsettled
	}
	if e := n.lastEntry(); p.run.State == record.RunPaused && (e == nil || !p.isCurrent(e) || !p.stageOpen() || undecidedTarget(e)) {
		return whyStage
	}
	return ""
}

// undecidedTarget reports whether it could not be decided whether the stage is for the node, or in which of its groups.
func undecidedTarget(e *record.NodeStage) bool {
	return e.Cause != nil && (e.Cause.Data["what"] == "targets" || e.Cause.Data["what"] == "groups")
}

// putBack takes the nodes of a retry out of their final states, as many as one commit should hold. It is false while there are more.
func (p *Plan) putBack() bool {
	if p.ending() {
		p.run.PutBack, p.pending.run = nil, true
		return true
	}
	for len(p.run.PutBack) > 0 {
		if !p.room() {
			p.more = true
			return false
		}
		n := p.nodes[p.run.PutBack[0]]
		p.run.PutBack, p.pending.run = p.run.PutBack[1:], true
		if n != nil && (n.rec.State == record.NodeRemoved || p.keepsFromRetry(n) == "") { // an operator may have resolved it
			p.putNodeBack(n)
		}
	}
	p.run.PutBack = nil
	if p.stageOpen() {
		p.restartLadder()
	}
	return true
}

func (p *Plan) putNodeBack(n *node) {
	n.rec.Error = nil
	if n.rec.Membership == record.MemberRemoved {
		n.rec.Membership = record.MemberKnown
		if n.rec.Newcomer {
			n.rec.Membership = record.MemberAdded
		}
	}
	state := record.NodePending
	if len(n.rec.Actions) > 0 || n.lastDone() != "" {
		state = record.NodeWaiting
	}
	cause := &record.Error{Code: record.CauseRetried}
	if e := n.lastEntry(); e != nil && p.isCurrent(e) { // of a paused run
		e.Step, e.FailedAttempts, e.HealthyTS, e.Batch = p.stepToRetry(n, e), 0, nil, 0
		p.setEntry(n, e, record.NodeStagePending, cause)
		if g := p.groups[e.Group]; g != nil {
			p.addPending(g, n)
		}
	}
	p.setNode(n, state, cause)
}

// restartLadder has the batches of the open stage begin with the first size again, and its budget with the failures that were not retried.
func (p *Plan) restartLadder() {
	for _, st := range p.sharing() {
		st.AcceptedFailures = 0
	}
	st := p.stage()
	st.AcceptedFailures = p.stageFailures()
	st.Batches = st.Batch
	for i := range st.Groups {
		st.Groups[i].LadderFrom = p.batchesBefore(p.groups[st.Groups[i].Key]) + st.Groups[i].LadderFrom
	}
	st.Batches += p.batchesAhead()
}

// stageAt is the place of a stage in the playbook.
func (p *Plan) stageAt(name string) int {
	return slices.IndexFunc(p.spec.Stages, func(s playbook.Stage) bool { return s.Name == name })
}

// lastWork is the last entry of the node by which it took part in a stage, or by which a stage was rolled back on it; nil when there is none.
func (n *node) lastWork() *record.NodeStage {
	for i := len(n.rec.Stages) - 1; i >= 0; i-- {
		e := &n.rec.Stages[i]
		idle := e.State == record.NodeStagePending || e.State == record.NodeStageNotReached || e.State == record.NodeStageSkipped
		if e.Pass != record.PassCleanup && !(e.Pass == record.PassRollback && idle) {
			return e
		}
	}
	return nil
}

// resumesAt is the place of the first stage that is left for the node.
func (p *Plan) resumesAt(n *node) int {
	e := n.lastWork()
	if e == nil {
		return 0
	}
	at := max(0, p.stageAt(e.Name))
	if e.State == record.NodeStageDone && e.Pass != record.PassRollback {
		at++
	}
	return at
}

// dueIn reports whether the stage that the run is at is left for a node of a retry. Chosen is true for one that the stage had chosen before:
// that is not decided again.
func (p *Plan) dueIn(n *node) (due, chosen bool) {
	if p.pass.kind != record.PassRetry {
		return true, false
	}
	at := p.stageAt(p.stageSpec().Name)
	if n.rec.Newcomer && p.stageSpec().Pick != nil || p.resumesAt(n) > at {
		return false, false
	}
	e := n.lastWork()
	return true, e != nil && e.Name == p.stageSpec().Name && !undecidedTarget(e)
}

// retryEntry makes the entry of a node in a stage of a retry, at the step at which it was.
func (p *Plan) retryEntry(n *node) {
	before := n.lastWork()
	step, wasHealthy := 0, (*bool)(nil)
	switch {
	case before == nil || before.Name != p.stageSpec().Name:
	case before.Pass != record.PassRollback:
		step, wasHealthy = p.stepToRetry(n, before), before.WasHealthy
	default: // what was done is undone, or some of it
		if forward := n.forwardEntry(before.Name); forward != nil {
			wasHealthy = forward.WasHealthy
		}
	}
	e := p.entry(n)
	e.Step, e.WasHealthy = step, wasHealthy
}

// stepToRetry is the step of a stage with which a node continues: the one that it was at, or the next where that turned out to be done.
func (p *Plan) stepToRetry(n *node, e *record.NodeStage) int {
	steps, step := p.stageSpec().steps, e.Step
	if step >= len(steps) {
		return len(steps)
	}
	if a := n.lastActionOf(e); a != nil && a.State == record.ActionDone && a.Step == steps[step].Name {
		step++
	}
	return step
}

// nodesLeft is how many nodes of a run that was retried are not done.
func (p *Plan) nodesLeft() int {
	if p.passesOf(record.PassRetry) == 0 {
		return 0
	}
	left := 0
	for _, state := range []record.NodeState{record.NodeNotReached, record.NodeIncomplete, record.NodeCancelled, record.NodeRolledBack, record.NodeRollbackFailed} {
		left += p.run.Counts[state]
	}
	return left
}
