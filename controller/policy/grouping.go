package policy

import (
	"errors"
	"maps"
	"slices"

	"github.com/replicante-io/playbooks/playbook"
	"github.com/replicante-io/playbooks/record"
)

// maxGroups bounds the groups of a stage: the run's record has one entry for each.
const maxGroups = 1000

// makeGroups makes the groups of a stage that opens, by key, with its targets.
func (p *Plan) makeGroups(o *opening) {
	st := p.stage()
	members := map[string][]string{}
	for _, n := range o.targets {
		members[o.keys[n]] = append(members[o.keys[n]], n.rec.Node)
		switch {
		case p.pass.afterOutcome:
			p.reopen(n)
			p.entry(n).Group = o.keys[n]
		case p.pass.kind == record.PassRetry:
			p.retryEntry(n)
			p.entry(n).Group = o.keys[n]
		case p.stageSpec().Targets != nil || p.stageSpec().Groups != nil:
			p.entry(n).Group = o.keys[n]
		}
	}
	if len(members) == 0 {
		members[""] = nil
	}
	st.Groups, p.groups = nil, map[string]*group{}
	for _, key := range slices.SortedFunc(maps.Keys(members), record.CompareIDs) {
		g := &group{key: key, index: len(st.Groups), pending: members[key]}
		st.Groups = append(st.Groups, record.StageGroup{Key: key, State: record.GroupIdle})
		p.groups[key] = g
	}
	st.Batches = p.batchesAhead()
}

// atOnce is how many groups of the open stage may have an open batch.
func (p *Plan) atOnce() int {
	if groups := p.stageSpec().Groups; groups != nil {
		return max(1, groups.AtOnce.Of(len(p.stage().Groups)))
	}
	return 1
}

// active reports whether a group has one of the places that at_once gives: it has an open batch, pauses after one, or waits for the locks of the
// next.
func (p *Plan) active(g *group) bool {
	rec := p.groupRecord(g)
	return rec.State != record.GroupIdle || rec.Waiting != nil && rec.Waiting.For == record.WaitPause || g.locking || p.anyHeld(g.blocked)
}

// progressGroups takes one decision about the groups of the open stage. Where it takes none, left is whether one of them is not done.
func (p *Plan) progressGroups() (decided, left bool) {
	if p.mayOpenBatch() && p.answers[p.selectionKey(nil)] == nil && p.expireGuard() {
		return true, true
	}
	active := 0
	p.selecting = false
	for i := range p.stage().Groups {
		g := p.groups[p.stage().Groups[i].Key]
		if !p.active(g) {
			continue
		}
		if p.progressGroup(g) {
			return true, true
		}
		if p.active(g) {
			active++
		}
	}
	if p.awaitWindows() {
		return false, active > 0 || p.anyPending()
	}
	idle, ok := p.nextGroups(p.atOnce() - active)
	if !ok {
		return p.ending(), true
	}
	for _, g := range idle {
		if p.progressGroup(g) {
			return true, true
		}
		if g.locking && p.guarded() { // the guard of the next one is decided on what this batch makes of the cluster
			break
		}
	}
	if !p.selecting {
		p.dropGuard()
	}
	switch key := p.selectionKey(nil); {
	case p.sharesSelection() && p.selecting:
		p.spend(key)
	case p.sharesSelection(): // the nodes are gone for which it was asked
		p.cancelRequest(key)
	}
	return false, active > 0 || len(idle) > 0 || p.anyPending()
}

// anyPending reports whether a group has nodes that a batch may still take.
func (p *Plan) anyPending() bool {
	if p.pickedAll() {
		return false
	}
	for _, g := range p.groups {
		if p.dropTaken(g); len(g.pending) > 0 {
			return true
		}
	}
	return false
}

// nextGroups are the groups that may open a batch now, at most as many as there are places. It is false while it cannot be decided.
func (p *Plan) nextGroups(places int) ([]*group, bool) {
	if places <= 0 {
		p.dropLimitWaits()
		return nil, true
	}
	var idle []*group
	for i := range p.stage().Groups {
		g := p.groups[p.stage().Groups[i].Key]
		if p.active(g) {
			continue
		}
		if p.dropTaken(g); len(g.pending) > 0 {
			idle = append(idle, g)
		} else if !p.sharesSelection() { // they are gone
			p.cancelRequest(p.selectionKey(g))
		}
	}
	if p.wanted() == 0 {
		p.forgetTurns(idle)
		for _, g := range idle {
			p.cancelRequest(p.selectionKey(g))
		}
		return nil, true
	}
	if len(p.stage().Groups) > 1 && len(idle) > 0 && !p.rankGroups(idle) {
		return nil, false
	}
	turn := min(places, len(idle))
	p.forgetTurns(idle[turn:])
	return idle[:turn], true
}

// forgetTurns drops what nodes have waited for whose turn it is not any longer: their patience begins again at their next turn.
func (p *Plan) forgetTurns(groups []*group) {
	if len(groups) == 0 {
		return
	}
	others := map[string]bool{}
	for _, g := range groups {
		others[g.key] = true
		p.replaceWait(&p.groupRecord(g).Waiting, nil)
	}
	for key, nodes := range p.waits {
		if key.inBatch {
			continue
		}
		for _, name := range slices.Collect(maps.Keys(nodes)) {
			if n := p.nodes[name]; p.isCurrent(n.lastEntry()) && others[n.lastEntry().Group] {
				p.setWait(n, n.lastEntry(), nil)
			}
		}
	}
}

// sharesSelection reports whether one observation decides for all groups whose turn it is: their order is over the facts of all, or a guard or
// a limit is over all nodes.
func (p *Plan) sharesSelection() bool {
	orderBy := p.stageSpec().OrderBy
	return p.asksAll() || len(p.stage().Groups) > 1 && (orderBy.NeedsFacts() || orderBy.NeedsAllNodes())
}

// selectionKey is the key of the facts by which a group's next batch is selected.
func (p *Plan) selectionKey(g *group) FactKey {
	if p.sharesSelection() {
		g = nil
	}
	return p.stageKey(ForSelection, g)
}

// rankGroups sorts idle groups by whose turn it is: the one whose first node is the earliest by order_by; among equals one that has begun, then by
// key. With one group at a time, no batch takes nodes that are later than a node of another group. It is false while facts are waited for.
func (p *Plan) rankGroups(idle []*group) bool {
	orderBy := p.stageSpec().OrderBy
	var first map[*group]any
	present := p.presentIn(idle)
	if orderBy != nil && len(present) > 0 {
		var seen *facts
		if p.sharesSelection() {
			if seen = p.requestSelection(p.selectionKey(nil), present...); seen == nil {
				return false
			}
		}
		var err error
		if first, err = p.firstOfGroups(idle, seen); err != nil {
			p.failOrder(err)
			return false
		}
	}
	var failed error
	slices.SortStableFunc(idle, func(a, b *group) int {
		by, err := compareFirst(first, a, b)
		if err != nil {
			failed = err
		}
		if begunA, begunB := p.groupRecord(a).Batch > 0, p.groupRecord(b).Batch > 0; by == 0 && begunA != begunB {
			by = 1
			if begunA {
				by = -1
			}
		}
		return by // else as in the record: by key
	})
	if failed != nil {
		p.failOrder(failed)
		return false
	}
	for i, g := range idle {
		g.notAfter = nil
		if i == 0 && p.atOnce() == 1 && len(idle) > 1 {
			if value, ok := first[idle[1]]; ok {
				g.notAfter = &value
			}
		}
	}
	return true
}

// compareFirst compares groups by their first nodes. One whose nodes cannot be decided about comes last.
func compareFirst(first map[*group]any, a, b *group) (int, error) {
	valueA, okA := first[a]
	valueB, okB := first[b]
	switch {
	case okA && okB:
		return playbook.Compare(valueA, valueB)
	case okA:
		return -1, nil
	case okB:
		return 1, nil
	}
	return 0, nil
}

// presentIn are the pending nodes of groups, without those whose key is gone.
func (p *Plan) presentIn(groups []*group) []string {
	var names []string
	for _, g := range groups {
		for _, name := range g.pending {
			if p.nodes[name].rec.GoneTS == nil {
				names = append(names, name)
			}
		}
	}
	return names
}

// firstOfGroups is the smallest value of order_by in each group.
func (p *Plan) firstOfGroups(groups []*group, seen *facts) (map[*group]any, error) {
	first := map[*group]any{}
	for _, g := range groups {
		for _, name := range p.presentIn([]*group{g}) {
			n := p.nodes[name]
			value, err := p.orderValue(n, seen)
			if errors.Is(err, playbook.ErrAbsent) {
				continue
			}
			if err != nil {
				return nil, &nodeError{name, err}
			}
			before, ok := first[g]
			if !ok {
				first[g] = value
				continue
			}
			by, err := playbook.Compare(value, before)
			if err != nil {
				return nil, err
			}
			if by < 0 {
				first[g] = value
			}
		}
	}
	return first, nil
}

// orderValue is a node's value of order_by; on one observation it is evaluated once.
func (p *Plan) orderValue(n *node, seen *facts) (any, error) {
	if seen == nil {
		return p.stageSpec().OrderBy.Value(p.vars(n, nil))
	}
	if known, ok := seen.ordered[n.rec.Node]; ok {
		return known.value, known.err
	}
	value, err := p.stageSpec().OrderBy.Value(p.vars(n, seen))
	if seen.ordered == nil {
		seen.ordered = map[string]orderedBy{}
	}
	seen.ordered[n.rec.Node] = orderedBy{value, err}
	return value, err
}

// orderedBy is what order_by came to for a node.
type orderedBy struct {
	value any
	err   error
}

func (p *Plan) failOrder(err error) {
	p.cancelRequest(p.selectionKey(nil))
	p.failStage(&record.Error{Code: record.CodeExpression, Data: about{what: "order_by"}.data(p.stageSpec().Name, err)})
}
