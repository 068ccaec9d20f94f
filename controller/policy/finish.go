package policy

import (
	"slices"

	"github.com/replicante-io/playbooks/record"
)

// finishNodes ends the nodes that have not ended. Nothing is in flight; something may be unsettled. It is false where their records are more than one
// commit should hold.
func (p *Plan) finishNodes(outcome record.RunState) bool {
	for _, name := range p.names {
		if n := p.nodes[name]; !n.rec.State.Final() && !p.room() {
			p.more = true
			return false
		}
		p.finishNode(p.nodes[name], outcome)
	}
	return true
}

// finishPass ends the pass, of which all nodes have ended.
func (p *Plan) finishPass(outcome record.RunState) {
	for i := range p.run.Stages {
		p.finishStage(&p.run.Stages[i], outcome)
	}
	p.dropChosen()
	p.groups = map[string]*group{}
	p.cancelRequests()
}

// endRun ends the run, of which all nodes have ended.
func (p *Plan) endRun(outcome record.RunState) {
	p.finishPass(outcome)
	outcome = p.judge(outcome)
	p.run.AfterTogether = false
	p.setRun(outcome)
	ended := p.now
	p.run.EndTS = &ended
	p.cancelRequests()
	p.setWaiting(nil)
	p.event(record.EventRunFinished, "", "", "", withCause(record.Document{"state": string(outcome)}, p.run.Error))
}

// judge is how a run ends, of which all nodes have ended: one that went to its end has failed where its nodes have, or where some are left to be retried.
func (p *Plan) judge(outcome record.RunState) record.RunState {
	if outcome == record.RunDone && p.anyFailed() {
		outcome = record.RunFailed
	}
	if left := p.nodesLeft(); outcome == record.RunDone && left > 0 {
		outcome, p.run.Error = record.RunFailed, &record.Error{Code: record.CodeNodesLeft, Data: record.Document{"nodes": int64(left)}}
	}
	if outcome == record.RunFailed && p.run.Error == nil {
		p.run.Error = &record.Error{Code: record.CodeNodesFailed, Data: p.failures("")}
	}
	if outcome == record.RunDone {
		p.run.Error = nil
	}
	return outcome
}

// anyFailed reports whether a node has failed, or ended UNKNOWN, and none was picked in its place.
func (p *Plan) anyFailed() bool {
	if p.run.Counts[record.NodeFailed]+p.run.Counts[record.NodeUnknown] == 0 {
		return false
	}
	full := p.fullPicks()
	for _, n := range p.nodes {
		if (n.rec.State == record.NodeFailed || n.rec.State == record.NodeUnknown) && !n.replaced(full) {
			return true
		}
	}
	return false
}

// stampFinish makes finish_ts what the records say: an ended run is finished once nothing of it is unsettled.
func (p *Plan) stampFinish() {
	finished := p.ended() && p.run.Unsettled == 0
	if finished == (p.run.FinishTS != nil) {
		return
	}
	p.run.FinishTS = nil
	if finished {
		now := p.now
		p.run.FinishTS = &now
	}
	p.pending.run = true
}

func (p *Plan) finishStage(st *record.RunStage, outcome record.RunState) {
	if left := st.Counts[record.NodePending]; left > 0 { // its nodes that no batch has taken
		delete(st.Counts, record.NodePending)
		st.Counts[record.NodeNotReached] += left
	}
	switch {
	case st.State == record.StagePending && st.Error != nil: // it could not even be opened
		p.endStage(st, record.StageFailed)
	case st.State == record.StagePending:
		st.State = record.StageNotReached
	case st.State == record.StageRunning && outcome == record.RunCancelled:
		p.endStage(st, record.StageCancelled)
	case st.State == record.StageRunning:
		p.endStage(st, record.StageFailed)
	}
	st.Waiting = nil
}

// finishNode ends a node's record with its run, if it has not ended.
func (p *Plan) finishNode(n *node, outcome record.RunState) {
	if n.rec.State.Final() {
		return
	}
	if n.rec.Before != nil {
		p.finishReopened(n)
		return
	}
	cause := &record.Error{Code: record.CauseRunFailed}
	if outcome == record.RunCancelled {
		cause.Code = record.CauseRunCancelled
	}
	if e := n.batchEntry(); e != nil {
		p.finishMember(n, e, outcome)
		return
	}
	if e := n.lastEntry(); e != nil && e.State == record.NodeStagePending {
		p.setEntry(n, e, record.NodeStageNotReached, cause)
	}
	switch {
	case n.rec.State == record.NodeWaiting && outcome == record.RunDone:
		p.setNode(n, record.NodeDone, nil)
	case n.rec.State == record.NodeWaiting:
		p.setNode(n, record.NodeIncomplete, n.withDone(&record.Error{Code: cause.Code, Data: record.Document{"after": n.lastDone()}}))
	case outcome == record.RunDone:
		p.setNode(n, record.NodeSkipped, &record.Error{Code: record.CauseNoStage})
	default:
		p.setNode(n, record.NodeNotReached, cause)
	}
}

// finishMember ends the record of a node that is in an open batch.
func (p *Plan) finishMember(n *node, e *record.NodeStage, outcome record.RunState) {
	where := n.withDone(p.position(e))
	switch {
	case e.State == record.NodeStageVerifying || e.State == record.NodeStageSettling:
		p.endNode(n, record.NodeUnknown, n.lastAction().Error)
	case e.FailedAttempts > 0:
		p.endNode(n, record.NodeFailed, n.lastAction().Error)
	case outcome == record.RunCancelled:
		p.setEntry(n, e, record.NodeStageCancelled, where)
		p.setNode(n, record.NodeCancelled, where)
	case len(n.rec.Actions) > 0:
		p.setEntry(n, e, record.NodeStageNotReached, where)
		p.setNode(n, record.NodeIncomplete, where)
	default:
		p.setEntry(n, e, record.NodeStageNotReached, where)
		p.setNode(n, record.NodeNotReached, where)
	}
	p.leaveBatch(n)
}

// position says where a member of a batch was when its run ended.
func (p *Plan) position(e *record.NodeStage) *record.Error {
	if steps := p.stageSpec().steps; p.isCurrent(e) && e.Step < len(steps) {
		return &record.Error{Code: record.CauseBeforeStep, Data: record.Document{"stage": e.Name, "step": steps[e.Step].Name}}
	}
	return &record.Error{Code: record.CauseBeforeHealth, Data: record.Document{"stage": e.Name}}
}

// lastDone is the last stage that the node has passed; empty when it has passed none.
func (n *node) lastDone() string {
	for i := len(n.rec.Stages) - 1; i >= 0; i-- {
		if n.passed(i) {
			return n.rec.Stages[i].Name
		}
	}
	return ""
}

// passed reports whether the node has passed the stage of its i-th entry, and it was not rolled back since.
func (n *node) passed(i int) bool {
	e := &n.rec.Stages[i]
	return e.State == record.NodeStageDone && e.Pass != record.PassCleanup && n.undoneAt(e.Name) < i
}

// undoneAt is the place of the last entry by which a stage was rolled back on the node; -1 where there is none.
func (n *node) undoneAt(stage string) int {
	for i := len(n.rec.Stages) - 1; i >= 0; i-- {
		if e := &n.rec.Stages[i]; e.Name == stage && e.Pass == record.PassRollback && e.State == record.NodeStageDone {
			return i
		}
	}
	return -1
}

// stands reports whether an action of the node did something for its stage that was not rolled back since.
func (n *node) stands(a *record.Action) bool {
	at := slices.IndexFunc(n.rec.Stages, func(e record.NodeStage) bool { return of(a, &e) })
	return a.Pass != record.PassRollback && a.Pass != record.PassCleanup && at > n.undoneAt(a.Stage)
}

// maxDone bounds how much of what was done on a node the reason for its state names.
const maxDone = 20

// withDone adds to an error what was done on the node: the stages that it has passed and, of one that it has not, the steps, as
// stage/step; the last ones where those are many.
func (n *node) withDone(err *record.Error) *record.Error {
	passed := map[string]bool{}
	for i := range n.rec.Stages {
		if n.passed(i) {
			passed[n.rec.Stages[i].Name] = true
		}
	}
	var done []any
	for i := range n.rec.Actions {
		a := &n.rec.Actions[i]
		what := a.Stage
		if !passed[a.Stage] {
			what += "/" + a.Step
		}
		if a.State == record.ActionDone && n.stands(a) && !slices.Contains(done, any(what)) {
			done = append(done, what)
		}
	}
	if len(done) > 0 {
		err.Data["done"] = done[max(0, len(done)-maxDone):]
	}
	return err
}
