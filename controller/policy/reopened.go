package policy

import (
	"github.com/replicante-io/playbooks/record"
)

// A node that has ended is reopened for each stage of a rollback or a cleanup that is for it. Its record says how it had ended.

// reopen takes a node that has ended into the stage that opens.
func (p *Plan) reopen(n *node) {
	if n.rec.Before == nil {
		before := record.NodeChange{State: n.rec.State, TS: p.now}
		if len(n.rec.History) > 0 {
			before = n.rec.History[len(n.rec.History)-1]
		}
		n.rec.Before = &before
	}
	p.entry(n)
	p.setNode(n, record.NodeWaiting, &record.Error{Code: record.CauseReopened, Data: record.Document{
		"pass": string(p.pass.kind), "stage": p.stageSpec().Name}})
}

// openReopened opens the stage for nodes that have ended, as one group.
func (p *Plan) openReopened(targets []*node) {
	st, started := p.stage(), p.now
	st.State, st.StartTS, st.Waiting, st.Total = record.StageRunning, &started, nil, len(targets)
	st.Counts = map[record.NodeState]int{}
	if st.Total > 0 {
		st.Counts[record.NodePending] = st.Total
	}
	st.Groups = []record.StageGroup{{State: record.GroupIdle}}
	g := &group{}
	p.groups = map[string]*group{g.key: g}
	for _, n := range targets {
		p.reopen(n)
		g.pending = append(g.pending, n.rec.Node)
	}
	p.pending.run = true
	p.event(record.EventStageStarted, "", st.Name, "", p.passData(record.Document{"nodes": int64(st.Total)}))
}

// endPart ends the node's part in the open stage of a rollback or a cleanup; failed is nil where it went well.
func (p *Plan) endPart(n *node, failed *record.Error) {
	if p.pass.kind == record.PassRollback {
		p.rolledBack(n, failed)
	} else {
		p.cleanedUp(n, failed)
	}
}

// finishReopened ends the part of a node in a rollback or a cleanup that was stopped.
func (p *Plan) finishReopened(n *node) {
	if n.rec.Before == nil {
		return
	}
	e, why := n.lastEntry(), p.stopped()
	switch {
	case !p.isCurrent(e):
	case e.State == record.NodeStagePending:
		p.setEntry(n, e, record.NodeStageNotReached, why)
		if p.pass.kind == record.PassCleanup {
			p.asBefore(n)
			return
		}
	case e.State.InBatch():
		p.setEntry(n, e, record.NodeStageCancelled, p.position(e))
	}
	p.endPart(n, why)
	p.leaveBatch(n)
}

// removeReopened ends the part of a node in a rollback or a cleanup that is gone for longer than its grace.
func (p *Plan) removeReopened(n *node) {
	cause := &record.Error{Code: record.CauseRemoved}
	if e := n.lastEntry(); p.isCurrent(e) && e.State == record.NodeStagePending {
		p.setEntry(n, e, record.NodeStageSkipped, cause)
	}
	if p.pass.kind == record.PassCleanup {
		p.asBefore(n)
	} else {
		p.endPart(n, cause)
	}
}

// asBefore gives the node the state again that it had before the stage.
func (p *Plan) asBefore(n *node) {
	before := n.rec.Before
	n.rec.Before = nil
	p.changeNode(n, before.State, before.Cause)
}
