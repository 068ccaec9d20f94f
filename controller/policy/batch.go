package policy

import (
	"time"

	"github.com/replicante-io/playbooks/playbook"
	"github.com/replicante-io/playbooks/record"
)

// batchSize is how many nodes a batch takes that comes after so many others of its group.
func (p *Plan) batchSize(before int) int {
	amounts := p.stageSpec().Batch
	amount := playbook.Amount{Count: 1}
	if len(amounts) > 0 {
		amount = amounts[min(before+1, len(amounts))-1]
	}
	return max(1, amount.Of(p.stageTotal()))
}

// batchesBefore is how many batches of the group came before the next one, in all passes that share the stage's budget.
func (p *Plan) batchesBefore(g *group) int {
	before := 0
	for _, st := range p.sharing() {
		for i := range st.Groups {
			if st.Groups[i].Key == g.key {
				before += st.Groups[i].Batch - st.Groups[i].LadderFrom
			}
		}
	}
	return before
}

// batchesFor is how many batches so many nodes make.
func (p *Plan) batchesFor(g *group, nodes int) int {
	batches := 0
	for before := p.batchesBefore(g); nodes > 0; before++ {
		nodes -= p.batchSize(before)
		batches++
	}
	return batches
}

// batchesAhead is how many batches the pending nodes of the open stage make, if none fails.
func (p *Plan) batchesAhead() int {
	batches, wanted := 0, p.wanted()
	for _, g := range p.groups {
		batches += p.batchesFor(g, min(len(g.pending), wanted))
	}
	return min(batches, wanted)
}

// openBatch selects the nodes of a group's next batch and has them locked.
func (p *Plan) openBatch(g *group) bool {
	if g.locking || p.anyHeld(g.blocked) {
		return false
	}
	g.blocked = nil
	if p.fillsLimit() {
		p.dropLimitWait(g)
		return false
	}
	if holds, decided := p.guardHolds(g); !holds {
		return decided
	}
	rec, key := p.groupRecord(g), p.selectionKey(g)
	v, gone := p.view(g, nil)
	ask, err := v.needs()
	if len(ask) == 0 && !p.asksAll() {
		p.cancelRequest(key)
	} else if len(ask) > 0 || p.limited() {
		seen := p.requestSelection(key, ask...)
		if seen == nil {
			return false
		}
		v, gone = p.view(g, seen)
	}
	var s Selection
	if err == nil {
		s, err = selectBatch(v)
	}
	if err != nil {
		p.cancelRequest(key)
		p.failStage(&record.Error{Code: record.CodeExpression, Data: about{what: "order_by"}.data(p.stageSpec().Name, err)})
		return true
	}
	p.updateTurnWaits(v.queue, s.waiting)
	switch {
	case len(s.failed) > 0:
		p.cancelRequest(key)
		p.replaceWait(&rec.Waiting, nil)
		for _, f := range s.failed {
			f.err.Data["stage"], f.err.Data["waited"] = p.stageSpec().Name, p.patience(f.node).String()
			p.endNode(f.node, record.NodeFailed, f.err)
		}
		return true
	case len(s.chosen) > 0:
		return p.lockBatch(g, s.chosen, v.seen)
	case len(s.waiting) > 0:
		p.replaceWait(&rec.Waiting, nil)
		p.requestSelection(key, names(s.waiting)...)
		if !p.sharesSelection() {
			p.spend(key)
		}
	case gone != nil:
		p.replaceWait(&rec.Waiting, &record.Wait{For: record.WaitNode, Since: *gone.rec.GoneTS, Until: later(*gone.rec.GoneTS, p.Grace()),
			Stage: p.stageSpec().Name, Node: gone.rec.Node, Data: record.Document{"code": record.CauseKeyGone}})
	default: // those whose turn it is came after the others were asked
		p.cancelRequest(key)
		return true
	}
	return false
}

func names(waits []turnWait) []string {
	names := make([]string, len(waits))
	for i, w := range waits {
		names[i] = w.node.rec.Node
	}
	return names
}

// updateTurnWaits records what keeps nodes whose turn it is, each from when it was first seen.
func (p *Plan) updateTurnWaits(queue []candidate, waiting []turnWait) {
	kept := make(map[*node]turnWait, len(waiting))
	for _, w := range waiting {
		kept[w.node] = w
	}
	for _, c := range queue {
		e := p.entryOf(c.node)
		w, waits := kept[c.node]
		switch {
		case !waits && e != nil && e.Waiting != nil && c.expired == "":
			p.setWait(c.node, e, nil)
		case !waits || e != nil && e.Waiting != nil && e.Waiting.For == w.reason:
		default:
			e = p.entry(c.node)
			p.setWait(c.node, e, &record.Wait{For: w.reason, Since: p.now, Until: later(p.now, p.turnPatience(w)), Stage: e.Name,
				Node: c.rec.Node, Data: w.data(e.Name)})
			p.touch(c.node)
		}
	}
}

// patience is how long a fact of a node is waited for, or, where it does not answer, the node.
func (p *Plan) patience(n *node) time.Duration {
	if n.answers() {
		return factsPatience
	}
	return p.Grace()
}

// turnPatience is how long a node is waited for at its turn.
func (p *Plan) turnPatience(w turnWait) time.Duration {
	switch w.reason {
	case record.WaitAgent:
		return p.Grace()
	case record.WaitFacts:
		return p.patience(w.node)
	}
	return factsPatience
}

func (w turnWait) data(stage string) record.Document {
	data := record.Document{"stage": stage}
	for key, value := range w.err.Data {
		data[key] = value
	}
	return data
}

// view is what the next batch of a group may take, on what was seen; without seen, only what needs no facts. Nodes whose key is
// gone are not in it: their grace decides about them first. It returns the one that is gone longest.
func (p *Plan) view(g *group, seen *facts) (v view, gone *node) {
	spec := p.stageSpec()
	v = view{size: min(p.batchSize(p.batchesBefore(g)), p.wanted()), orderBy: spec.OrderBy, notAfter: g.notAfter, asksHealth: p.remembersHealth(), seen: seen, first: p.freeFirst(seen),
		value: func(c candidate) (any, error) { return p.orderValue(c.node, seen) }}
	pending := g.pending
	if p.pass.kind == record.PassRollback {
		pending = p.newestBatch(pending)
		v.size = max(1, len(pending))
	}
	for _, name := range pending {
		n := p.nodes[name]
		if n.rec.GoneTS != nil {
			if gone == nil || n.rec.GoneTS.Before(*gone.rec.GoneTS) {
				gone = n
			}
			continue
		}
		c := candidate{node: n}
		if holder, locked := p.holders[name]; locked && holder.Unsettled {
			c.locked = &holder
		}
		if e := p.entryOf(n); e != nil && e.Waiting != nil && !p.now.Before(*e.Waiting.Until) {
			c.expired = e.Waiting.For
		}
		v.queue = append(v.queue, c)
	}
	return v, gone
}

// remembersHealth reports whether the stage's gate needs to know how nodes were before.
func (p *Plan) remembersHealth() bool {
	health := p.stageSpec().Health
	return health != nil && health.Check == nil
}

// startBatch opens a batch of nodes that are locked.
func (p *Plan) startBatch(g *group, names []string) {
	st, rec := p.stage(), p.groupRecord(g)
	p.cancelRequest(p.selectionKey(g))
	if wanted := p.wanted(); len(names) > wanted { // some may be done meanwhile
		p.giveBack(names[wanted:])
		if names = names[:wanted]; wanted == 0 {
			return
		}
	}
	rec.State, rec.Size, rec.Waiting = record.GroupOpen, len(names), nil
	rec.Batch++
	st.Batch++
	st.Batches = max(st.Batches, st.Batch)
	g.chosen = names
	p.pending.run = true
	data := p.batchData(g)
	shown := make([]any, min(len(names), 100))
	for i := range shown {
		shown[i] = names[i]
	}
	data["size"], data["nodes"] = int64(len(names)), shown
	p.event(record.EventBatchStarted, "", p.stageSpec().Name, "", data)
}

// enterBatch lets chosen nodes into the open batch, as many as one commit should hold.
func (p *Plan) enterBatch(g *group) bool {
	entered := false
	for len(g.chosen) > 0 {
		if p.entered >= maxEntries || !p.room() {
			p.more = true
			break
		}
		n := p.nodes[g.chosen[0]]
		g.chosen = g.chosen[1:]
		if p.pendingIn(n) != g || p.missing() <= 0 {
			p.unlock(n)
			continue
		}
		p.enter(g, n)
		entered = true
	}
	return entered
}

func (p *Plan) enter(g *group, n *node) {
	e := p.entry(n)
	e.Batch = p.groupRecord(g).Batch
	if p.remembersHealth() && e.WasHealthy == nil {
		was := n.fact.Status == record.StatusHealthy
		if before := n.forwardEntry(e.Name); p.pass.kind == record.PassRollback && before != nil && before.WasHealthy != nil {
			was = *before.WasHealthy // what is rolled back may be why it is not
		}
		e.WasHealthy = &was
	}
	n.rec.Absent = false // it may have no key, but its agent answers
	p.setEntry(n, e, record.NodeStageReady, nil)
	p.setNode(n, record.NodeRunning, nil)
	p.entered++
	p.touch(n)
}
