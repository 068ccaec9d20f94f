package policy

import (
	"fmt"
	"maps"
	"slices"

	"github.com/replicante-io/playbooks/playbook"
	"github.com/replicante-io/playbooks/record"
)

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

func (in Members) apply(p *Plan) *record.RejectedError {
	if p.run.FinishTS != nil { // only where to ask about what is unsettled matters now
		for i := range in.Present {
			if n := p.nodes[in.Present[i].NodeID]; n != nil {
				p.meet(n, &in.Present[i])
			}
		}
		return nil
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
		at, _ := slices.BinarySearch(p.names, fact.NodeID)
		p.names = slices.Insert(p.names, at, fact.NodeID)
		p.joins(n)
		return
	}
	p.meet(n, fact)
	if n.rec.Absent {
		n.rec.Absent = false
		p.mark(n)
	}
	if n.rec.GoneTS != nil {
		n.rec.GoneTS = nil
		p.unobserve("gone/" + n.rec.Node)
		p.mark(n)
		p.touch(n)
	}
	if n.rec.Membership != record.MemberRemoved {
		return
	}
	p.event(record.EventNodeReturned, n.rec.Node, "", "", nil)
	p.mark(n)
	if n.rec.State == record.NodeRemoved && p.spec.Membership.Added != playbook.AddedIgnore {
		n.rec.Newcomer, n.rec.Membership = true, record.MemberAdded
		p.joins(n)
		return
	}
	n.rec.Membership = record.MemberKnown
	if n.rec.Newcomer {
		n.rec.Membership = record.MemberAdded
	}
}

// meet takes in what a node's key says, and follows its action to where the agent is now.
func (p *Plan) meet(n *node, fact *record.Node) {
	before := n.fact.AgentURL
	n.fact = *fact
	if a := n.lastAction(); a != nil && (a.State.InFlight() || a.Unsettled) && before != fact.AgentURL && n.moved(a) {
		p.want(n, a)
	}
}

// joins does what the playbook says about a node that appears during the run.
func (p *Plan) joins(n *node) {
	p.setNode(n, record.NodeAdded, "it appeared during the run")
	p.event(record.EventNodeAdded, n.rec.Node, "", "", nil)
	switch p.spec.Membership.Added {
	case playbook.AddedIgnore:
		p.setNode(n, record.NodeSkipped, "it appeared during the run (membership.added: ignore)")
	case playbook.AddedPause:
		p.pauseFor(record.CodeNodeAdded, fmt.Sprintf("node %s appeared (membership.added: pause); a resume takes it in", n.rec.Node))
	case playbook.AddedFail:
		p.fail(record.CodeNodeAdded, fmt.Sprintf("node %s appeared (membership.added: fail)", n.rec.Node))
	}
}

// vanished notes that the node has no live key. With fresh, its grace starts anew: nobody was watching before.
func (p *Plan) vanished(n *node, fresh bool) {
	if n.rec.Absent || n.rec.Membership == record.MemberRemoved || n.rec.GoneTS != nil && !fresh {
		return
	}
	since := p.now
	n.rec.GoneTS = &since
	p.mark(n)
	p.wakeAt(since.Add(p.grace()), n.rec.Node)
}

// checkGone decides whether a node whose key is gone counts as removed: not while it is at work, nor while its agent
// answers.
func (p *Plan) checkGone(n *node) {
	if n.rec.GoneTS == nil || n.rec.Membership == record.MemberRemoved || n.member || p.run.FinishTS != nil {
		return
	}
	if a := n.lastAction(); a != nil && a.State.InFlight() {
		return
	}
	if until := n.rec.GoneTS.Add(p.grace()); p.now.Before(until) {
		p.wakeAt(until, n.rec.Node)
		return
	}
	p.observe("gone/"+n.rec.Node, p.grace(), false, n.rec.Node)
}

// goneObserved ends a node's grace: its agent was asked.
func (p *Plan) goneObserved(n *node, seen *observation) {
	key := "gone/" + n.rec.Node
	fact := seen.fact(n.rec.Node)
	p.unobserve(key)
	if n.rec.GoneTS == nil || n.member {
		return
	}
	if fact != nil && fact.Status != record.StatusUnreachable { // it is there; it is asked again at its turn
		n.rec.GoneTS, n.rec.Absent = nil, true
		p.mark(n)
		return
	}
	n.rec.Membership = record.MemberRemoved
	p.mark(n)
	p.event(record.EventNodeRemoved, n.rec.Node, "", "", nil)
	if !n.rec.State.Final() {
		if p.started() && p.isPending(n) {
			p.setEntry(n, p.entry(n), record.StageSkipped, "it was removed")
		}
		p.setNode(n, record.NodeRemoved, "its key is gone and its agent does not answer")
	}
	switch p.spec.Membership.Removed {
	case playbook.RemovedPause:
		p.pauseFor(record.CodeNodeRemoved, fmt.Sprintf("node %s is gone (membership.removed: pause); a resume goes on without it", n.rec.Node))
	case playbook.RemovedFail:
		p.fail(record.CodeNodeRemoved, fmt.Sprintf("node %s is gone (membership.removed: fail)", n.rec.Node))
	}
}
