package playbook

import (
	"errors"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/functions"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/overloads"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
	"cel.dev/cel-go/interpreter"

	"github.com/replicante-io/playbooks/internal/yamltree"
	"github.com/replicante-io/playbooks/record"
)

// CEL's cost limit counts steps, whatever the size of values: nodes.map(n, nodes) is cheap, since its items are all the
// same list, but comparing two such values would take minutes and encoding one would use all memory. So every value that
// an expression builds is measured where it is built.
const (
	maxHeld = 2_000_000 // values in one that an expression builds; 10,000 nodes have a few hundred thousand
	maxMade = 1 << 20   // bytes of a string that replace or join build
)

var errTooLarge = errors.New("it builds a value that is too large")

// bounds are the options that keep an expression from taking too much time or memory.
func bounds(checked *ast.AST) []cel.ProgramOption {
	if plain(checked) {
		return nil
	}
	watched := makers(checked)
	//lint:ignore SA1019 only a program option can put bounded functions in the place of an extension's own
	options := []cel.ProgramOption{cel.CostLimit(maxCost), cel.Functions(boundedText...)}
	if len(watched) > 0 {
		options = append(options, cel.CustomDecoratorV2(func(i interpreter.InterpretableV2) (interpreter.InterpretableV2, error) {
			// A selection from a watched part has its number too, and must stay what it is.
			if _, selection := i.(interpreter.InterpretableAttribute); selection || !watched[i.ID()] {
				return i, nil
			}
			return &measured{i}, nil
		}))
	}
	return options
}

// plain reports whether an expression only selects, compares and calculates, so that its length bounds its cost. Counting
// the steps of such an expression would take longer than evaluating it.
func plain(checked *ast.AST) bool {
	is := true
	ast.PostOrderVisit(checked.Expr(), ast.NewExprVisitor(func(x ast.Expr) {
		switch x.Kind() {
		case ast.ComprehensionKind:
			is = false
		case ast.CallKind:
			switch name := x.AsCall().FunctionName(); name {
			case operators.In, operators.Negate, overloads.Size, overloads.StartsWith, overloads.EndsWith, overloads.Contains:
			default:
				is = is && (strings.HasPrefix(name, "_") || strings.HasPrefix(name, "!"))
			}
		}
	}))
	return is
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
		switch checked.GetType(x.ID()).Kind() {
		case types.BoolKind, types.IntKind, types.UintKind, types.DoubleKind, types.StringKind, types.DurationKind, types.TimestampKind:
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
	left := maxHeld
	weigh(result, &left, 0)
	if left < 0 {
		return types.WrapErr(errTooLarge)
	}
	if costs := frame.CostTracker(); costs != nil {
		for range (maxHeld - left) / 4 {
			costs.Qualify(m.ID()) // one step: the tracker has no call that only counts
		}
	}
	return result
}

func (m *measured) Eval(vars interpreter.Activation) ref.Val {
	return interpreter.EvalActivation(vars, m.Exec)
}

// weigh subtracts the number of values in v from left, and stops when that is below 0.
func weigh(v any, left *int, depth int) {
	if *left--; depth > 2*yamltree.MaxDepth {
		*left = -1
	}
	if *left < 0 {
		return
	}
	switch v := v.(type) {
	case map[string]any:
		for _, item := range v {
			weigh(item, left, depth+1)
		}
	case record.Document:
		weigh(map[string]any(v), left, depth)
	case []any:
		for _, item := range v {
			weigh(item, left, depth+1)
		}
	case traits.Mapper:
		if object, ok := v.Value().(map[string]any); ok {
			weigh(object, left, depth)
			return
		}
		for it := v.Iterator(); *left >= 0 && it.HasNext() == types.True; {
			key := it.Next()
			weigh(v.Get(key), left, depth+1)
		}
	case traits.Lister:
		for it := v.Iterator(); *left >= 0 && it.HasNext() == types.True; {
			weigh(it.Next(), left, depth+1)
		}
	}
}

// boundedText are the string functions whose result can be as large as the product of their arguments.
var boundedText = []*functions.Overload{
	{Operator: "replace", Function: replace},
	{Operator: "string_replace_string_string", Function: replace},
	{Operator: "string_replace_string_string_int", Function: replace},
	{Operator: "join", Unary: joinPlain, Binary: join},
	{Operator: "list_join", Unary: joinPlain},
	{Operator: "list_join_string", Binary: join},
}

func replace(args ...ref.Val) ref.Val {
	if len(args) < 3 || len(args) > 4 {
		return types.NoSuchOverloadErr()
	}
	text, ok1 := args[0].(types.String)
	old, ok2 := args[1].(types.String)
	by, ok3 := args[2].(types.String)
	times, ok4 := types.Int(-1), true
	if len(args) == 4 {
		times, ok4 = args[3].(types.Int)
	}
	if !ok1 || !ok2 || !ok3 || !ok4 {
		return types.NoSuchOverloadErr()
	}
	count := strings.Count(string(text), string(old))
	if times >= 0 && int64(times) < int64(count) {
		count = int(times)
	}
	if len(text)+count*(len(by)-len(old)) > maxMade {
		return types.WrapErr(errTooLarge)
	}
	return types.String(strings.Replace(string(text), string(old), string(by), count))
}

func joinPlain(list ref.Val) ref.Val { return join(list, types.String("")) }

func join(list, separator ref.Val) ref.Val {
	items, ok1 := list.(traits.Lister)
	between, ok2 := separator.(types.String)
	if !ok1 || !ok2 {
		return types.NoSuchOverloadErr()
	}
	var b strings.Builder
	for it, first := items.Iterator(), true; it.HasNext() == types.True; first = false {
		item, ok := it.Next().(types.String)
		if !ok {
			return types.NewErr("join requires a list of strings")
		}
		if !first {
			b.WriteString(string(between))
		}
		b.WriteString(string(item))
		if b.Len() > maxMade {
			return types.WrapErr(errTooLarge)
		}
	}
	return types.String(b.String())
}
