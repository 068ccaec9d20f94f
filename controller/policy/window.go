package policy

import (
	"slices"
	"time"

	"github.com/replicante-io/playbooks/record"
)

// wallClock is the time by the clock of this leader, which decides about times of the day.
func (p *Plan) wallClock() time.Time { return p.now.Add(-p.offset) }

// mayOpenBatch reports whether a window of the playbook is open. Windows keep neither what undoes a run or cleans up after it, nor stages that
// run together once a batch of the first of them has opened.
func (p *Plan) mayOpenBatch() bool {
	return len(p.spec.Windows) == 0 || p.pass.afterOutcome || p.goesOnTogether() || p.spec.Windows.Open(p.wallClock())
}

// goesOnTogether reports whether a batch has opened in stages that run together, and they have not ended.
func (p *Plan) goesOnTogether() bool {
	group := p.together()
	if group == nil {
		return false
	}
	return p.stage().Batch > 0 || p.run.StageIndex > 0 && slices.Contains(group, p.pass.stages[p.run.StageIndex-1].Name)
}

// awaitWindows has the groups that have no open batch wait for the next window, and reports whether they do. No agent is asked meanwhile.
func (p *Plan) awaitWindows() bool {
	if len(p.spec.Windows) == 0 {
		return false
	}
	open := p.mayOpenBatch()
	var opens *time.Time
	if !open {
		p.dropGuard()
		if next, found := p.spec.Windows.Opens(p.wallClock()); found {
			opens = &next
		}
	}
	st := p.stage()
	for i := range st.Groups {
		rec := &st.Groups[i]
		g := p.groups[rec.Key]
		switch {
		case p.active(g):
		case !open && p.hasPending(g):
			p.awaitWindow(g, opens)
		case rec.Waiting != nil && rec.Waiting.For == record.WaitWindow:
			p.replaceWait(&rec.Waiting, nil)
		}
	}
	return !open
}

func (p *Plan) hasPending(g *group) bool {
	p.dropTaken(g)
	return len(g.pending) > 0
}

// awaitWindow has a group wait for the next window.
func (p *Plan) awaitWindow(g *group, opens *time.Time) {
	p.cancelRequest(p.selectionKey(g))
	for _, name := range g.pending { // it is nobody's turn: each has its full time when it is again
		n := p.nodes[name]
		if e := p.entryOf(n); e != nil && e.Waiting != nil {
			p.setWait(n, e, nil)
			p.touch(n)
		}
	}
	rec := p.groupRecord(g)
	wait := &record.Wait{For: record.WaitWindow, Since: p.now, Until: opens, Stage: p.stageSpec().Name}
	if old := rec.Waiting; old != nil && old.For == record.WaitWindow {
		wait.Since = old.Since
	}
	p.replaceWait(&rec.Waiting, wait)
}

// waitOver is when a wait of a group ends by the clock of the run's records. A window opens by the leader's own clock.
func (p *Plan) waitOver(w *record.Wait) time.Time {
	if w.For == record.WaitWindow {
		return w.Until.Add(p.offset)
	}
	return *w.Until
}
