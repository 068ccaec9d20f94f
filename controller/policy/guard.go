package policy

import (
	"time"

	"github.com/replicante-io/playbooks/playbook"
	"github.com/replicante-io/playbooks/record"
)

const (
	// guardEvery is how often a guard that does not hold, or a limit that allows nothing, is asked again, once that has been so for
	// guardSlowAfter; before, it is asked again after factsEvery.
	guardEvery     = 10 * time.Second
	guardSlowAfter = time.Minute
)

// guarded reports whether a guard has to hold before a batch of the open stage opens. What undoes a run or cleans up after it has none.
func (p *Plan) guarded() bool { return p.stageSpec().Guard != nil && !p.pass.afterOutcome }

// requestSelection asks for the facts by which the next batch is guarded and selected, and returns them if this Apply has got them.
func (p *Plan) requestSelection(key FactKey, nodes ...string) *facts {
	p.selecting = true
	every := p.selectionEvery()
	if asked, ok := p.requests[key]; ok && asked.Every != every && p.answers[key] == nil {
		p.cancelRequest(key)
	}
	return p.request(key, every, p.asksAll() || p.stageSpec().OrderBy.NeedsAllNodes(), nodes...)
}

// asksAll reports whether facts of all nodes are needed before a batch of the open stage opens.
func (p *Plan) asksAll() bool { return p.guarded() || p.limited() }

func (p *Plan) selectionEvery() time.Duration {
	for _, since := range p.selectionWaits() {
		if p.now.Sub(since) >= guardSlowAfter {
			return guardEvery
		}
	}
	return factsEvery
}

// selectionWaits are since when the next batches wait for other nodes.
func (p *Plan) selectionWaits() []time.Time {
	var since []time.Time
	if w := p.guardWait(); w != nil {
		since = append(since, w.Since)
	}
	for i := range p.stage().Groups {
		if w := p.stage().Groups[i].Waiting; waitsForLimit(w) {
			since = append(since, w.Since)
		}
	}
	return since
}

// guardWait is the wait for the guard of the open stage; nil for none.
func (p *Plan) guardWait() *record.Wait {
	if st := p.stage(); st != nil && st.Waiting != nil && st.Waiting.For == record.WaitGuard {
		return st.Waiting
	}
	return nil
}

// guardHolds reports whether the guard lets a batch of the group open, by facts of all nodes that were read after the last batch opened.
// The nodes of the batch are selected by the same facts. Where it does not hold, decided is whether it has not for too long.
func (p *Plan) guardHolds(g *group) (holds, decided bool) {
	if !p.guarded() {
		return true, false
	}
	key := p.selectionKey(g)
	seen := p.requestSelection(key)
	if seen == nil {
		return false, false
	}
	guard, st := p.stageSpec().Guard, p.stage()
	why := p.unmetCheck(guard.Check, nil, seen)
	if why == nil {
		p.replaceWait(&st.Waiting, nil)
		return true, false
	}
	p.forgetTurns([]*group{g})
	left := maxExplainSteps
	wait := &record.Wait{For: record.WaitGuard, Since: p.now, Until: later(p.now, guard.Timeout), Stage: st.Name, Data: record.Document{
		"error": asData(p.explain(why, nil, seen, &left)), "on_timeout": string(guard.OnTimeout)}}
	if before := p.guardWait(); before != nil {
		wait.Since, wait.Until = before.Since, before.Until
	}
	p.replaceWait(&st.Waiting, wait)
	p.guardSeen = true
	if p.expireGuard() {
		return false, true
	}
	if p.requests[key].Every != p.selectionEvery() {
		p.cancelRequest(key)
		p.requestSelection(key)
	}
	return false, false
}

// expireGuard does what the playbook says about a guard that has not held for too long. A new leader has time to look itself.
func (p *Plan) expireGuard() bool {
	w := p.guardWait()
	if w == nil || p.now.Before(*w.Until) || !p.guardSeen && p.now.Before(w.Until.Add(gatePatience)) {
		return false
	}
	guard := p.stageSpec().Guard
	err := &record.Error{Code: record.CodeGuardTimeout, Data: record.Document{
		"stage": w.Stage, "timeout": guard.Timeout.String(), "why": w.Data["error"], "on_timeout": string(guard.OnTimeout)}}
	if guard.OnTimeout == playbook.TimeoutFail {
		p.failStage(err)
	} else {
		p.pauseFor(err)
	}
	return true
}

// dropGuard ends the wait for the guard: no batch is about to open. It has its full time again at the next one.
func (p *Plan) dropGuard() {
	if p.guardWait() != nil {
		p.replaceWait(&p.stage().Waiting, nil)
	}
}

// forgiveGuard gives a guard the time back in which nobody led.
func (p *Plan) forgiveGuard(wait *record.Wait, absence time.Duration) *record.Wait {
	next := *wait
	if next.Until = later(*wait.Until, absence); next.Until.Before(p.now.Add(askMargin)) {
		next.Until = later(p.now, askMargin)
	}
	return &next
}
