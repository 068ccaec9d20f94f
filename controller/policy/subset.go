package policy

import (
	"errors"
	"fmt"
	"slices"

	"github.com/replicante-io/playbooks/playbook"
	"github.com/replicante-io/playbooks/record"
)

// Where compiles what says for which nodes a run of spec is; nil where it is empty.
func Where(spec *playbook.Spec, text string) (*playbook.Expr, error) {
	if text == "" {
		return nil, nil
	}
	where, problems := spec.Where(text)
	if len(problems) > 0 {
		return nil, problems
	}
	return where, nil
}

// Undecided is a node about which the where of a run cannot decide, and the fact that is absent.
type Undecided struct {
	Node record.Node
	Err  error
}

// SelectNodes decides for which of the known nodes a run is, by its nodes and its where, which is compiled; nil for none. The error is
// that of an expression that fails for another reason than an absent fact.
func SelectNodes(run record.Run, where *playbook.Expr, known []record.Node) (selected map[string]bool, undecided []Undecided, err error) {
	p := Plan{run: run, spec: &playbook.Spec{}}
	seen := newFacts(known)
	selected = map[string]bool{}
	for i := range known {
		id := known[i].NodeID
		if !named(&run, id) {
			continue
		}
		matches := true
		if where != nil {
			matches, err = where.Bool(p.vars(&node{rec: record.RunNode{Node: id}, fact: known[i]}, seen))
		}
		switch {
		case errors.Is(err, playbook.ErrAbsent):
			undecided = append(undecided, Undecided{known[i], err})
		case err != nil:
			return nil, nil, fmt.Errorf("node %s: %w", id, err)
		case matches:
			selected[id] = true
		}
	}
	return selected, undecided, nil
}

// named reports whether the run's list of nodes, where it has one, has the node.
func named(run *record.Run, node string) bool {
	return len(run.Nodes) == 0 || slices.Contains(run.Nodes, node)
}

// OutsideSubset is why a node is not for a run: data says what the run was restricted to.
func OutsideSubset(run *record.Run) *record.Error {
	data := record.Document{}
	if run.Where != "" {
		data["where"] = run.Where
	}
	if len(run.Nodes) > 0 {
		data["named"] = int64(len(run.Nodes))
	}
	return &record.Error{Code: record.CauseSubset, Data: data}
}

// outside reports whether the node was left out of the run by what the run was restricted to.
func (n *node) outside() bool {
	if n.rec.State != record.NodeSkipped || len(n.rec.History) == 0 {
		return false
	}
	cause := n.rec.History[len(n.rec.History)-1].Cause
	return cause != nil && cause.Code == record.CauseSubset
}

// joinsSubset reports whether a node that appears may be one of those that the run is for. What its key says may leave it out; whether
// it is in is decided at its turn, on fresh facts.
func (p *Plan) joinsSubset(n *node) bool {
	if !named(&p.run, n.rec.Node) {
		return false
	}
	if p.where == nil || p.where.NeedsAllNodes() {
		return true
	}
	matches, err := p.where.Bool(p.vars(n, nil))
	return err != nil || matches
}

// leaveOut ends the record of a node that the run is not for.
func (p *Plan) leaveOut(n *node, err error) {
	cause := OutsideSubset(&p.run)
	if err != nil {
		cause.Data["error"] = err.Error()
		addStatus(cause.Data, &n.fact)
	}
	p.setNode(n, record.NodeSkipped, cause)
}

// admitNewcomers decides which of the nodes that appeared go through the stages now: those that the run is for, on fresh facts. The others
// are left out, also those about which it cannot be decided. It is false while the facts are not there.
func (p *Plan) admitNewcomers() (admitted, ok bool) {
	key, needsFacts := FactKey{Purpose: ForSubset}, p.where.NeedsFacts() || p.where.NeedsAllNodes()
	var added []*node
	var ask []string
	for _, name := range p.names {
		if n := p.nodes[name]; n.rec.State == record.NodeAdded {
			added, ask = append(added, n), append(ask, name)
		}
	}
	var seen *facts
	if needsFacts && len(added) > 0 {
		if seen = p.request(key, factsEvery, p.where.NeedsAllNodes(), ask...); seen == nil {
			return false, false
		}
	}
	p.cancelRequest(key)
	left := false
	for _, n := range added {
		if needsFacts && seen.of(n.rec.Node) == nil {
			left = true // it appeared after the others were asked
			continue
		}
		matches, err := true, error(nil)
		if p.where != nil {
			matches, err = p.where.Bool(p.vars(n, seen))
		}
		if err != nil || !matches {
			p.leaveOut(n, err)
			continue
		}
		p.setNode(n, record.NodePending, nil)
		admitted = true
	}
	if left && !admitted {
		return p.admitNewcomers()
	}
	return admitted, true
}
