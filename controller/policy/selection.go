package policy

import (
	"fmt"
	"slices"

	"github.com/replicante-io/playbooks/playbook"
	"github.com/replicante-io/playbooks/record"
)

// view is one observation of what a batch may take.
type view struct {
	size    int // of the batch
	orderBy *playbook.Expr
	// asksHealth is true when the gate behind the batch needs to know how nodes were before.
	asksHealth bool
	queue      []candidate // by name
	seen       *facts      // nil: nothing was asked
}

// candidate is a node that no batch of the stage has taken.
type candidate struct {
	*node
	vars playbook.Vars
	// locked is another run that has the node locked, without doing anything on it that will end; nil for none.
	locked *Holder
	// lockExpired is true when the patience with that is over.
	lockExpired bool
}

// Selection is what a batch takes of a view.
type Selection struct {
	chosen  []*node
	failed  []failedNode // they cannot take part: their failures count before anything is opened
	waiting []*node      // it is their turn, and another run has them locked
}

type failedNode struct {
	node *node
	err  *record.Error
}

// ordersByFacts reports whether the order depends on facts: then it is decided over all candidates, by fresh ones.
func (v *view) ordersByFacts() bool { return v.orderBy.NeedsFacts() || v.orderBy.NeedsAllNodes() }

// needs are the nodes about which facts are needed before a batch can be selected.
func (v *view) needs() ([]string, error) {
	turn := v.queue
	if !v.ordersByFacts() {
		var err error
		if turn, err = v.inOrder(v.queue); err != nil {
			return nil, err
		}
		turn = turn[:min(v.size, len(turn))]
	}
	var ask []string
	for _, c := range turn {
		if v.ordersByFacts() || v.asksHealth || c.rec.Absent {
			ask = append(ask, c.rec.Node)
		}
	}
	return ask, nil
}

// selectBatch decides which nodes a batch takes. A node that does not answer fails at its turn: its place by name, or, where facts
// that it cannot give decide the order, after the others.
func selectBatch(v view) (Selection, error) {
	var s Selection
	turn := v.queue
	if !v.ordersByFacts() {
		var err error
		if turn, err = v.inOrder(turn); err != nil {
			return s, err
		}
		turn = turn[:min(v.size, len(turn))]
	}
	ready, unreachable := v.reachable(turn)
	if v.ordersByFacts() {
		var err error
		if ready, err = v.inOrder(ready); err != nil {
			return s, err
		}
	}
	if len(unreachable) > 0 && (!v.ordersByFacts() || len(ready) == 0) {
		for _, c := range unreachable {
			s.failed = append(s.failed, failedNode{c.node, &record.Error{
				Code: record.CodeUnreachable, Data: record.Document{"agent_url": c.fact.AgentURL},
			}})
		}
		return s, nil // the budget is looked at before anything starts
	}
	for _, c := range ready[:min(len(ready), v.size)] {
		switch {
		case c.locked == nil:
			s.chosen = append(s.chosen, c.node)
		case c.lockExpired:
			s.failed = append(s.failed, failedNode{c.node, &record.Error{
				Code: record.CodeUnsettled, Data: record.Document{"run": c.locked.RunID, "node": c.rec.Node},
			}})
		default:
			s.waiting = append(s.waiting, c.node)
		}
	}
	if len(s.failed) > 0 {
		s.chosen = nil
	}
	return s, nil
}

// reachable divides candidates by whether their agents answered. Where others were asked, one that was not is left out: its turn
// comes.
func (v *view) reachable(turn []candidate) (ready, unreachable []candidate) {
	for _, c := range turn {
		fact := v.seen.of(c.rec.Node)
		switch {
		case fact != nil && fact.Status == record.StatusUnreachable:
			unreachable = append(unreachable, c)
		case fact == nil && (v.ordersByFacts() || v.asksHealth || c.rec.Absent):
		default:
			ready = append(ready, c)
		}
	}
	return ready, unreachable
}

// inOrder sorts candidates, which are sorted by name, by the stage's order.
func (v *view) inOrder(queue []candidate) ([]candidate, error) {
	if v.orderBy == nil {
		return queue, nil
	}
	values := make(map[*node]any, len(queue))
	for _, c := range queue {
		value, err := v.orderBy.Value(c.vars)
		if err != nil {
			return nil, fmt.Errorf("node %s: %w", c.rec.Node, err)
		}
		values[c.node] = value
	}
	sorted := slices.Clone(queue)
	var failed error
	slices.SortStableFunc(sorted, func(a, b candidate) int {
		by, err := playbook.Compare(values[a.node], values[b.node])
		if err != nil {
			failed = err
		}
		return by
	})
	return sorted, failed
}
