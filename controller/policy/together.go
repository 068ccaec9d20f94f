package policy

import (
	"slices"

	"github.com/replicante-io/playbooks/record"
)

// together are the stages that run together with the one that the run is at, once the first of them has started; nil where there are none.
func (p *Plan) together() []string {
	st := p.stage()
	if st == nil || p.pass.afterOutcome {
		return nil
	}
	group := p.spec.TogetherWith(st.Name)
	if p.stageOpen() || p.run.StageIndex > 0 && slices.Contains(group, p.pass.stages[p.run.StageIndex-1].Name) {
		return group
	}
	return nil
}

// insideTogether reports whether the run is between the start of the first and the end of the last of stages that run together: no pause,
// cancel, timeout, window or freeze stops it there.
func (p *Plan) insideTogether() bool { return p.together() != nil }

// stopsLater reports whether a pause or cancel that comes now takes effect only after stages that run together. A run that is not running any
// longer is stopped where it is.
func (p *Plan) stopsLater() bool {
	return p.run.AfterTogether || p.run.State == record.RunRunning && p.run.Outcome == "" && p.insideTogether()
}

// stopLater has a pause or cancel take effect after the stages that run together.
func (p *Plan) stopLater(state record.RunState) {
	p.setRun(state)
	p.run.AfterTogether = true
	p.pending.run = true
}

// stopNow has a pause or cancel take effect that waited for the end of stages that run together.
func (p *Plan) stopNow() bool {
	p.run.AfterTogether = false
	p.pending.run = true
	if p.run.State == record.RunCancelling {
		p.run.Outcome = record.RunCancelled
	}
	p.cancelRequests()
	return true
}

// pauseSoon pauses the run because something needs an operator, but not between stages that run together.
func (p *Plan) pauseSoon(err *record.Error) {
	if !p.stopsLater() {
		p.pauseFor(err)
		return
	}
	if p.run.AfterTogether { // it stops then anyway
		return
	}
	p.stopLater(record.RunPausing)
	p.run.Error = err
	p.event(record.EventRunPausing, "", "", "", withCause(p.togetherData(), err))
}

// togetherData names, in an event, the stages after which a pause or cancel takes effect.
func (p *Plan) togetherData() record.Document {
	group := p.together()
	if !p.stopsLater() || len(group) == 0 {
		return record.Document{}
	}
	names := make([]any, len(group))
	for i, name := range group {
		names[i] = name
	}
	return record.Document{"together": names}
}

// togetherWait is the wait of a run that pauses or is cancelled after the stages that run together.
func (p *Plan) togetherWait() *record.Wait {
	data := p.togetherData()
	data["then"] = string(record.RunPaused)
	if p.run.State == record.RunCancelling {
		data["then"] = string(record.RunCancelled)
	}
	group := p.together()
	return &record.Wait{For: record.WaitTogether, Since: p.now, Stage: group[len(group)-1], Data: data}
}
