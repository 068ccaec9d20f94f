package policy

import (
	"container/heap"
	"time"

	"github.com/replicante-io/playbooks/record"
)

// timer is when a node has to be looked at. A node has at most one.
type timer struct {
	at   time.Time
	node *node
}

// timers are the nodes' timers, the earliest first. Each node knows its place, counted from 1.
type timers []timer

func (t timers) Len() int { return len(t) }

func (t timers) Less(i, j int) bool { return t[i].at.Before(t[j].at) }

func (t timers) Swap(i, j int) {
	t[i], t[j] = t[j], t[i]
	t[i].node.timerAt, t[j].node.timerAt = i+1, j+1
}

func (t *timers) Push(x any) {
	*t = append(*t, x.(timer))
	(*t)[len(*t)-1].node.timerAt = len(*t)
}

func (t *timers) Pop() any {
	old := *t
	last := old[len(old)-1]
	last.node.timerAt = 0
	*t = old[:len(old)-1]
	return last
}

// set moves a node's timer; nil removes it.
func (t *timers) set(n *node, at *time.Time) {
	switch {
	case at == nil && n.timerAt > 0:
		heap.Remove(t, n.timerAt-1)
	case at == nil:
	case n.timerAt == 0:
		heap.Push(t, timer{*at, n})
	case !(*t)[n.timerAt-1].at.Equal(*at):
		(*t)[n.timerAt-1].at = *at
		heap.Fix(t, n.timerAt-1)
	}
}

// wakeNodes looks at the nodes whose timers are due.
func (p *Plan) wakeNodes() {
	for len(p.timers) > 0 && !p.timers[0].at.After(p.now) {
		n := p.timers[0].node
		p.timers.set(n, nil)
		p.touch(n)
		p.checkGone(n)
	}
}

// timerMode is what of the run decides which timers matter.
type timerMode struct {
	starts bool
	acts   bool
	state  record.RunState
}

// updateTimers recomputes the timers of the nodes that were looked at, and those of all nodes where others matter now.
func (p *Plan) updateTimers() {
	if mode := (timerMode{p.mayStart(), p.mayAct(), p.run.State}); mode != p.mode {
		p.mode = mode
		for _, n := range p.nodes {
			p.timers.set(n, p.nodeDeadline(n))
		}
	}
	for _, n := range p.queue.seen {
		p.timers.set(n, p.nodeDeadline(n))
	}
	for _, n := range p.pending.nodes {
		p.timers.set(n, p.nodeDeadline(n))
	}
	p.queue.seen = p.queue.seen[:0]
}

// earliest is the earlier of the moments that are still to come. At one that is over, the node or group was looked at, and
// something else has to happen first.
func (p *Plan) earliest(at *time.Time, t time.Time) *time.Time {
	if t.After(p.now) && (at == nil || t.Before(*at)) {
		return &t
	}
	return at
}

// nodeDeadline is when the node has to be looked at by its record; nil for never.
func (p *Plan) nodeDeadline(n *node) *time.Time {
	var at *time.Time
	if n.acts() {
		a := n.lastAction()
		if a.State == record.ActionCancelling {
			at = p.earliest(at, *a.CancelUntil)
		} else {
			at = p.earliest(at, a.DeadlineTS)
		}
	}
	if p.ended() {
		return at
	}
	if e := n.lastEntry(); e != nil && e.Waiting != nil && e.Waiting.Until != nil && p.waitMatters(e) {
		at = p.earliest(at, p.waitEnds(n, e))
	}
	if n.rec.GoneTS != nil && p.decidesRemoval(n) {
		if _, asked := p.requests[nodeKey(ForRemoval, n)]; !asked {
			at = p.earliest(at, n.rec.GoneTS.Add(p.Grace()))
		}
	}
	return at
}

// waitMatters reports whether the end of what a node waits for matters now.
func (p *Plan) waitMatters(e *record.NodeStage) bool {
	switch e.State {
	case record.NodeStageBackoff, record.NodeStageReady:
		return p.mayStart()
	case record.NodeStageVerifying:
		return p.mayAct()
	case record.NodeStageSettling:
		return p.run.State != record.RunPaused
	}
	return false
}

// waitEnds is when the wait of a node ends. A gate whose facts are not known yet, maybe because this leader is new, is given
// some more time.
func (p *Plan) waitEnds(n *node, e *record.NodeStage) time.Time {
	if e.State == record.NodeStageVerifying && n.unwell == nil && !p.now.Before(*e.Waiting.Until) {
		return e.Waiting.Until.Add(gatePatience)
	}
	return *e.Waiting.Until
}

// nextWake is when the plan has to be woken: for a node, or for a group, the stage or the run to decide. Updated is the last commit.
func (p *Plan) nextWake(updated time.Time) *time.Time {
	var at *time.Time
	if len(p.timers) > 0 {
		first := p.timers[0].at
		at = &first
	}
	if next := p.nextMeasure(updated); next != nil {
		at = p.earliest(at, *next)
	}
	if end := p.timeoutAt(); end != nil {
		at = p.earliest(at, *end)
	}
	if p.run.ApprovalUntil != nil {
		at = p.earliest(at, *p.run.ApprovalUntil)
	}
	if p.ended() || !p.progresses() || p.stage() == nil {
		return at
	}
	st := p.stage()
	if st.Waiting != nil && st.Waiting.Until != nil {
		at = p.earliest(at, *st.Waiting.Until)
		if w := p.guardWait(); w != nil && !p.guardSeen {
			at = p.earliest(at, w.Until.Add(gatePatience))
		}
	}
	for _, since := range p.selectionWaits() {
		at = p.earliest(at, since.Add(guardSlowAfter))
	}
	for i := range st.Groups {
		w, g := st.Groups[i].Waiting, p.groups[st.Groups[i].Key]
		if w == nil || w.Until == nil {
			continue
		}
		at = p.earliest(at, p.waitOver(w))
		if w.For == record.WaitGate && g.seen == nil {
			at = p.earliest(at, w.Until.Add(gatePatience))
		}
	}
	return at
}
