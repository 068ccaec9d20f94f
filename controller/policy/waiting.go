package policy

import (
	"maps"
	"reflect"
	"slices"
	"time"

	"github.com/replicante-io/playbooks/record"
)

// waits are the nodes that wait for something in a stage, by what they wait for and whether they are in a batch.
type waits map[waitKey]map[string]struct{}

type waitKey struct {
	reason  record.WaitReason
	inBatch bool
}

func (w waits) add(n *node, e *record.NodeStage) {
	key := waitKey{e.Waiting.For, e.State.InBatch()}
	if w[key] == nil {
		w[key] = map[string]struct{}{}
	}
	w[key][n.rec.Node] = struct{}{}
}

func (w waits) remove(n *node, e *record.NodeStage) {
	delete(w[waitKey{e.Waiting.For, e.State.InBatch()}], n.rec.Node)
}

// updateWaiting records what keeps the run. Every change of it is an event.
func (p *Plan) updateWaiting() {
	next, old := p.currentWait(), p.run.Waiting
	if next != nil && old != nil && next.For == old.For && next.Stage == old.Stage && next.Node == old.Node {
		same := *next
		same.Since = old.Since
		next = &same
	}
	p.setWaiting(next)
}

func (p *Plan) setWaiting(next *record.Wait) {
	old := p.run.Waiting
	if old.Same(next) && (next == nil || sameData(old.Data, next.Data)) {
		return
	}
	p.run.Waiting = next
	p.pending.run = true
	if old.Same(next) || next == nil && p.ended() && old.For != record.WaitUnsettled { // more is known about the same wait, or the run has ended
		return
	}
	data, stage, node := record.Document{}, "", ""
	if next != nil {
		data["for"], data["since"] = string(next.For), next.Since.Format(time.RFC3339Nano)
		if next.Until != nil {
			data["until"] = next.Until.Format(time.RFC3339Nano)
		}
		if len(next.Data) > 0 {
			data["about"] = map[string]any(next.Data)
		}
		stage, node = next.Stage, next.Node
	} else if p.ended() {
		data["state"] = string(p.run.State)
	}
	p.event(record.EventRunWaiting, node, stage, "", data)
}

// currentWait is what keeps the run, the most important first; nil when it moves.
func (p *Plan) currentWait() *record.Wait {
	switch {
	case p.ended():
		return p.unsettledWait()
	case p.run.State == record.RunPendingApprove:
		return p.runApproval()
	case p.run.State == record.RunPending && p.behind != "":
		return &record.Wait{For: record.WaitQueue, Since: p.now, Data: record.Document{"run": p.behind}}
	case p.run.State == record.RunPending:
		if w := p.run.Waiting; w != nil && w.For != record.WaitApproval {
			return w // until this leader knows
		}
		return nil
	case p.run.State == record.RunPaused:
		data := record.Document{}
		if p.run.Error != nil {
			data["error"] = asData(p.run.Error)
		}
		return &record.Wait{For: record.WaitPause, Since: p.now, Data: data}
	case len(p.silent) > 0:
		return p.silentWait()
	case p.run.AfterTogether && p.insideTogether():
		return p.togetherWait()
	case p.inFlight > 0 && (p.run.State == record.RunPausing || p.ending()):
		return p.inFlightWait()
	}
	if wait := p.stageWait(); wait != nil {
		return wait
	}
	return p.nodeWait()
}

// silentWait is the wait for agents with an action that do not answer, by one of them: until its action is stopped or given up.
func (p *Plan) silentWait() *record.Wait {
	name := p.firstOf(record.WaitAgent, maps.Keys(p.silent))
	n := p.nodes[name]
	wait := &record.Wait{For: record.WaitAgent, Since: p.now, Node: name, Data: record.Document{
		"error": p.silent[name], "nodes": int64(len(p.silent)), "agent_url": n.agentURL()}}
	switch a := n.lastAction(); {
	case n.awaitsEnd():
		wait.Until = n.batchEntry().Waiting.Until
	case a.State == record.ActionCancelling:
		wait.Until = a.CancelUntil
	default:
		wait.Until = later(a.DeadlineTS, 0)
		if p.decidesRemoval(n) { // its machine may have died
			if lost := later(*n.rec.GoneTS, p.Grace()); lost.After(p.now) && lost.Before(*wait.Until) {
				wait.Until = lost
			}
		}
	}
	return wait
}

// unsettledWait is what keeps an ended run from being finished, by one node; nil when nothing does.
func (p *Plan) unsettledWait() *record.Wait {
	if p.run.Unsettled == 0 {
		return nil
	}
	name := ""
	if w := p.run.Waiting; w != nil && w.For == record.WaitUnsettled {
		name = w.Node
	}
	if n := p.nodes[name]; n == nil || !n.rec.Unsettled() {
		name = p.names[slices.IndexFunc(p.names, func(name string) bool { return p.nodes[name].rec.Unsettled() })]
	}
	return &record.Wait{For: record.WaitUnsettled, Since: p.now, Node: name, Data: record.Document{
		"actions": int64(p.run.Unsettled), "step": p.nodes[name].lastAction().Step}}
}

// stageWait is what keeps the open stage, or a group of it.
func (p *Plan) stageWait() *record.Wait {
	st := p.stage()
	if st == nil || p.ending() && p.run.Outcome != record.RunFailed {
		return nil
	}
	if st.Waiting != nil {
		return st.Waiting
	}
	for i := range st.Groups {
		w := st.Groups[i].Waiting
		if w == nil || w.For == record.WaitGate && len(w.Data) == 0 { // a gate that nobody has looked at yet keeps nothing
			continue
		}
		return w
	}
	return nil
}

// nodeWait is what keeps a node, where nothing else moves the run. A node whose turn it is keeps the run only while no batch is open.
func (p *Plan) nodeWait() *record.Wait {
	for _, inBatch := range []bool{true, false} {
		if !inBatch && p.batchOpen() {
			return nil
		}
		for _, reason := range []record.WaitReason{record.WaitAgent, record.WaitUnsettled, record.WaitFacts, record.WaitGate, record.WaitRetry} {
			nodes := p.waits[waitKey{reason, inBatch}]
			if len(nodes) == 0 || p.inFlight > 0 && reason == record.WaitRetry {
				continue
			}
			n := p.nodes[p.firstOf(reason, maps.Keys(nodes))]
			wait := *n.lastEntry().Waiting
			if len(nodes) > 1 {
				wait.Data = maps.Clone(wait.Data)
				wait.Data["nodes"] = int64(len(nodes))
			}
			return &wait
		}
	}
	return nil
}

// batchOpen reports whether a group of the open stage has an open batch.
func (p *Plan) batchOpen() bool {
	if !p.stageOpen() {
		return false
	}
	for _, g := range p.stage().Groups {
		if g.State != record.GroupIdle {
			return true
		}
	}
	return false
}

// firstOf is the node that the run is said to wait for: the one that it already is, else the first by name.
func (p *Plan) firstOf(reason record.WaitReason, names func(yield func(string) bool)) string {
	first := ""
	for name := range names {
		if w := p.run.Waiting; w != nil && w.For == reason && w.Node == name {
			return name
		}
		if first == "" || name < first {
			first = name
		}
	}
	return first
}

func (n *node) agentURL() string {
	if a := n.lastAction(); a != nil {
		return a.AgentURL
	}
	return n.fact.AgentURL
}

func sameData(a, b record.Document) bool {
	return len(a) == len(b) && (len(a) == 0 || reflect.DeepEqual(a, b))
}
