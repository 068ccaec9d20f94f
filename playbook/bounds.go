package playbook

import (
	"errors"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/overloads"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
	"cel.dev/cel-go/interpreter"

	"github.com/replicante-io/playbooks/internal/yamltree"
	"github.com/replicante-io/playbooks/record"
)

// CEL's cost limit ends an evaluation after a call that took too many steps, and counts the outer size of values only:
// nodes.map(n, nodes) is cheap, since its items are all the same list, but comparing two such values would take minutes and
// encoding one would use all memory. So three things hold together. Every list and map that an expression builds is measured
// where it is built (measured). A call whose work or result may be larger than its arguments and its result together is
// refused before it is made (refusals.go). Every call then costs what it worked through (price.go).
const (
	maxHeld = 2_000_000 // values, and 16 bytes of strings, in one that an expression builds; 10,000 nodes have a few hundred thousand
	maxText = 1 << 20   // bytes of a string that an expression builds
)

var (
	errTooLarge = errors.New("builds a value that is too large (more than 2,000,000 parts)")
	errLongText = errors.New("builds a text that is too large (more than 1 MiB)")
	errTooMany  = errors.New("needs too many steps (more than 5,000,000)")
)

// bounds are the options that keep an expression from taking too much time or memory.
func bounds(checked *ast.AST) ([]cel.ProgramOption, error) {
	if plain(checked) {
		return nil, nil
	}
	patterns, err := fixedPatterns(checked)
	if err != nil {
		return nil, err
	}
	watched := makers(checked)
	options := append(refusals(patterns), prices(checked, patterns)...)
	return append(options,
		cel.CustomDecoratorV2(func(i interpreter.InterpretableV2) (interpreter.InterpretableV2, error) {
			if call, is := i.(interpreter.InterpretableCall); is && call.Function() == overloads.Matches {
				return &opaque{i}, nil
			}
			// A selection from a watched part has its number too, and must stay what it is.
			if _, selection := i.(interpreter.InterpretableAttribute); selection || !watched[i.ID()] {
				return i, nil
			}
			return &measured{i}, nil
		})), nil
}

// opaque hides a call of matches from CEL's optimizer, which would put its own in the place of ours.
type opaque struct{ interpreter.InterpretableV2 }

// plain reports whether an expression only selects, compares and calculates, so that its length bounds its cost. Counting
// the steps of such an expression would take longer than evaluating it.
func plain(checked *ast.AST) bool {
	is := true
	ast.PostOrderVisit(checked.Expr(), ast.NewExprVisitor(func(x ast.Expr) {
		switch x.Kind() {
		case ast.ComprehensionKind:
			is = false
		case ast.CallKind:
			is = is && plainCall(checked, x)
		}
	}))
	return is
}

func plainCall(checked *ast.AST, x ast.Expr) bool {
	args := x.AsCall().Args()
	switch name := x.AsCall().FunctionName(); name {
	case operators.Add:
		return scalar(checked, x)
	case operators.Equals, operators.NotEquals:
		return scalar(checked, args[0]) || scalar(checked, args[1]) || text(checked, args[0]) || text(checked, args[1])
	case operators.In:
		return args[1].Kind() == ast.ListKind || checked.GetType(args[1].ID()).Kind() == types.MapKind
	case operators.Negate, operators.LogicalAnd, operators.LogicalOr, operators.LogicalNot, operators.Conditional, operators.Index,
		operators.Subtract, operators.Multiply, operators.Divide, operators.Modulo,
		operators.Less, operators.LessEquals, operators.Greater, operators.GreaterEquals,
		overloads.Size, overloads.StartsWith, overloads.EndsWith, overloads.Contains:
		return true
	}
	return false
}

func scalar(checked *ast.AST, x ast.Expr) bool {
	switch checked.GetType(x.ID()).Kind() {
	case types.BoolKind, types.IntKind, types.UintKind, types.DoubleKind, types.DurationKind, types.TimestampKind, types.NullTypeKind:
		return true
	}
	return false
}

func text(checked *ast.AST, x ast.Expr) bool {
	return checked.GetType(x.ID()).Kind() == types.StringKind
}

// makers are the parts of an expression that build lists and maps.
func makers(checked *ast.AST) map[int64]bool {
	watched := map[int64]bool{}
	accumulators := map[string]bool{}
	ast.PostOrderVisit(checked.Expr(), ast.NewExprVisitor(func(x ast.Expr) {
		if x.Kind() == ast.ComprehensionKind {
			accumulators[x.AsComprehension().AccuVar()] = true
		}
	}))
	growing := map[int64]bool{} // what adds one item to the result of a macro; the result is measured as a whole
	ast.PostOrderVisit(checked.Expr(), ast.NewExprVisitor(func(x ast.Expr) {
		if x.Kind() == ast.CallKind && x.AsCall().FunctionName() == operators.Add {
			args := x.AsCall().Args()
			if first := args[0]; first.Kind() == ast.IdentKind && accumulators[first.AsIdent()] {
				growing[x.ID()], growing[args[1].ID()] = true, true
			}
		}
	}))
	ast.PostOrderVisit(checked.Expr(), ast.NewExprVisitor(func(x ast.Expr) {
		if scalar(checked, x) || text(checked, x) {
			return
		}
		switch x.Kind() {
		case ast.ComprehensionKind:
			watched[x.ID()] = true
		case ast.ListKind, ast.MapKind:
			watched[x.ID()] = !growing[x.ID()] && hasVariables(x)
		case ast.CallKind:
			switch x.AsCall().FunctionName() {
			case operators.Index, operators.Conditional:
			default:
				watched[x.ID()] = !growing[x.ID()] && hasVariables(x)
			}
		}
	}))
	return watched
}

func hasVariables(x ast.Expr) bool {
	found := false
	ast.PostOrderVisit(x, ast.NewExprVisitor(func(x ast.Expr) { found = found || x.Kind() == ast.IdentKind }))
	return found
}

// measured is a part of an expression that fails if its result is too large. Measuring costs steps too.
type measured struct{ interpreter.InterpretableV2 }

func (m *measured) Exec(frame *interpreter.ExecutionFrame) ref.Val {
	result := m.InterpretableV2.Exec(frame)
	held := work(result, maxHeld)
	if held > maxHeld {
		return types.LabelErrNode(m.ID(), types.WrapErr(errTooLarge))
	}
	if costs := frame.CostTracker(); costs != nil {
		for range held / 4 {
			costs.Qualify(m.ID()) // one step: the tracker has no call that only counts
		}
	}
	return result
}

func (m *measured) Eval(vars interpreter.Activation) ref.Val {
	return interpreter.EvalActivation(vars, m.Exec)
}

// work is how many values are in v, and for strings one more per 16 bytes. It stops counting above most.
func work(v any, most int) int {
	left := most
	weigh(v, &left, 0)
	return most - left
}

// weigh subtracts the work of v from left, and stops when that is below 0.
func weigh(v any, left *int, depth int) {
	if *left--; depth > 2*yamltree.MaxDepth {
		*left = -1
	}
	if *left < 0 {
		return
	}
	switch v := v.(type) {
	case map[string]any:
		for key, item := range v {
			*left -= len(key) / textStep
			weigh(item, left, depth+1)
		}
	case record.Document:
		weigh(map[string]any(v), left, depth)
	case string:
		*left -= len(v) / textStep
	case types.String:
		*left -= len(v) / textStep
	case types.Bytes:
		*left -= len(v) / textStep
	case []any:
		for _, item := range v {
			if *left < 0 {
				return
			}
			weigh(item, left, depth+1)
		}
	case traits.Mapper:
		if object, ok := v.Value().(map[string]any); ok {
			weigh(object, left, depth)
			return
		}
		for it := v.Iterator(); *left >= 0 && it.HasNext() == types.True; {
			key := it.Next()
			weigh(key, left, depth+1)
			weigh(v.Get(key), left, depth+1)
		}
	case traits.Lister:
		// Its Value may be made for this question: a list that is there many times, as many copies.
		for it := v.Iterator(); *left >= 0 && it.HasNext() == types.True; {
			weigh(it.Next(), left, depth+1)
		}
	}
}
