package policy

import (
	"fmt"
	"slices"
	"time"

	"github.com/replicante-io/playbooks/record"
)

// changes are what the next commit holds, and what it follows.
type changes struct {
	head        head
	run         bool // the run's record has changed
	nodes       []*node
	events      []record.Event
	idempotency []record.IdempotencyRecord
	fence       bool
}

// head is the run as of the last commit.
type head struct {
	rev      int64
	commitID string
}

// Resume computes every effect that the records call for, as a new leader needs it, and decides what can be decided at now.
func (p *Plan) Resume(now time.Time) (record.Commit, Effects) {
	p.setClock(now)
	p.begin(now)
	if p.config.Claimed && !p.ended() {
		p.forgiveAbsence()
	}
	unsettled := 0
	for _, name := range p.names {
		p.restore(p.nodes[name])
		if p.nodes[name].rec.Unsettled() {
			unsettled++
		}
	}
	if unsettled != p.run.Unsettled { // a node's record is gone from the store: nothing would ever settle it
		p.run.Unsettled, p.pending.run = unsettled, true
	}
	p.restoreGroups()
	p.effects.EnterQueue = p.run.State == record.RunPending
	if !p.ended() {
		if p.config.Claimed {
			p.event(record.EventRunClaimed, "", "", "", record.Document{"term": p.run.Term})
		}
		p.endRefused()
		p.advance()
	}
	return p.finishApply()
}

// restore computes what follows from one node's record.
func (p *Plan) restore(n *node) {
	n.locked = needsLock(&n.rec)
	if a := n.lastAction(); a != nil && (a.State.InFlight() || a.Unsettled) {
		if a.State.InFlight() {
			p.inFlight++
		}
		p.dispatch(n, a)
	}
	if p.ended() {
		return
	}
	if e := n.lastEntry(); e != nil && e.Waiting != nil {
		p.waits.add(n, e)
	}
	p.touch(n)
	p.checkGone(n)
}

// Apply changes the records by inputs, in order, and returns one commit and the effects that follow once it is stored.
// Rejected holds the refused commands by their place in inputs; nothing of them is in the commit.
func (p *Plan) Apply(now time.Time, inputs []Input) (record.Commit, Effects, map[int]*record.RejectedError) {
	p.begin(now)
	var rejected map[int]*record.RejectedError
	for i, input := range inputs {
		if refusal := input.apply(p); refusal != nil {
			if rejected == nil {
				rejected = map[int]*record.RejectedError{}
			}
			rejected[i] = refusal
		}
	}
	p.wakeNodes()
	if !p.ended() {
		p.advance()
	}
	commit, effects := p.finishApply()
	return commit, effects, rejected
}

func (p *Plan) begin(now time.Time) {
	p.now = record.Time(now.Add(p.offset))
	p.forgetOrders()
	p.effects = Effects{}
	p.answers = map[FactKey]*facts{}
	p.entered, p.written, p.more = 0, 0, false
	postponed := p.queue.postponed
	p.queue.postponed = nil
	for _, n := range postponed {
		p.touch(n)
	}
}

// advance decides until nothing more can be decided now. What has ended comes before what may start: it may be what
// exceeds the budget.
func (p *Plan) advance() {
	for {
		for !p.ended() {
			n := p.queue.next()
			if n == nil {
				break
			}
			if !p.attend(n) {
				p.queue.ready = append(p.queue.ready, n)
			}
		}
		if n := p.queue.nextReady(); n != nil && !p.ended() {
			if !p.attend(n) { // it may be here twice
				p.runSteps(n)
			}
			continue
		}
		if p.ended() || !p.progress() {
			return
		}
	}
}

// workQueue holds the nodes that have to be looked at.
type workQueue struct {
	touched []*node
	ready   []*node // that may have a step to start
	seen    []*node // in this Apply: their timers may have moved
	// postponed are to be looked at by the next Apply.
	postponed []*node
}

func (q *workQueue) next() *node {
	if len(q.touched) == 0 {
		return nil
	}
	n := q.touched[len(q.touched)-1]
	q.touched = q.touched[:len(q.touched)-1]
	n.queued = false
	return n
}

func (q *workQueue) nextReady() *node {
	if len(q.ready) == 0 {
		return nil
	}
	n := q.ready[0]
	q.ready = q.ready[1:]
	return n
}

func (p *Plan) touch(n *node) {
	if !n.queued {
		n.queued = true
		p.queue.touched = append(p.queue.touched, n)
		p.queue.seen = append(p.queue.seen, n)
	}
}

func (p *Plan) mark(n *node) {
	if !n.dirty {
		n.dirty = true
		p.written += n.size()
		p.pending.nodes = append(p.pending.nodes, n)
	}
}

func (p *Plan) event(kind record.EventType, node, stage, step string, data record.Document) {
	p.run.Seq++
	p.pending.events = append(p.pending.events, record.Event{
		RunID: p.run.ID, Seq: p.run.Seq, TS: p.now, Type: kind, Node: node, Stage: stage, Step: step, Data: data,
	})
}

// finishApply makes the commit of what has changed.
func (p *Plan) finishApply() (record.Commit, Effects) {
	p.stampFinish()
	p.updateWaiting()
	p.countTime()
	p.measure()
	c, updated := &p.pending, p.run.UpdateTS
	empty := !c.run && len(c.nodes) == 0 && len(c.events) == 0 && len(c.idempotency) == 0
	if !empty {
		updated = p.now
	}
	p.effects.Continue = p.more
	p.effects.UnlockNodes = slices.DeleteFunc(p.effects.UnlockNodes, func(name string) bool { return p.nodes[name].locked })
	p.updateTimers()
	if p.effects.WakeAt = p.nextWake(updated); p.effects.WakeAt != nil {
		p.effects.WakeAt = later(*p.effects.WakeAt, -p.offset)
	}
	if empty {
		return record.Commit{}, p.effects
	}
	p.run.Rev = c.head.rev + 1
	p.run.CommitID = fmt.Sprintf("%d.%d", p.run.Term, p.run.Rev)
	p.run.UpdateTS = p.now
	commit := record.Commit{
		ID: p.run.CommitID, After: c.head.commitID, Run: p.run,
		Events: c.events, Idempotency: c.idempotency, Fence: c.fence,
	}
	commit.Nodes = make([]record.RunNode, len(c.nodes))
	for i, n := range c.nodes {
		n.rec.FinishTS = p.run.FinishTS
		commit.Nodes[i] = n.rec
		n.dirty = false
	}
	for i := range c.events {
		c.events[i].FinishTS = p.run.FinishTS
	}
	p.pending = changes{head: head{p.run.Rev, p.run.CommitID}, nodes: c.nodes[:0]}
	return commit, p.effects
}
