package policy

import (
	"time"

	"github.com/replicante-io/playbooks/record"
)

// measureEvery is how often a run commits at least while it measures the time for an approval or a guard, or its own: a new leader knows from the last commit
// how long nobody led at most.
const measureEvery = time.Minute

// nextMeasure is when a run that measures time has to commit again; nil while it measures none. Updated is its last commit.
func (p *Plan) nextMeasure(updated time.Time) *time.Time {
	if !p.measures() {
		return nil
	}
	return later(updated, measureEvery)
}

func (p *Plan) measures() bool {
	if p.run.TimeoutSince != nil {
		return true
	}
	if p.run.State == record.RunPendingApprove {
		return p.run.ApprovalUntil != nil
	}
	if p.progresses() && p.guardWait() != nil {
		return true
	}
	stage, open := p.openApproval()
	return open && stage != "" && p.stage().Waiting.Until != nil
}

// measure makes a commit where the last one is too long ago.
func (p *Plan) measure() {
	if next := p.nextMeasure(p.run.UpdateTS); next != nil && !p.now.Before(*next) {
		p.pending.run = true
	}
}
