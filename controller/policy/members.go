package policy

import (
	"slices"

	"github.com/replicante-io/playbooks/playbook"
	"github.com/replicante-io/playbooks/record"
)

func (in Members) apply(p *Plan) *record.RejectedError {
	if p.ended() { // only where to ask about what is unsettled matters now
		for i := range in.Present {
			if n := p.nodes[in.Present[i].NodeID]; n != nil {
				p.updateFact(n, &in.Present[i])
			}
		}
		return nil
	}
	for _, g := range p.groups {
		g.blocked = nil // others may have their turn now
	}
	present := map[string]bool{}
	for i := range in.Present {
		if in.Complete {
			present[in.Present[i].NodeID] = true
		}
		p.appeared(&in.Present[i])
	}
	for _, name := range in.Gone {
		if n := p.nodes[name]; n != nil {
			p.vanished(n, false)
		}
	}
	if in.Complete {
		for _, name := range p.names {
			if n := p.nodes[name]; !present[name] {
				p.vanished(n, true)
			}
		}
	}
	return nil
}

// appeared takes in a node with a live key.
func (p *Plan) appeared(fact *record.Node) {
	n := p.nodes[fact.NodeID]
	if n == nil {
		n = &node{fact: *fact, rec: record.RunNode{
			RunID: p.run.ID, Cluster: p.run.Cluster, Node: fact.NodeID, Membership: record.MemberAdded, Newcomer: true,
		}}
		p.nodes[fact.NodeID] = n
		at, _ := slices.BinarySearchFunc(p.names, fact.NodeID, record.CompareIDs)
		p.names = slices.Insert(p.names, at, fact.NodeID)
		p.joined(n)
		return
	}
	p.updateFact(n, fact)
	if n.rec.Absent || n.rec.GoneTS != nil {
		n.rec.Absent, n.rec.GoneTS = false, nil
		p.cancelRequest(nodeKey(ForRemoval, n))
		p.mark(n)
		p.touch(n)
	}
	if n.rec.Membership != record.MemberRemoved {
		return
	}
	p.returned(n)
}

// returned takes a removed node back into the run. It continues at its old place, unless a stage of its pass has opened without
// it: then it goes through the stages as a newcomer.
func (p *Plan) returned(n *node) {
	p.event(record.EventNodeReturned, n.rec.Node, "", "", nil)
	p.mark(n)
	n.rec.Membership = record.MemberKnown
	if n.rec.Newcomer {
		n.rec.Membership = record.MemberAdded
	}
	if n.rec.State != record.NodeRemoved || p.awaitsRetry() {
		return
	}
	if p.missedStage(n) {
		if p.spec.Membership.Added != playbook.AddedIgnore {
			n.rec.Newcomer, n.rec.Membership = true, record.MemberAdded
			p.joined(n)
		}
		return
	}
	state := record.NodePending
	if n.lastDone() != "" {
		state = record.NodeWaiting
	}
	p.setNode(n, state, &record.Error{Code: record.CauseReturned})
	if e := p.entryOf(n); e != nil && e.State == record.NodeStageSkipped {
		p.setEntry(n, e, record.NodeStagePending, nil)
	}
	if p.stageOpen() {
		if g := p.pendingIn(n); g != nil {
			p.addPending(g, n)
		}
	}
}

// missedStage reports whether a stage of the node's pass has opened since it was removed.
func (p *Plan) missedStage(n *node) bool {
	last := n.rec.History[len(n.rec.History)-1]
	for i := range p.run.Stages {
		st := &p.run.Stages[i]
		if (st.Pass == record.PassNewcomers) == n.rec.Newcomer && st.StartTS != nil && st.StartTS.After(last.TS) {
			return true
		}
	}
	return false
}

// updateFact takes in what a node's key or agent says, and follows its action to where the agent is now.
func (p *Plan) updateFact(n *node, fact *record.Node) {
	a := n.lastAction()
	if a == nil || !a.State.InFlight() && !a.Unsettled {
		n.fact = *fact
		return
	}
	before := n.urlOf(a)
	n.fact = *fact
	if n.urlOf(a) != before {
		p.dispatch(n, a)
	}
}

// beginMembership begins what the playbook says about nodes that appear or vanish: not while the run was queued.
func (p *Plan) beginMembership() {
	for _, name := range p.names {
		if n := p.nodes[name]; n.rec.GoneTS != nil {
			since := p.now
			n.rec.GoneTS = &since
			p.mark(n)
		}
	}
}

// joined does what the playbook says about a node that appears during the run.
func (p *Plan) joined(n *node) {
	if !p.joinsSubset(n) {
		p.leaveOut(n, nil)
		return
	}
	if p.awaitsRetry() {
		p.setNode(n, record.NodeSkipped, &record.Error{Code: record.CauseJoined, Data: record.Document{"policy": "retry"}})
		return
	}
	if !p.hasBegun() && p.where != nil { // whether the run is for it is decided at its turn
		p.setNode(n, record.NodeAdded, &record.Error{Code: record.CauseJoined})
		return
	}
	if !p.hasBegun() { // it is as if it had been known before
		n.rec.Newcomer, n.rec.Membership = false, record.MemberKnown
		p.setNode(n, record.NodePending, nil)
		return
	}
	p.setNode(n, record.NodeAdded, &record.Error{Code: record.CauseJoined})
	p.event(record.EventNodeAdded, n.rec.Node, "", "", nil)
	added := p.spec.Membership.Added
	err := &record.Error{Code: record.CodeNodeAdded, Data: record.Document{"node": n.rec.Node, "policy": string(added)}}
	switch added {
	case playbook.AddedIgnore:
		p.setNode(n, record.NodeSkipped, &record.Error{Code: record.CauseJoined, Data: record.Document{"policy": string(added)}})
	case playbook.AddedPause:
		p.pauseSoon(err)
	case playbook.AddedFail:
		p.fail(err)
	}
}

// vanished notes that the node has no live key. With restart, its grace starts again: it was not watched before.
func (p *Plan) vanished(n *node, restart bool) {
	if n.rec.Absent || n.rec.Membership == record.MemberRemoved || n.rec.GoneTS != nil && !restart {
		return
	}
	since := p.now
	n.rec.GoneTS = &since
	p.cancelRequest(nodeKey(ForRemoval, n))
	p.mark(n)
}

// decidesRemoval reports whether the end of the grace of a node whose key is gone decides about it: not while it is in a batch, but
// for an action that its machine may have died in.
func (p *Plan) decidesRemoval(n *node) bool {
	if n.rec.GoneTS == nil || n.rec.Membership == record.MemberRemoved || p.ended() || !p.hasBegun() {
		return false
	}
	return n.batchEntry() == nil || p.mayBeLost(n)
}

// mayBeLost reports whether the node has an action in flight whose end will not be known if its machine died. A reboot (on_unknown:
// health) is expected to take its node away, and has the whole timeout of its step.
func (p *Plan) mayBeLost(n *node) bool {
	a, e := n.lastAction(), n.batchEntry()
	return a != nil && e != nil && a.State.InFlight() && p.isCurrent(e) && p.stageSpec().steps[e.Step].OnUnknown != playbook.UnknownHealth
}

// checkGone asks the agent of a node whose grace is over whether it is still there, as long as that decides anything.
func (p *Plan) checkGone(n *node) {
	if p.decidesRemoval(n) && !p.now.Before(n.rec.GoneTS.Add(p.Grace())) {
		p.request(nodeKey(ForRemoval, n), p.Grace(), false, n.rec.Node)
	} else {
		p.cancelRequest(nodeKey(ForRemoval, n))
	}
}

// decideRemoval ends a node's grace: its agent was asked.
func (p *Plan) decideRemoval(n *node, seen *facts) {
	fact := seen.of(n.rec.Node)
	answers := fact != nil && fact.Status != record.StatusUnreachable
	if answers && p.decidesRemoval(n) && p.mayBeLost(n) {
		return // it is asked again, as long as its action is in flight
	}
	p.cancelRequest(nodeKey(ForRemoval, n))
	if !p.decidesRemoval(n) || p.now.Before(n.rec.GoneTS.Add(p.Grace())) {
		return
	}
	p.mark(n)
	if answers { // it is there; it is asked again at its turn
		n.rec.GoneTS, n.rec.Absent = nil, true
		return
	}
	if p.mayBeLost(n) {
		a := n.lastAction()
		p.endAction(n, a, Ended{State: record.ActionUnknown, Unsettled: true, Error: &record.Error{
			Code: record.CodeNodeLost, Data: record.Document{"step": a.Step, "agent_url": a.AgentURL, "grace": p.Grace().String()}}})
		return
	}
	n.rec.Membership = record.MemberRemoved
	p.event(record.EventNodeRemoved, n.rec.Node, "", "", nil)
	if n.rec.Before != nil {
		p.removeReopened(n)
	} else if !n.rec.State.Final() {
		cause := &record.Error{Code: record.CauseRemoved}
		if p.stageOpen() && p.pendingIn(n) != nil {
			p.setEntry(n, p.entry(n), record.NodeStageSkipped, cause)
		}
		p.setNode(n, record.NodeRemoved, cause)
	}
	if n.outside() {
		return
	}
	removed := p.spec.Membership.Removed
	err := &record.Error{Code: record.CodeNodeRemoved, Data: record.Document{"node": n.rec.Node, "policy": string(removed)}}
	switch removed {
	case playbook.RemovedPause:
		p.pauseSoon(err)
	case playbook.RemovedFail:
		p.fail(err)
	}
}
