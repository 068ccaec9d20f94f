package policy

import (
	"github.com/replicante-io/playbooks/record"
)

// Limit is how many nodes of the cluster may be out at the same time, by facts of all its known nodes. A node is out that is not HEALTHY, or
// that any run has locked.
type Limit struct {
	Most  int
	Known map[string]*record.Node // as they were observed
}

// OverLimit answers a LockRequest of which its limit lets no node be locked: the nodes of Out are out. Unlocked follows once a run has given a
// node back. With Outdated, newer facts may be within the limit already.
type OverLimit struct {
	LockRequest
	Out      []Out
	Outdated bool
}

// Out is a node that is out: by its status, or because a run has it locked, which is empty where none has.
type Out struct {
	Node   string
	Status record.Status
	Holder Holder
}

// limited reports whether the stage limits how many nodes are out when a batch of it opens. What undoes a run or cleans up after it is not
// limited.
func (p *Plan) limited() bool { return p.stageSpec().MaxUnavailable != nil && !p.pass.afterOutcome }

// limit is the limit of the open stage; nil for none. All its groups see it on the same facts.
func (p *Plan) limit(seen *facts) *Limit {
	if !p.limited() || seen == nil {
		return nil
	}
	return &Limit{Most: p.mostOut(len(seen.nodes)), Known: seen.nodes}
}

// countDown is how many nodes were not HEALTHY.
func (f *facts) countDown() int {
	if f.down == nil {
		down := 0
		for _, fact := range f.nodes {
			if fact.Status != record.StatusHealthy {
				down++
			}
		}
		f.down = &down
	}
	return *f.down
}

func (p *Plan) mostOut(nodes int) int { return max(1, p.stageSpec().MaxUnavailable.Of(nodes)) }

// freeFirst reports which nodes a batch takes before others of the same order: those that are down themselves, where as many are as may be
// out. It is nil where that does not matter.
func (p *Plan) freeFirst(seen *facts) func(*node) bool {
	limit := p.limit(seen)
	if limit == nil || seen.countDown() < limit.Most {
		return nil
	}
	return func(n *node) bool {
		fact := limit.Known[n.rec.Node]
		return fact != nil && fact.Status != record.StatusHealthy && fact.Status != record.StatusUnreachable
	}
}

// fillsLimit reports whether the open batches of the run itself take up the limit of the stage: then nobody is asked before one of them has
// ended. How many nodes the cluster has, beside those of the run, is not known without asking.
func (p *Plan) fillsLimit() bool {
	if !p.limited() {
		return false
	}
	open := 0
	for _, g := range p.groups {
		open += g.working + g.passed + len(g.chosen)
	}
	return open >= p.mostOut(len(p.names))
}

func (in OverLimit) apply(p *Plan) *record.RejectedError {
	g := p.groups[in.Group]
	if g == nil || !g.locking {
		return nil
	}
	g.locking = false
	if !p.progresses() || p.ending() || p.exceeded() {
		return nil
	}
	key := p.selectionKey(g)
	if in.Outdated {
		p.cancelRequest(key)
		return nil
	}
	p.overLimit = p.requests[key].ID
	st := p.stageSpec()
	named := []any{}
	for _, out := range in.Out[:min(len(in.Out), maxNamed)] {
		one := map[string]any{"node": out.Node}
		if out.Status != "" && out.Status != record.StatusHealthy {
			one["status"] = string(out.Status)
		}
		if out.Holder.RunID != "" {
			one["run"], one["unsettled"] = out.Holder.RunID, out.Holder.Unsettled
		}
		named = append(named, one)
	}
	wait := &record.Wait{For: record.WaitNode, Since: p.now, Stage: st.Name, Data: record.Document{
		"code": record.CauseMaxUnavailable, "max_unavailable": int64(in.Limit.Most), "nodes": int64(len(in.Limit.Known)),
		"out": int64(len(in.Out)), "named": named}}
	rec := p.groupRecord(g)
	if waitsForLimit(rec.Waiting) {
		wait.Since = rec.Waiting.Since
	}
	p.replaceWait(&rec.Waiting, wait)
	return nil
}

// waitsForLimit reports whether w is the wait of a group for fewer nodes to be out.
func waitsForLimit(w *record.Wait) bool {
	return w != nil && w.For == record.WaitNode && w.Data["code"] == record.CauseMaxUnavailable
}

// dropLimitWait ends the wait of a group for fewer nodes to be out: it does not ask for any.
func (p *Plan) dropLimitWait(g *group) {
	if rec := p.groupRecord(g); waitsForLimit(rec.Waiting) {
		p.replaceWait(&rec.Waiting, nil)
	}
}

func (p *Plan) dropLimitWaits() {
	for _, g := range p.groups {
		p.dropLimitWait(g)
	}
}

// askAgain has facts for the next batch asked again at once, where those that were had did not allow one: a run has given a node back.
func (p *Plan) askAgain() {
	for key, request := range p.requests {
		if key.Purpose == ForSelection && request.ID == p.overLimit {
			p.cancelRequest(key)
		}
	}
}
