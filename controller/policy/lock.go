package policy

import (
	"maps"
	"slices"

	"github.com/replicante-io/playbooks/record"
)

// lockBatch has the chosen nodes locked, as many as the limit of the stage allows, and opens the batch where they are.
func (p *Plan) lockBatch(g *group, chosen []*node, seen *facts) bool {
	names, locked := make([]string, len(chosen)), true
	for i, n := range chosen {
		names[i] = n.rec.Node
		locked = locked && n.locked
	}
	if locked {
		p.startBatch(g, names)
		return true
	}
	request := LockRequest{Group: g.key, Nodes: names, Limit: p.limit(seen)}
	if p.anyHeld(names) {
		p.block(g, NotLocked{request, p.holders})
		return false
	}
	g.locking, g.asked = true, len(names)
	p.effects.LockNodes = append(p.effects.LockNodes, request)
	return false
}

// anyHeld reports whether another run was seen to work on one of the nodes, and has not given it back since.
func (p *Plan) anyHeld(names []string) bool {
	if len(p.holders) == 0 {
		return false
	}
	for _, name := range names {
		if holder, held := p.holders[name]; held && !holder.Unsettled {
			return true
		}
	}
	return false
}

func (in Locked) apply(p *Plan) *record.RejectedError {
	// The run waits for no other nodes any longer, and is told of those alone that unsettled actions keep from it.
	maps.DeleteFunc(p.holders, func(_ string, holder Holder) bool { return !holder.Unsettled })
	for _, name := range in.Nodes {
		if n := p.nodes[name]; n != nil {
			n.locked = true
		}
	}
	g := p.groups[in.Group]
	if g == nil || !g.locking || !p.progresses() || p.ending() || p.exceeded() || !p.mayOpenBatch() {
		p.giveBack(in.Nodes)
		if g != nil {
			g.locking = false
		}
		return nil
	}
	g.locking = false
	p.startBatch(g, in.Nodes)
	return nil
}

func (in NotLocked) apply(p *Plan) *record.RejectedError {
	for name, holder := range in.Holders {
		p.holders[name] = holder
	}
	g := p.groups[in.Group]
	if g == nil {
		return nil
	}
	g.locking = false
	for _, holder := range in.Holders {
		if !holder.Unsettled {
			p.block(g, in)
			break
		}
	}
	return nil
}

// block has the group wait until the nodes of its next batch are worth another try. Facts are asked again then.
func (p *Plan) block(g *group, in NotLocked) {
	g.blocked = in.Nodes
	p.cancelRequest(p.selectionKey(g))
	p.waitForLock(&p.groupRecord(g).Waiting, in)
}

// waitForLock names one node that another run works on, the same one as long as it does.
func (p *Plan) waitForLock(wait **record.Wait, in NotLocked) {
	if w := *wait; w != nil && w.For == record.WaitNode {
		holder, held := in.Holders[w.Node]
		if held && !holder.Unsettled && w.Data["run"] == holder.RunID && slices.Contains(in.Nodes, w.Node) {
			return
		}
	}
	for _, name := range in.Nodes {
		if holder, held := in.Holders[name]; held && !holder.Unsettled {
			p.replaceWait(wait, &record.Wait{For: record.WaitNode, Since: p.now, Stage: p.stageSpec().Name, Node: name,
				Data: record.Document{"code": record.CauseLocked, "run": holder.RunID}})
			return
		}
	}
}

func (in Unlocked) apply(p *Plan) *record.RejectedError {
	for _, name := range in.Nodes {
		delete(p.holders, name)
		n := p.nodes[name]
		if n == nil {
			continue
		}
		if e := n.lastEntry(); e != nil && e.State == record.NodeStagePending && e.Waiting != nil {
			p.setWait(n, e, nil)
		}
		p.touch(n)
	}
	p.askAgain()
	return nil
}

// dropChosen gives back the nodes that have not entered their batches yet: the batches are what has entered them, and the others have
// their turn later.
func (p *Plan) dropChosen() {
	for _, g := range p.groups {
		if len(g.chosen) == 0 {
			continue
		}
		p.groupRecord(g).Size -= len(g.chosen)
		p.pending.run = true
		p.giveBack(g.chosen)
		g.chosen = nil
	}
}

// giveBack unlocks nodes that did not enter a batch.
func (p *Plan) giveBack(names []string) {
	for _, name := range names {
		if n := p.nodes[name]; n != nil {
			p.unlock(n)
		}
	}
}
