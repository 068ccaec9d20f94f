package policy

import (
	"time"

	"github.com/replicante-io/playbooks/record"
)

// countsTime reports whether time counts against the timeout of the run: not while it is paused or ends, nor while it waits for people or the
// calendar.
func (p *Plan) countsTime() bool {
	if p.spec.Timeout == 0 || p.run.State != record.RunRunning || p.run.Outcome != "" {
		return false
	}
	if w := p.run.Waiting; w != nil {
		switch w.For {
		case record.WaitApproval, record.WaitWindow, record.WaitFreeze:
			return false
		}
	}
	return true
}

// countTime records since when time counts, and how much did before. A run that goes on after a pause, or after its end, has its full time.
func (p *Plan) countTime() {
	since, spent := p.run.TimeoutSince, p.run.TimeoutSpentMS
	switch counts := p.countsTime(); {
	case counts && since == nil:
		now := p.now
		since = &now
	case !counts && since != nil:
		spent += max(0, p.now.Sub(*since).Milliseconds())
		since = nil
	}
	if p.run.State == record.RunPaused || p.ended() {
		spent = 0
	}
	if since != p.run.TimeoutSince || spent != p.run.TimeoutSpentMS {
		p.run.TimeoutSince, p.run.TimeoutSpentMS = since, spent
		p.pending.run = true
	}
}

// timeoutAt is when the run pauses unless it waits, pauses or ends before; nil while no time counts.
func (p *Plan) timeoutAt() *time.Time {
	if p.run.TimeoutSince == nil || !p.countsTime() {
		return nil
	}
	return later(*p.run.TimeoutSince, p.spec.Timeout-time.Duration(p.run.TimeoutSpentMS)*time.Millisecond)
}

// timedOut reports whether the time of the run is over.
func (p *Plan) timedOut() bool {
	at := p.timeoutAt()
	return at != nil && !p.now.Before(*at)
}

func (p *Plan) pauseForTimeout() bool {
	p.pauseSoon(&record.Error{Code: record.CodeRunTimeout, Data: record.Document{"timeout": p.spec.Timeout.String()}})
	return true
}
