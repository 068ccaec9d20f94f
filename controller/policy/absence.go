package policy

import (
	"time"

	"github.com/replicante-io/playbooks/record"
)

// askMargin is how much time there is at least, after a leader has claimed a run, to ask once more before anything fails.
const askMargin = 10 * time.Second

// setClock keeps the times of records in order: where this leader's clock is behind that of the leader before, its own start from
// that one's last commit. Times that have passed are measured by one clock.
func (p *Plan) setClock(now time.Time) {
	if behind := p.run.UpdateTS.Sub(record.Time(now)); behind > 0 {
		p.offset = behind
	}
}

// forgiveAbsence gives back the time since the last commit to whatever ends now or soon: either nobody led, and nothing could be asked,
// or the clock of the leader before was another one.
func (p *Plan) forgiveAbsence() {
	absence := p.now.Sub(p.run.UpdateTS)
	if absence <= 0 {
		return
	}
	if p.run.TimeoutSince != nil {
		p.run.TimeoutSince = later(*p.run.TimeoutSince, absence)
		p.pending.run = true
	}
	if p.run.ApprovalUntil != nil {
		p.run.ApprovalUntil = later(*p.run.ApprovalUntil, absence)
		p.pending.run = true
	}
	if st := p.stage(); st != nil {
		p.forgiveStage(st, absence)
	}
	for _, name := range p.names {
		p.forgiveNode(p.nodes[name], absence)
	}
}

func (p *Plan) forgiveStage(st *record.RunStage, absence time.Duration) {
	waits := []**record.Wait{&st.Waiting}
	for i := range st.Groups {
		waits = append(waits, &st.Groups[i].Waiting)
	}
	for _, wait := range waits {
		if next := p.forgiveWait(*wait, absence); next != *wait {
			*wait = next
			p.pending.run = true
		}
	}
}

func (p *Plan) forgiveNode(n *node, absence time.Duration) {
	if n.acts() {
		a := n.lastAction()
		end := &a.DeadlineTS
		if a.State == record.ActionCancelling {
			end = a.CancelUntil
		}
		if next := p.forgive(*end, absence, 0); !next.Equal(*end) {
			if a.State == record.ActionCancelling {
				a.CancelUntil = &next
			} else {
				a.DeadlineTS = next
			}
			p.mark(n)
		}
	}
	e := n.lastEntry()
	if e == nil {
		return
	}
	if next := p.forgiveWait(e.Waiting, absence); next != e.Waiting {
		p.setWait(n, e, next)
	}
	if e.HealthyTS != nil { // whether it was healthy all the time is not known
		e.HealthyTS = nil
		p.mark(n)
	}
}

func (p *Plan) forgiveWait(wait *record.Wait, absence time.Duration) *record.Wait {
	if wait == nil || wait.Until == nil || wait.For == record.WaitRetry || wait.For == record.WaitPause || wait.For == record.WaitWindow {
		return wait
	}
	if wait.For == record.WaitGuard {
		return p.forgiveGuard(wait, absence)
	}
	if wait.For == record.WaitApproval { // people have the whole time
		next := *wait
		next.Until = later(*wait.Until, absence)
		return &next
	}
	settle := time.Duration(0)
	if health := p.stageSpec().Health; wait.For == record.WaitGate && health != nil {
		settle = health.Settle
	}
	until := p.forgive(*wait.Until, absence, settle)
	if until.Equal(*wait.Until) {
		return wait
	}
	next := *wait
	next.Since, next.Until = wait.Since.Add(until.Sub(*wait.Until)), &until
	return &next
}

// forgive is when something ends that ends at end by the clock of the leader before.
func (p *Plan) forgive(end time.Time, absence, settle time.Duration) time.Time {
	least := p.now.Add(askMargin + settle)
	if !end.Before(least) {
		return end
	}
	if end = end.Add(absence); end.Before(least) {
		return least
	}
	return end
}
