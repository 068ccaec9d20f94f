package policy

import (
	"fmt"
	"slices"
	"time"

	"github.com/replicante-io/playbooks/playbook"
	"github.com/replicante-io/playbooks/record"
)

// batchSize is how many nodes the stage's batch number (from 1) takes.
func (p *Plan) batchSize(number int) int {
	amounts := p.stageSpec().Batch
	amount := playbook.Amount{Count: 1}
	if len(amounts) > 0 {
		amount = amounts[min(number, len(amounts))-1]
	}
	return max(1, amount.Of(p.stage().Total))
}

func (p *Plan) batchesFor(nodes int) int {
	batches := 0
	for number := p.stage().Batch + 1; nodes > 0; number++ {
		nodes -= p.batchSize(number)
		batches++
	}
	return batches
}

// openBatch chooses the nodes of the next batch.
func (p *Plan) openBatch() bool {
	st := p.stage()
	chosen, ok := p.choose(p.batchSize(st.Batch + 1))
	if !ok || len(chosen) == 0 { // without any, whoever was left has failed at its turn
		return ok
	}
	st.Open, st.Size = true, len(chosen)
	st.Batch++
	st.Batches = max(st.Batches, st.Batch)
	st.PauseUntil = nil
	p.entering = chosen
	p.runDirty = true
	shown := chosen[:min(len(chosen), 100)]
	names := make([]any, len(shown))
	for i, name := range shown {
		names[i] = name
	}
	p.event(record.EventBatchStarted, "", p.stageSpec().Name, "",
		record.Document{"batch": int64(st.Batch), "size": int64(len(chosen)), "nodes": names})
	return true
}

// choose picks up to size pending nodes by the stage's order, on fresh facts where it needs any. A node that is not
// there fails here, at its turn: its place by id, or, where facts that it cannot give decide the order, after the others.
func (p *Plan) choose(size int) ([]string, bool) {
	spec := p.stageSpec()
	key := p.decisionKey("batch")
	queue, gone := p.queue()
	byFacts := spec.OrderBy.NeedsFacts() || spec.OrderBy.NeedsAllNodes()
	if !byFacts {
		if err := p.sort(queue, spec.OrderBy, nil); err != nil {
			return nil, p.undecided(key, "the order of stage "+spec.Name, nil, err)
		}
		queue = queue[:min(size, len(queue))]
	}
	var ask []string
	for _, n := range queue {
		if byFacts || p.rememberHealth() || n.rec.Absent {
			ask = append(ask, n.rec.Node)
		}
	}
	var seen *observation
	if len(ask) > 0 {
		if seen = p.observe(key, factsEvery, spec.OrderBy.NeedsAllNodes(), ask...); seen == nil {
			return nil, false
		}
	}
	asked := make(map[string]bool, len(ask))
	for _, name := range ask {
		asked[name] = true
	}
	ready, missing := queue[:0], []*node(nil)
	for _, n := range queue {
		fact := seen.fact(n.rec.Node)
		switch {
		case fact != nil && fact.Status == record.StatusUnreachable:
			missing = append(missing, n)
		case fact == nil && asked[n.rec.Node]: // it came after the others were asked; its turn comes
		default:
			ready = append(ready, n)
		}
	}
	if byFacts {
		if err := p.sort(ready, spec.OrderBy, seen); err != nil {
			return nil, p.undecided(key, "the order of stage "+spec.Name, nil, err)
		}
	}
	p.unobserve(key)
	p.decided(p.stage())
	if len(missing) > 0 && (!byFacts || len(ready) == 0) {
		for _, n := range missing {
			p.endNode(n, record.NodeFailed, &record.Error{
				Code:    record.CodeUnreachable,
				Message: fmt.Sprintf("its agent at %s did not answer when its turn came", n.fact.AgentURL),
			})
		}
		return nil, true // the budget is looked at before anything starts
	}
	if len(ready) == 0 && gone != nil {
		until := gone.rec.GoneTS.Add(p.grace())
		p.factsFor = fmt.Sprintf("node %s, whose key is gone: it counts as removed at %s", gone.rec.Node, until.Format(time.TimeOnly))
		if p.now.Before(until) {
			p.wakeAt(until, gone.rec.Node)
		}
		return nil, false
	}
	chosen := make([]string, 0, size)
	for _, n := range ready[:min(len(ready), size)] {
		if n.rec.Absent { // it has no key, but its agent answers
			n.rec.Absent = false
			p.mark(n)
		}
		chosen = append(chosen, n.rec.Node)
	}
	return chosen, true
}

// queue is the pending nodes by id, less those whose key is gone, of which it returns the one that is gone longest: the
// grace decides about them first.
func (p *Plan) queue() (queue []*node, gone *node) {
	for _, name := range p.pending {
		n := p.nodes[name]
		if n.rec.GoneTS == nil {
			queue = append(queue, n)
		} else if gone == nil || n.rec.GoneTS.Before(*gone.rec.GoneTS) {
			gone = n
		}
	}
	return queue, gone
}

// sort orders nodes, which are sorted by id, by what order says of each.
func (p *Plan) sort(nodes []*node, order *playbook.Expr, seen *observation) error {
	if order == nil {
		return nil
	}
	values := make(map[*node]any, len(nodes))
	for _, n := range nodes {
		value, err := order.Value(p.vars(n, seen))
		if err != nil {
			return fmt.Errorf("node %s: %w", n.rec.Node, err)
		}
		values[n] = value
	}
	var failed error
	slices.SortStableFunc(nodes, func(a, b *node) int {
		by, err := playbook.Compare(values[a], values[b])
		if err != nil {
			failed = err
		}
		return by
	})
	return failed
}

// rememberHealth tells whether the stage's gate wants to know how nodes were before.
func (p *Plan) rememberHealth() bool {
	health := p.stageSpec().Health
	return health != nil && health.Check == nil
}

// enter lets chosen nodes into the open batch, as many as one commit should hold.
func (p *Plan) enter() bool {
	st := p.stage()
	if len(p.entering) == 0 {
		return false
	}
	entered := false
	for len(p.entering) > 0 {
		if p.entries >= maxEntries {
			p.again = true
			break
		}
		n := p.nodes[p.entering[0]]
		p.entering = p.entering[1:]
		if !p.isPending(n) {
			continue
		}
		e := p.entry(n)
		e.Batch = st.Batch
		if p.rememberHealth() {
			was := n.fact.Status == record.StatusHealthy
			e.WasHealthy = &was
		}
		p.setEntry(n, e, record.StageRunning, "")
		p.setNode(n, record.NodeRunning, "")
		n.member, n.over = true, false
		p.working++
		p.entries++
		p.touch(n)
		entered = true
	}
	return entered
}

// closeBatch ends the open batch: all its nodes have ended.
func (p *Plan) closeBatch() bool {
	st := p.stage()
	st.Open, st.GateTS, st.Size = false, nil, 0
	p.runDirty = true
	p.event(record.EventBatchFinished, "", p.stageSpec().Name, "", record.Document{"batch": int64(st.Batch)})
	if p.pending = p.stillPending(); len(p.pending) > 0 && p.stageSpec().BatchPause > 0 {
		until := p.now.Add(p.stageSpec().BatchPause)
		st.PauseUntil = &until
	}
	return true
}
