package playbook

import (
	"cmp"
	"slices"

	"github.com/replicante-io/playbooks/internal/yamltree"
)

// Check is what must hold: all its parts.
type Check struct {
	Parts []CheckPart // by name; at least one
}

// CheckPart is an expression of a check that is true or false. The only part of a check that is written as a text has no name.
type CheckPart struct {
	Name string
	*Expr
}

// NeedsAllNodes reports whether a part mentions nodes.
func (c *Check) NeedsAllNodes() bool {
	return c != nil && slices.ContainsFunc(c.Parts, func(p CheckPart) bool { return p.NeedsAllNodes() })
}

// check reads a check: an expression, or a mapping of names to expressions. One that is not given is nil. Parts have no order in a
// run's copy of the playbook, so they are sorted by name.
func (w *walk) check(v yamltree.Value, k want, stage int) *Check {
	if !v.Given() {
		return nil
	}
	c := &Check{}
	if !v.IsMapping() {
		if v.IsList() {
			w.WrongType(v, "an expression, or expressions by name such as {up: '…', lag: '…'}")
		} else if e := w.expr(v, k, stage); e != nil {
			c.Parts = []CheckPart{{Expr: e}}
		}
		return c
	}
	o, _ := w.Reader.Object(v)
	switch keys := o.Keys(); {
	case len(keys) == 0:
		w.Add(v, yamltree.CodeMissing, "is empty; give it an expression, or expressions by name such as {up: '…', lag: '…'}")
	case len(keys) > maxParts:
		w.Add(v, yamltree.CodeTooLarge, "has more than %d parts", maxParts)
		return c
	}
	names := map[string]int{}
	for _, key := range o.Keys() {
		name := w.name(o.Key(key), names)
		if e := w.expr(o.Get(key), k, stage); e != nil {
			c.Parts = append(c.Parts, CheckPart{name, e})
		}
	}
	slices.SortFunc(c.Parts, func(a, b CheckPart) int { return cmp.Compare(a.Name, b.Name) })
	return c
}
