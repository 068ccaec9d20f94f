package policy

import (
	"time"

	"github.com/replicante-io/playbooks/record"
)

// maxInFlightNamed is how many nodes are named whose actions a run waits for before it pauses or ends.
const maxInFlightNamed = 3

// inFlightWait is the wait of a run that pauses or ends once its actions in flight have ended. The nodes that it names, and its end, stay
// while those nodes' actions are in flight: then no other node is looked at.
func (p *Plan) inFlightWait() *record.Wait {
	then := p.run.Outcome
	switch {
	case then == "":
		then = record.RunPaused
	case p.rollbackDue():
		then = record.RunRollingBack
	}
	wait := &record.Wait{For: record.WaitAction, Since: p.now,
		Data: record.Document{"then": string(then), "kill": p.run.Kill, "nodes": int64(p.inFlight)}}
	old := p.run.Waiting
	if old != nil && (old.For != record.WaitAction || old.Data["then"] != wait.Data["then"] || old.Data["kill"] != wait.Data["kill"]) {
		old = nil
	}
	if old != nil && p.allInFlight(old.Data["named"]) {
		wait.Data["named"], wait.Until = old.Data["named"], old.Until
		return wait
	}
	named := []any{}
	var until time.Time
	for _, name := range p.names {
		n := p.nodes[name]
		if !n.acts() {
			continue
		}
		a := n.lastAction()
		if len(named) < maxInFlightNamed {
			named = append(named, map[string]any{"node": name, "step": a.Step})
		}
		if end := inFlightEnd(a); end.After(until) {
			until = end
		}
	}
	wait.Data["named"], wait.Until = named, &until
	if old != nil {
		wait.Until = old.Until // of all that was in flight before
	}
	return wait
}

// inFlightEnd is when the run stops waiting for an action, at the latest.
func inFlightEnd(a *record.Action) time.Time {
	if a.CancelUntil != nil {
		return *a.CancelUntil
	}
	return a.DeadlineTS.Add(stopPatience)
}

// allInFlight reports whether the actions of all nodes that a wait names are in flight.
func (p *Plan) allInFlight(named any) bool {
	items, _ := named.([]any)
	for _, item := range items {
		one, _ := item.(map[string]any)
		name, _ := one["node"].(string)
		if n := p.nodes[name]; n == nil || !n.acts() {
			return false
		}
	}
	return len(items) > 0
}
