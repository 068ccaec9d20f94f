package policy

import (
	"github.com/replicante-io/playbooks/record"
)

// The entry of a node in a stage is its record.NodeStage of the stage and the pass. Only the last one can be open.

func (n *node) lastEntry() *record.NodeStage {
	if len(n.rec.Stages) == 0 {
		return nil
	}
	return &n.rec.Stages[len(n.rec.Stages)-1]
}

// entryOf is the node's entry of the stage that the run is at, in the pass that it is in.
func (p *Plan) entryOf(n *node) *record.NodeStage {
	for i := len(n.rec.Stages) - 1; i >= 0; i-- {
		e := &n.rec.Stages[i]
		if e.Name == p.stageSpec().Name && e.Pass == p.pass.kind && e.PassNumber == p.pass.number {
			return e
		}
	}
	return nil
}

// entry is entryOf, made where there is none yet.
func (p *Plan) entry(n *node) *record.NodeStage {
	if e := p.entryOf(n); e != nil {
		return e
	}
	n.rec.Stages = append(n.rec.Stages, record.NodeStage{
		Name: p.stageSpec().Name, Pass: p.pass.kind, PassNumber: p.pass.number, State: record.NodeStagePending,
	})
	p.mark(n)
	return n.lastEntry()
}

// batchEntry is the entry by which the node is a member of an open batch; nil when it is in none.
func (n *node) batchEntry() *record.NodeStage {
	if e := n.lastEntry(); e != nil && e.State.InBatch() {
		return e
	}
	return nil
}

// setEntry changes the state of a node in a stage, with all that is counted by it. What the node waited for is over.
func (p *Plan) setEntry(n *node, e *record.NodeStage, state record.NodeStageState, cause *record.Error) {
	p.setWait(n, e, nil)
	if g := p.groups[e.Group]; g != nil && p.isCurrent(e) {
		g.count(e.State, -1)
		g.count(state, +1)
	}
	if st := p.stageRecord(e.Name, pass{kind: e.Pass, number: e.PassNumber}); st != nil {
		p.count(st.Counts, countedAs(e.State), countedAs(state))
	}
	e.State, e.Cause = state, cause
	p.mark(n)
}

// isCurrent reports whether e is an entry of the stage that the run is at.
func (p *Plan) isCurrent(e *record.NodeStage) bool {
	return e.Name == p.stageSpec().Name && e.Pass == p.pass.kind && e.PassNumber == p.pass.number
}

// setWait changes what keeps a node from its next step.
func (p *Plan) setWait(n *node, e *record.NodeStage, wait *record.Wait) {
	if e.Waiting == wait {
		return
	}
	if e.Waiting != nil {
		p.waits.remove(n, e)
	}
	if e.Waiting = wait; wait != nil {
		p.waits.add(n, e)
	}
	p.mark(n)
}

// countedAs is the node state under which a stage counts a node.
func countedAs(state record.NodeStageState) record.NodeState {
	if state.InBatch() {
		return record.NodeRunning
	}
	return record.NodeState(state)
}

// setNode changes the state of a node's record.
func (p *Plan) setNode(n *node, state record.NodeState, cause *record.Error) {
	if n.rec.State == state {
		return
	}
	p.changeNode(n, state, cause)
	if state.Final() {
		p.event(record.EventNodeState, n.rec.Node, "", "", withCause(record.Document{"state": string(state)}, cause))
	}
}

// changeNode is setNode without an event.
func (p *Plan) changeNode(n *node, state record.NodeState, cause *record.Error) {
	p.count(p.run.Counts, n.rec.State, state)
	n.rec.State = state
	n.rec.History = append(n.rec.History, record.NodeChange{State: state, TS: p.now, Cause: cause})
	if over := len(n.rec.History) - record.MaxHistory; over > 0 {
		n.rec.History = append([]record.NodeChange(nil), n.rec.History[over:]...)
	}
	p.mark(n)
}

// withCause adds a cause to an event's data.
func withCause(data record.Document, cause *record.Error) record.Document {
	if cause == nil {
		return data
	}
	data["code"] = cause.Code
	if cause.Message != "" {
		data["message"] = cause.Message
	}
	if len(cause.Data) > 0 {
		data["about"] = map[string]any(cause.Data)
	}
	return data
}

func (p *Plan) count(counts map[record.NodeState]int, from, to record.NodeState) {
	if from == to {
		return
	}
	if from != "" {
		if counts[from]--; counts[from] <= 0 {
			delete(counts, from)
		}
	}
	if to != "" {
		counts[to]++
	}
	p.pending.run = true
}

// endNode ends the node's record, and its part in the open stage.
func (p *Plan) endNode(n *node, state record.NodeState, err *record.Error) {
	if n.rec.State.Final() {
		return
	}
	if err != nil && n.rec.Before == nil {
		n.rec.Error = err
	}
	e := p.entryOf(n)
	if e == nil && p.stageOpen() && !p.pass.afterOutcome {
		e = p.entry(n)
	}
	if e != nil && (e.State == record.NodeStagePending || e.State.InBatch()) {
		p.cancelNodeRequests(n)
		p.setEntry(n, e, record.NodeStageState(state), err)
	}
	if n.rec.Before != nil {
		p.endPart(n, err)
	} else {
		p.setNode(n, state, err)
	}
	p.leaveBatch(n)
}

// leaveBatch is called when the node is no longer a member of the open batch.
func (p *Plan) leaveBatch(n *node) {
	delete(p.holders, n.rec.Node)
	if !n.acts() {
		delete(p.silent, n.rec.Node)
	}
	p.unlock(n)
	p.checkGone(n)
}

func (p *Plan) cancelNodeRequests(n *node) {
	p.cancelRequest(nodeKey(ForStep, n))
	p.cancelRequest(nodeKey(ForVerifying, n))
}
