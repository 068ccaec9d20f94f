package playbook

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
	"cel.dev/cel-go/parser"

	"github.com/replicante-io/playbooks/internal/yamltree"
	"github.com/replicante-io/playbooks/record"
)

const (
	maxReadings    = 8   // values in an explanation, and of each of its nodes
	maxNodes       = 3   // nodes that an explanation names
	maxReadingText = 200 // bytes of a value, and of its name
	maxShownItems  = 5   // items of a list
)

// Explanation says on what an expression came out as it did.
type Explanation struct {
	// Nodes are the nodes that decided a condition over nodes, such as those for which the condition of all is false: some of
	// NodeCount.
	Nodes     []NodeReadings
	NodeCount int
	Readings  []Reading // beside those of Nodes
}

// NodeReadings is what was read about one node.
type NodeReadings struct {
	Node     string
	Readings []Reading
}

// Reading is a value that an expression read, under the name by which the expression refers to it. Value is nil where it is absent;
// else a bool, int64, float64 or string, whatever its type is.
type Reading struct {
	Name  string
	Value any
}

// Explain says why a condition is true, false or neither: of what is joined by && and ||, only what decided is looked at. Left bounds
// the steps of all explanations that share it; without any, the explanation is empty.
func (e *Expr) Explain(v Vars, left *int) Explanation {
	x := &explainer{expr: e, left: left}
	x.into = &x.found.Readings
	x.because(e.ast.Expr(), variables(v), x.outcome(e.ast.Expr(), variables(v)))
	return x.found
}

// outcome is what a condition comes to.
type outcome int

const (
	isFalse outcome = iota
	isTrue
	isNeither // it depends on an absent fact, or fails
)

func (o outcome) not() outcome {
	switch o {
	case isFalse:
		return isTrue
	case isTrue:
		return isFalse
	}
	return isNeither
}

type explainer struct {
	expr   *Expr
	left   *int
	found  Explanation
	into   *[]Reading        // where readings go
	labels map[string]string // of the variables of macros, where they stand for an item of a list that is no node
}

// bound is an activation with the variable of a macro.
type bound struct {
	cel.Activation
	name  string
	value ref.Val
}

func (b bound) ResolveName(name string) (any, bool) {
	if name == b.name {
		return b.value, true
	}
	return b.Activation.ResolveName(name)
}

func (b bound) Parent() cel.Activation { return b.Activation }

// eval evaluates a part of the expression.
func (x *explainer) eval(part ast.Expr, vars cel.Activation) (ref.Val, error) {
	if *x.left <= 0 {
		return nil, errTooLarge
	}
	program, err := x.expr.partProgram(part)
	if err != nil {
		return nil, err
	}
	result, details, err := program.Eval(vars)
	*x.left--
	if details != nil && details.ActualCost() != nil {
		*x.left -= int(min(*details.ActualCost(), maxCost))
	}
	return result, err
}

// partProgram is the program of a part of the expression, made once.
func (e *Expr) partProgram(part ast.Expr) (cel.Program, error) {
	if known, ok := e.parts.Load(part.ID()); ok {
		return known.(cel.Program), nil
	}
	checked := ast.NewCheckedAST(ast.NewAST(part, e.ast.SourceInfo()), e.ast.TypeMap(), e.ast.ReferenceMap())
	program, err := plan(e.env, checked)
	if err != nil {
		return nil, err
	}
	e.parts.Store(part.ID(), program)
	return program, nil
}

func (x *explainer) outcome(condition ast.Expr, vars cel.Activation) outcome {
	result, err := x.eval(condition, vars)
	switch {
	case err != nil:
		return isNeither
	case result == types.True:
		return isTrue
	case result == types.False:
		return isFalse
	}
	return isNeither
}

// because notes why a condition comes to what.
func (x *explainer) because(condition ast.Expr, vars cel.Activation, what outcome) {
	switch condition.Kind() {
	case ast.CallKind:
		args := condition.AsCall().Args()
		switch condition.AsCall().FunctionName() {
		case operators.LogicalAnd, operators.LogicalOr:
			x.operands(args, vars, what)
			return
		case operators.LogicalNot:
			x.because(args[0], vars, what.not())
			return
		case operators.Conditional:
			chosen := x.outcome(args[0], vars)
			x.because(args[0], vars, chosen)
			if chosen != isNeither {
				x.because(args[2-int(chosen)], vars, what)
			}
			return
		}
	case ast.ComprehensionKind:
		if test := x.test(condition); test != nil {
			x.items(condition, test, vars, what)
			return
		}
	}
	x.read(condition, vars)
}

// operands notes those of && or || that decided.
func (x *explainer) operands(args []ast.Expr, vars cel.Activation, what outcome) {
	for _, arg := range args {
		if x.outcome(arg, vars) == what {
			x.because(arg, vars, what)
		}
	}
}

// test is the condition that a macro of conditions (all, exists, exists_one) has for each item; nil for anything else.
func (x *explainer) test(macro ast.Expr) ast.Expr {
	call, ok := x.expr.ast.SourceInfo().GetMacroCall(macro.ID())
	if !ok || macro.AsComprehension().HasIterVar2() || macro.AsComprehension().LoopStep().Kind() != ast.CallKind {
		return nil
	}
	args := macro.AsComprehension().LoopStep().AsCall().Args()
	switch call.AsCall().FunctionName() {
	case operators.All, operators.Exists:
		return args[1] // result && test, result || test
	case operators.ExistsOne, "existsOne":
		return args[0] // test ? result + 1 : result
	}
	return nil
}

// items notes the items that decided a condition over a list.
func (x *explainer) items(macro, test ast.Expr, vars cel.Activation, what outcome) {
	loop := macro.AsComprehension()
	list, err := x.eval(loop.IterRange(), vars)
	items, ok := list.(traits.Lister)
	if err != nil || !ok {
		x.read(loop.IterRange(), vars)
		return
	}
	var matching, others []bound
	for it := items.Iterator(); it.HasNext() == types.True && *x.left > 0; {
		b := bound{vars, loop.IterVar(), it.Next()}
		if x.outcome(test, b) == what {
			matching = append(matching, b)
		} else {
			others = append(others, b)
		}
	}
	call, _ := x.expr.ast.SourceInfo().GetMacroCall(macro.ID())
	if one := call.AsCall().FunctionName(); what == isFalse && one != operators.All && one != operators.Exists && len(others) > 0 {
		matching, what = others, isTrue // more than one item passes the test
	}
	if len(matching) == 0 {
		x.read(loop.IterRange(), vars)
		return
	}
	nodes := x.isNodes(loop.IterRange()) && x.into == &x.found.Readings
	if nodes {
		x.found.NodeCount += len(matching)
	}
	for i, b := range matching {
		switch {
		case !nodes && len(*x.into) >= maxReadings, nodes && len(x.found.Nodes) >= maxNodes:
			return
		case nodes:
			x.node(test, b, what)
		default:
			x.item(test, b, what, x.name(loop.IterRange())+"["+itemName(b.value, i)+"]")
		}
	}
}

// node notes why the condition over nodes comes to what for one of them.
func (x *explainer) node(test ast.Expr, b bound, what outcome) {
	of := NodeReadings{Node: itemName(b.value, 0)}
	x.into = &of.Readings
	x.because(test, b, what)
	x.into = &x.found.Readings
	x.found.Nodes = append(x.found.Nodes, of)
}

func (x *explainer) item(test ast.Expr, b bound, what outcome, label string) {
	labels := x.labels
	x.labels = map[string]string{b.name: label}
	for name, label := range labels {
		if name != b.name {
			x.labels[name] = label
		}
	}
	x.because(test, b, what)
	x.labels = labels
}

// itemName is the id of an item that has one, else its place.
func itemName(item ref.Val, at int) string {
	if id, ok := objectOf(item)["id"].(string); ok && id != "" {
		return id
	}
	return strconv.Itoa(at)
}

func (x *explainer) isNodes(list ast.Expr) bool {
	t := x.expr.ast.GetType(list.ID())
	return t.Kind() == types.ListKind && len(t.Parameters()) == 1 && t.Parameters()[0].TypeName() == typeNode
}

// read notes the values that a part of the expression refers to. What a macro makes of a list is one value.
func (x *explainer) read(part ast.Expr, vars cel.Activation) {
	switch {
	case isPath(part), part.Kind() == ast.ComprehensionKind, part.Kind() == ast.SelectKind && part.AsSelect().IsTestOnly():
		x.note(part, vars)
	case part.Kind() == ast.SelectKind:
		x.read(part.AsSelect().Operand(), vars)
	case part.Kind() == ast.ListKind:
		for _, item := range part.AsList().Elements() {
			x.read(item, vars)
		}
	case part.Kind() == ast.CallKind:
		if part.AsCall().IsMemberFunction() {
			x.read(part.AsCall().Target(), vars)
		}
		for _, arg := range part.AsCall().Args() {
			x.read(arg, vars)
		}
	}
}

func (x *explainer) note(part ast.Expr, vars cel.Activation) {
	name := record.CleanText(x.name(part), maxReadingText)
	if len(*x.into) >= maxReadings || slices.ContainsFunc(*x.into, func(r Reading) bool { return r.Name == name }) {
		return
	}
	result, err := x.eval(part, vars)
	if errors.Is(err, errTooLarge) {
		return
	}
	r := Reading{Name: name}
	if err == nil {
		r.Value = x.shown(result, 0)
	}
	*x.into = append(*x.into, r)
}

// isPath reports whether a part is a variable, or a field or item of one.
func isPath(part ast.Expr) bool {
	switch part.Kind() {
	case ast.IdentKind:
		return true
	case ast.SelectKind:
		return !part.AsSelect().IsTestOnly() && isPath(part.AsSelect().Operand())
	case ast.CallKind:
		call := part.AsCall()
		return call.FunctionName() == operators.Index && isPath(call.Args()[0])
	}
	return false
}

// name is how the expression refers to a part.
func (x *explainer) name(part ast.Expr) string {
	switch {
	case part.Kind() == ast.IdentKind && x.labels[part.AsIdent()] != "":
		return x.labels[part.AsIdent()]
	case part.Kind() == ast.SelectKind && !part.AsSelect().IsTestOnly():
		return x.name(part.AsSelect().Operand()) + "." + part.AsSelect().FieldName()
	}
	text, err := parser.Unparse(part, x.expr.ast.SourceInfo())
	if err != nil {
		return x.expr.text
	}
	return text
}

// shown is a value as it is stored and shown.
func (x *explainer) shown(v ref.Val, depth int) any {
	switch v := v.(type) {
	case types.Bool:
		return bool(v)
	case types.Int:
		return int64(v)
	case types.Double:
		return float64(v)
	case types.String:
		return record.CleanText(string(v), maxReadingText)
	case types.Duration:
		return yamltree.FormatDuration(v.Duration)
	case types.Timestamp:
		return v.Time.UTC().Format(time.RFC3339Nano)
	case types.Null:
		return "null"
	case traits.Mapper:
		if id := objectOf(v)["id"]; id != nil {
			return x.shownText(id)
		}
		return "a map of " + fmt.Sprint(v.Size().Value())
	case traits.Lister:
		return x.shownList(v, depth)
	}
	return x.shownText(v.Value())
}

func (x *explainer) shownText(value any) string {
	return record.CleanText(fmt.Sprint(value), maxReadingText)
}

func (x *explainer) shownList(list traits.Lister, depth int) any {
	if depth > 2 {
		return "a list"
	}
	var items []string
	size := 0
	for it := list.Iterator(); it.HasNext() == types.True; size++ {
		if item := it.Next(); len(items) < maxShownItems {
			items = append(items, fmt.Sprint(x.shown(item, depth+1)))
		}
	}
	if more := size - len(items); more > 0 {
		items = append(items, fmt.Sprintf("and %d more", more))
	}
	return cmp.Or(record.CleanText("["+strings.Join(items, ", ")+"]", maxReadingText), "[]")
}
