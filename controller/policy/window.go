package policy

import (
	"time"

	"github.com/replicante-io/playbooks/record"
)

// wallClock is the time by the clock of this leader, which decides about times of the day.
func (p *Plan) wallClock() time.Time { return p.now.Add(-p.offset) }

// mayOpenBatch reports whether a window of the playbook is open. Windows do not keep what undoes a run or cleans up after it.
func (p *Plan) mayOpenBatch() bool {
	return len(p.spec.Windows) == 0 || p.pass.afterOutcome || p.spec.Windows.Open(p.wallClock())
}

// awaitWindow has a group that has no open batch wait for the next window, and reports whether it does.
func (p *Plan) awaitWindow(g *group) bool {
	rec := p.groupRecord(g)
	if p.mayOpenBatch() {
		if rec.Waiting != nil && rec.Waiting.For == record.WaitWindow {
			p.replaceWait(&rec.Waiting, nil)
		}
		return false
	}
	p.cancelRequest(p.stageKey(ForSelection, g))
	for _, name := range g.pending { // it is nobody's turn: each has its full time when it is again
		n := p.nodes[name]
		if e := p.entryOf(n); e != nil && e.Waiting != nil {
			p.setWait(n, e, nil)
			p.touch(n)
		}
	}
	wait := &record.Wait{For: record.WaitWindow, Since: p.now, Stage: p.stageSpec().Name}
	if opens, found := p.spec.Windows.Opens(p.wallClock()); found {
		wait.Until = &opens
	}
	if old := rec.Waiting; old != nil && old.For == record.WaitWindow {
		wait.Since = old.Since
	}
	p.replaceWait(&rec.Waiting, wait)
	return true
}

// waitOver is when a wait of a group ends by the clock of the run's records. A window opens by the leader's own clock.
func (p *Plan) waitOver(w *record.Wait) time.Time {
	if w.For == record.WaitWindow {
		return w.Until.Add(p.offset)
	}
	return *w.Until
}
