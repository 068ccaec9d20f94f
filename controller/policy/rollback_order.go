package policy

import (
	"cmp"
	"slices"
	"time"

	"github.com/replicante-io/playbooks/record"
)

// batchID names a batch of a stage that was carried out.
type batchID struct {
	pass   record.PassKind
	number int
	group  string
	batch  int
	node   string // where it is not known which batch it was
}

// forwardEntry is the entry by which a batch of the stage took the node last or, where it is not known which batch, by which it acted; nil when
// there is none.
func (n *node) forwardEntry(stage string) *record.NodeStage {
	var acted *record.NodeStage
	for i := len(n.rec.Stages) - 1; i >= 0; i-- {
		e := &n.rec.Stages[i]
		switch {
		case e.Name != stage || e.Pass == record.PassRollback:
		case e.Batch > 0:
			return e
		case acted == nil && n.lastActionOf(e) != nil:
			acted = e
		}
	}
	return acted
}

// forwardBatch is the batch of the stage that the node was in.
func (n *node) forwardBatch(stage string) batchID {
	e := n.forwardEntry(stage)
	switch {
	case e == nil:
		return batchID{node: n.rec.Node}
	case e.Batch == 0:
		return batchID{pass: e.Pass, number: e.PassNumber, group: e.Group, node: n.rec.Node}
	}
	return batchID{pass: e.Pass, number: e.PassNumber, group: e.Group, batch: e.Batch}
}

// newestBatch are those of the nodes, in their order, that were in the batch of the stage which began last.
func (p *Plan) newestBatch(names []string) []string {
	stage := p.stageSpec().Name
	began := p.batchesBegan(stage)
	var newest batchID
	for i, name := range names {
		if id := p.nodes[name].forwardBatch(stage); i == 0 || p.compareBatches(stage, id, newest, began) > 0 {
			newest = id
		}
	}
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool { return p.nodes[name].forwardBatch(stage) != newest })
}

// batchesBegan is when the batches of a stage began, by all their nodes, also those that have been rolled back. No batch of a group began before
// one with a smaller number, although it may have taken a node that an earlier one had.
func (p *Plan) batchesBegan(stage string) map[batchID]time.Time {
	began := map[batchID]time.Time{}
	for _, name := range p.names {
		n := p.nodes[name]
		e := n.forwardEntry(stage)
		if e == nil {
			continue
		}
		at := slices.IndexFunc(n.rec.Actions, func(a record.Action) bool { return of(&a, e) })
		if at < 0 {
			continue
		}
		id, first := n.forwardBatch(stage), n.rec.Actions[at].StartTS
		if known, ok := began[id]; !ok || first.Before(known) {
			began[id] = first
		}
	}
	ids := make([]batchID, 0, len(began))
	for id := range began {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, func(a, b batchID) int { return cmp.Compare(a.batch, b.batch) })
	latest := map[batchID]time.Time{}
	for _, id := range ids {
		group := batchID{pass: id.pass, number: id.number, group: id.group}
		if id.batch > 0 && began[id].Before(latest[group]) {
			began[id] = latest[group]
		}
		if id.batch > 0 {
			latest[group] = began[id]
		}
	}
	return began
}

// compareBatches is above 0 where batch a of the stage began after batch b: in a later pass, or later in the same one. Of those that began together,
// the one with the larger number did.
func (p *Plan) compareBatches(stage string, a, b batchID, began map[batchID]time.Time) int {
	return cmp.Or(
		cmp.Compare(p.passAt(stage, a), p.passAt(stage, b)), cmp.Compare(a.number, b.number), began[a].Compare(began[b]),
		cmp.Compare(a.batch, b.batch), record.CompareIDs(a.group, b.group), record.CompareIDs(a.node, b.node))
}

// passAt is the place, among all stages of the run, of the record of the stage in the pass of a batch.
func (p *Plan) passAt(stage string, id batchID) int {
	return slices.IndexFunc(p.run.Stages, func(st record.RunStage) bool {
		return st.Name == stage && st.Pass == id.pass && (st.PassNumber == id.number || id.pass == record.PassNewcomers && st.PassNumber > id.number)
	})
}
