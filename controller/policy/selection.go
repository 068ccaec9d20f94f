package policy

import (
	"errors"
	"slices"

	"github.com/replicante-io/playbooks/playbook"
	"github.com/replicante-io/playbooks/record"
)

// view is one observation of what a batch may take.
type view struct {
	size    int // of the batch
	orderBy *playbook.Expr
	// value is what orderBy comes to for a candidate.
	value func(candidate) (any, error)
	// notAfter is the last value of orderBy that the batch may take; nil: any.
	notAfter *any
	// first are the nodes that come before others of the same order; nil: none.
	first func(*node) bool
	// asksHealth is true when the gate behind the batch needs to know how nodes were before.
	asksHealth bool
	queue      []candidate // by name
	seen       *facts      // nil: nothing was asked
}

// candidate is a node that no batch of the stage has taken.
type candidate struct {
	*node
	// locked is an ended run whose action may still be running on the node; nil for none.
	locked *Holder
	// expired is what the node has waited for at its turn for as long as it may; empty for nothing.
	expired record.WaitReason
}

// Selection is what a batch takes of a view.
type Selection struct {
	chosen  []*node
	failed  []failedNode // their patience is over: their failures count before anything is opened
	waiting []turnWait   // it is their turn, and something keeps them
}

type failedNode struct {
	node *node
	err  *record.Error
}

// turnWait is what keeps a node whose turn it is.
type turnWait struct {
	node   *node
	reason record.WaitReason
	err    *record.Error // what the node fails with once its patience is over
}

// ordersByFacts reports whether the order depends on facts: then it is decided over all candidates, by fresh ones.
func (v *view) ordersByFacts() bool { return v.orderBy.NeedsFacts() || v.orderBy.NeedsAllNodes() }

// needs are the nodes about which facts are needed before a batch can be selected.
func (v *view) needs() ([]string, error) {
	turn := v.queue
	if !v.ordersByFacts() {
		ordered, undecided, err := v.inOrder(v.queue)
		if err != nil {
			return nil, err
		}
		turn = v.turn(ordered, undecided)
	}
	var ask []string
	for _, c := range turn {
		if v.ordersByFacts() || v.asksHealth || c.rec.Absent || c.waits() {
			ask = append(ask, c.rec.Node)
		}
	}
	return ask, nil
}

// waits reports whether something has kept the node at its turn.
func (c *candidate) waits() bool {
	e := c.lastEntry()
	return e != nil && e.State == record.NodeStagePending && e.Waiting != nil
}

// turn is the candidates whose turn it is, by order: those about which cannot be decided come last.
func (v *view) turn(ordered []candidate, undecided []turnWait) []candidate {
	turn := ordered[:min(v.size, len(ordered))]
	for _, u := range undecided[:min(v.size-len(turn), len(undecided))] {
		turn = append(slices.Clip(turn), candidate{node: u.node})
	}
	return turn
}

// selectBatch decides which nodes a batch takes. A node that does not answer, or whose order cannot be decided, waits at its turn
// and then fails: its place by order, or, where facts that it cannot give decide the order, after the others.
func selectBatch(v view) (Selection, error) {
	var ready []candidate
	var kept []turnWait
	if v.ordersByFacts() {
		reachable, unreachable := v.reachable(v.queue)
		ordered, undecided, err := v.inOrder(reachable)
		if err != nil {
			return Selection{}, err
		}
		ready = ordered[:min(v.size, len(ordered))]
		if len(ready) == 0 {
			kept = append(unreachable, undecided...)
		}
	} else {
		ordered, undecided, err := v.inOrder(v.queue)
		if err != nil {
			return Selection{}, err
		}
		if ready, kept = v.reachable(ordered[:min(v.size, len(ordered))]); len(ordered) == 0 {
			kept = undecided
		}
	}
	return v.patience(ready, kept), nil
}

// patience divides the nodes whose turn it is into those that the batch takes, those that wait, and those that have waited for long
// enough.
func (v *view) patience(ready []candidate, kept []turnWait) Selection {
	var s Selection
	for _, c := range ready {
		if c.locked == nil {
			s.chosen = append(s.chosen, c.node)
			continue
		}
		kept = append(kept, turnWait{c.node, record.WaitUnsettled, &record.Error{
			Code: record.CodeUnsettled, Data: record.Document{"run": c.locked.RunID, "node": c.rec.Node}}})
	}
	expired := map[*node]record.WaitReason{}
	for _, c := range v.queue {
		expired[c.node] = c.expired
	}
	for _, k := range kept {
		if expired[k.node] == k.reason {
			s.failed = append(s.failed, failedNode{k.node, k.err})
		} else {
			s.waiting = append(s.waiting, k)
		}
	}
	if len(s.failed) > 0 { // the budget is looked at before anything starts
		s.chosen = nil
	}
	return s
}

// reachable divides candidates by whether their agents answered. Where others were asked, one that was not is left out: its turn
// comes.
func (v *view) reachable(turn []candidate) (ready []candidate, unreachable []turnWait) {
	for _, c := range turn {
		fact := v.seen.of(c.rec.Node)
		switch {
		case fact != nil && fact.Status == record.StatusUnreachable:
			data := record.Document{"agent_url": c.fact.AgentURL}
			addStatus(data, fact)
			unreachable = append(unreachable, turnWait{c.node, record.WaitAgent, &record.Error{Code: record.CodeUnreachable, Data: data}})
		case fact == nil && (v.ordersByFacts() || v.asksHealth || c.rec.Absent || c.waits()):
		default:
			ready = append(ready, c)
		}
	}
	return ready, unreachable
}

// inOrder sorts candidates, which are sorted by name, by the stage's order. Those that lack a fact for it are undecided.
func (v *view) inOrder(queue []candidate) (ordered []candidate, undecided []turnWait, err error) {
	if v.orderBy == nil {
		return v.firstOf(queue), nil, nil
	}
	values := make(map[*node]any, len(queue))
	for _, c := range queue {
		value, err := v.value(c)
		switch {
		case errors.Is(err, playbook.ErrAbsent):
			undecided = append(undecided, turnWait{c.node, record.WaitFacts, undecidable("order_by", c.node, err)})
		case err != nil:
			return nil, nil, &nodeError{c.rec.Node, err}
		default:
			values[c.node] = value
			ordered = append(ordered, c)
		}
	}
	ordered = v.firstOf(ordered)
	slices.SortStableFunc(ordered, func(a, b candidate) int {
		by, failed := playbook.Compare(values[a.node], values[b.node])
		if failed != nil {
			err = failed
		}
		return by
	})
	if v.notAfter != nil && err == nil {
		ordered, err = v.notLater(ordered, values)
	}
	return ordered, undecided, err
}

// firstOf puts the candidates before the others that come first among those of the same order.
func (v *view) firstOf(candidates []candidate) []candidate {
	if v.first == nil {
		return candidates
	}
	var first, others []candidate
	for _, c := range candidates {
		if v.first(c.node) {
			first = append(first, c)
		} else {
			others = append(others, c)
		}
	}
	return append(first, others...)
}

// notLater are those of the candidates, in order, that are not later than the batch may take.
func (v *view) notLater(ordered []candidate, values map[*node]any) ([]candidate, error) {
	for i, c := range ordered {
		by, err := playbook.Compare(values[c.node], *v.notAfter)
		if err != nil {
			return nil, err
		}
		if by > 0 {
			return ordered[:i], nil
		}
	}
	return ordered, nil
}

// nodeError is the failure of an expression on one node.
type nodeError struct {
	node string
	err  error
}

func (e *nodeError) Error() string { return "node " + e.node + ": " + e.err.Error() }

func (e *nodeError) Unwrap() error { return e.err }

// undecidable is what a node fails with about which an expression cannot decide, because a fact of it is absent.
func undecidable(what string, n *node, err error) *record.Error {
	code := record.CodeFactsAbsent
	if !n.answers() {
		code = record.CodeUndecidable
	}
	data := record.Document{"what": what, "node": n.rec.Node, "error": err.Error()}
	addStatus(data, &n.fact)
	return &record.Error{Code: code, Data: data}
}

// answers reports whether the node's agent answers and its datastore is up, as last observed.
func (n *node) answers() bool {
	switch n.fact.Status {
	case record.StatusUnreachable, record.StatusUnavailable, record.StatusUnknown, "":
		return false
	}
	return true
}
