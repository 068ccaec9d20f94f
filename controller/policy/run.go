package policy

import (
	"strings"

	"github.com/replicante-io/playbooks/record"
)

// progress takes one decision about the run as a whole, and tells whether it did.
func (p *Plan) progress() bool {
	switch p.run.State {
	case record.RunPausing:
		if p.inFlight > 0 {
			return false
		}
		p.setRun(record.RunPaused)
		for key := range p.observations {
			if !strings.HasPrefix(key, "gone/") {
				p.unobserve(key)
			}
		}
		p.factsFor = ""
		p.event(record.EventRunPaused, "", "", "", nil)
		return true
	case record.RunRunning, record.RunCancelling:
	default:
		return false
	}
	if p.run.Verdict != "" {
		if p.inFlight > 0 {
			return false
		}
		if p.run.Verdict == record.RunFailed && p.over > 0 {
			return p.gate()
		}
		p.finish(p.run.Verdict)
		return true
	}
	return p.progressStage()
}

// fail decides that the run ends FAILED once what is in flight has ended, also if it is paused. The first reason stands.
func (p *Plan) fail(code, message string) {
	if p.run.Verdict != "" {
		return
	}
	if p.run.State == record.RunPausing || p.run.State == record.RunPaused {
		p.setRun(record.RunRunning)
	}
	p.run.Verdict = record.RunFailed
	p.run.Error = &record.Error{Code: code, Message: message}
	p.runDirty = true
}

// pauseFor pauses the run because something wants an operator's eye.
func (p *Plan) pauseFor(code, message string) {
	if p.run.State != record.RunRunning || p.run.Verdict != "" {
		return
	}
	p.setRun(record.RunPausing)
	p.run.Error = &record.Error{Code: code, Message: message}
	p.event(record.EventRunPausing, "", "", "", record.Document{"code": code, "reason": message})
}

// finish ends the run. Nothing is in flight.
func (p *Plan) finish(verdict record.RunState) {
	left, why := record.NodeSkipped, "no stage was for it"
	switch verdict {
	case record.RunFailed:
		left, why = record.NodeNotReached, "the run failed first"
	case record.RunCancelled:
		left, why = record.NodeNotReached, "the run was cancelled first"
	}
	for _, name := range p.names {
		p.leave(p.nodes[name], verdict, left, why)
	}
	for i := range p.run.Stages {
		st := &p.run.Stages[i]
		if left := st.Counts[record.NodePending]; left > 0 { // its nodes that no batch has taken
			delete(st.Counts, record.NodePending)
			st.Counts[record.NodeNotReached] += left
		}
		switch {
		case st.State == record.StagePending && st.Error != nil: // it could not even be opened
			p.endStage(st, record.StageFailed)
		case st.State == record.StagePending:
			st.State = record.StageNotReached
		case st.State == record.StageRunning && verdict == record.RunCancelled:
			p.endStage(st, record.StageCancelled)
		case st.State == record.StageRunning:
			p.endStage(st, record.StageFailed)
		}
	}
	if verdict == record.RunDone && p.run.Counts[record.NodeFailed]+p.run.Counts[record.NodeUnknown] > 0 {
		verdict = record.RunFailed
	}
	if verdict == record.RunFailed && p.run.Error == nil {
		p.run.Error = &record.Error{Code: record.CodeNodesFailed, Message: p.failures("")}
	}
	if verdict == record.RunDone {
		p.run.Error = nil
	}
	p.setRun(verdict)
	finished := p.now
	p.run.FinishTS = &finished
	p.run.WaitsFor = ""
	for key := range p.observations {
		p.unobserve(key)
	}
	data := record.Document{"state": string(verdict)}
	if p.run.Error != nil {
		data["code"], data["message"] = p.run.Error.Code, p.run.Error.Message
	}
	p.event(record.EventRunFinished, "", "", "", data)
}

// leave ends a node's record with its run, if it has not ended.
func (p *Plan) leave(n *node, verdict record.RunState, left record.NodeState, why string) {
	if n.rec.State.Final() {
		return
	}
	e := p.openEntry(n)
	if e == nil {
		e = n.waitingEntry()
	}
	switch {
	case n.rec.State == record.NodeRunning && e == nil && verdict == record.RunDone:
		p.setNode(n, record.NodeDone, "")
	case n.rec.State == record.NodeRunning && e == nil && verdict == record.RunCancelled:
		p.setNode(n, record.NodeCancelled, "the run was cancelled between its stages")
	case n.rec.State != record.NodeRunning || e == nil:
		p.setNode(n, left, why)
	case e.GateTS != nil || e.SettleUntil != nil:
		p.endNode(n, record.NodeUnknown, n.lastAction().Error)
	case e.Retries > 0:
		p.endNode(n, record.NodeFailed, n.lastAction().Error)
	case verdict == record.RunCancelled:
		p.setEntry(n, e, record.StageCancelled, "the run was cancelled")
		p.setNode(n, record.NodeCancelled, "the run was cancelled "+p.whereIn(e))
	default:
		p.setEntry(n, e, record.StageNotReached, why)
		p.setNode(n, record.NodeNotReached, "the run ended "+p.whereIn(e))
	}
	if e != nil && e.State == record.StagePending {
		p.setEntry(n, e, record.StageNotReached, why)
	}
}

func (p *Plan) whereIn(e *record.NodeStage) string {
	for _, st := range p.spec.Stages {
		if st.Name == e.Name && e.Step < len(st.Steps) {
			return "before step " + st.Steps[e.Step].Name + " of stage " + e.Name
		}
	}
	return "before the health of stage " + e.Name + " was checked"
}

func (p *Plan) setRun(state record.RunState) {
	if p.run.State != state {
		p.run.State = state
		p.runDirty = true
	}
}

// setNode moves a node's record on.
func (p *Plan) setNode(n *node, state record.NodeState, reason string) {
	if n.rec.State == state {
		return
	}
	p.count(p.run.Counts, n.rec.State, state)
	n.rec.State = state
	n.rec.History = append(n.rec.History, record.NodeChange{State: state, TS: p.now, Reason: reason})
	if over := len(n.rec.History) - record.MaxHistory; over > 0 {
		n.rec.History = append([]record.NodeChange(nil), n.rec.History[over:]...)
	}
	p.mark(n)
	if state.Final() {
		data := record.Document{"state": string(state)}
		if reason != "" {
			data["reason"] = reason
		}
		p.event(record.EventNodeState, n.rec.Node, "", "", data)
	}
}

func (p *Plan) count(counts map[record.NodeState]int, from, to record.NodeState) {
	if from != "" {
		if counts[from]--; counts[from] <= 0 {
			delete(counts, from)
		}
	}
	if to != "" {
		counts[to]++
	}
	p.runDirty = true
}
