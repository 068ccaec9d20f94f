package playbook

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"math/big"
	"slices"
	"strings"
	"sync"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
	"cel.dev/cel-go/interpreter"
	"cel.dev/cel-go/parser"

	"github.com/replicante-io/playbooks/internal/yamltree"
	"github.com/replicante-io/playbooks/record"
)

const (
	maxExpression  = 4096   // characters of an expression
	maxExpressions = 20_000 // in a playbook
	maxMessage     = 1024   // bytes of an error of CEL, which may repeat values
	// maxCost bounds one evaluation, in steps. A filter over 10,000 nodes costs a few hundred thousand.
	maxCost = 5_000_000
	// maxValue bounds the result of an expression, in values and bytes.
	maxValue = 1 << 20
)

// Vars are the variables of an expression: params, run, node, nodes and results, with a Document's values. A param may
// also be a time.Duration. A fact that is missing, nil or "" is absent. A variable that is missing is empty, and one that is a
// func() any is made when an expression mentions it.
type Vars = map[string]any

// Expr is a compiled expression. Any number of goroutines may evaluate it at the same time.
type Expr struct {
	text     string
	program  cel.Program
	ast      *ast.AST
	node     bool
	facts    bool
	allNodes bool
	runtime  bool

	env   *cel.Env
	parts sync.Map // of its parts' programs by their IDs in ast, which explanations need
}

// String is the expression as written.
func (e *Expr) String() string { return e.text }

// MentionsNode reports whether the expression mentions node, so that it may come out differently for each.
func (e *Expr) MentionsNode() bool { return e != nil && e.node }

// NeedsFacts reports whether the expression mentions more of node than its id and cluster.
func (e *Expr) NeedsFacts() bool { return e != nil && e.facts }

// NeedsAllNodes reports whether the expression mentions nodes.
func (e *Expr) NeedsAllNodes() bool { return e != nil && e.allNodes }

// KnownAtRunTime reports whether the expression mentions what there is only once a run has begun: results, or the id of the run.
func (e *Expr) KnownAtRunTime() bool { return e != nil && e.runtime }

// Bool evaluates an expression that is true or false. The error is ErrAbsent when it depends on an absent fact.
func (e *Expr) Bool(v Vars) (bool, error) {
	result, err := e.eval(v)
	if err != nil {
		return false, err
	}
	truth, ok := result.(types.Bool)
	if !ok {
		return false, fmt.Errorf("expression %s returns %s, not true or false", yamltree.Quote(e.text), typeName(result))
	}
	return bool(truth), nil
}

// Value evaluates an expression. The result is a Document's value, a uint64, a time.Duration or a time.Time. The error is
// ErrAbsent when it depends on an absent fact.
func (e *Expr) Value(v Vars) (any, error) {
	left := maxValue
	return e.value(v, &left)
}

func (e *Expr) value(v Vars, left *int) (any, error) {
	result, err := e.eval(v)
	if err != nil {
		return nil, err
	}
	plain, err := native(result, left, 0)
	if err != nil {
		return nil, fmt.Errorf("expression %s: %w", yamltree.Quote(e.text), err)
	}
	return plain, nil
}

func (e *Expr) eval(v Vars) (ref.Val, error) {
	result, _, err := e.program.Eval(variables(v))
	if err == nil {
		return result, nil
	}
	var gone *absent
	if errors.As(err, &gone) {
		return nil, gone
	}
	var failure *types.Err
	if errors.As(err, &failure) {
		if fact := e.missingFact(failure); fact != "" {
			return nil, &absent{fact: fact}
		}
	}
	return nil, e.failure(err)
}

// failure says which part of the expression went too far, where a bound stopped it.
func (e *Expr) failure(err error) error {
	var cancelled interpreter.EvalCancelledError
	if errors.As(err, &cancelled) && cancelled.Cause == interpreter.CostLimitExceeded {
		return fmt.Errorf("expression %s %w; simplify it", yamltree.Quote(e.text), errTooMany)
	}
	var failure *types.Err
	for _, bound := range []error{errTooLarge, errLongText, errTooMany, errLongPattern} {
		if errors.Is(err, bound) && errors.As(err, &failure) {
			return fmt.Errorf("expression %s: %s %w; simplify it", yamltree.Quote(e.text), yamltree.Quote(e.written(failure)), bound)
		}
	}
	message := err.Error()
	if len(message) > maxMessage {
		return fmt.Errorf("expression %s: %s…", yamltree.Quote(e.text), strings.ToValidUTF8(message[:maxMessage], ""))
	}
	return fmt.Errorf("expression %s: %w", yamltree.Quote(e.text), err)
}

// written is the part of the expression that failed.
func (e *Expr) written(failure *types.Err) string {
	written, err := parser.Unparse(e.place(failure), e.ast.SourceInfo())
	if err != nil {
		return e.text
	}
	return written
}

func (e *Expr) place(failure *types.Err) ast.Expr {
	place := e.ast.Expr()
	ast.PostOrderVisit(e.ast.Expr(), ast.NewExprVisitor(func(x ast.Expr) {
		if x.ID() == failure.NodeID() {
			place = x
		}
	}))
	return place
}

// variables adapts Vars to CEL.
type variables Vars

func (v variables) ResolveName(name string) (any, bool) {
	found := v[name]
	if found == nil {
		switch name {
		case "params", "run", "results", "node", "result":
			return noObject, true
		case "nodes":
			return []any{}, true
		}
		return nil, false
	}
	if lazy, ok := found.(func() any); ok {
		return lazy(), true
	}
	if document, ok := found.(record.Document); ok {
		return map[string]any(document), true
	}
	return found, true
}

func (v variables) Parent() cel.Activation { return nil }

// missingFact is the fact whose absence made an evaluation fail, or "" when it failed for another reason. A key or an
// index that is missing in node, nodes or results is a fact that may still come; in params it is a mistake.
func (e *Expr) missingFact(failure *types.Err) string {
	// CEL does not export the types of these errors.
	text := failure.Error()
	if !strings.HasPrefix(text, "no such key: ") && !strings.HasPrefix(text, "index out of bounds: ") {
		return ""
	}
	if !e.aboutFacts(e.place(failure), 0) {
		return ""
	}
	return e.written(failure) + " (" + text + ")"
}

// aboutFacts reports whether x comes from node, nodes or results, directly or through the variables of macros.
func (e *Expr) aboutFacts(x ast.Expr, depth int) bool {
	if depth > 10 {
		return true
	}
	ranges := map[string]ast.Expr{}
	ast.PostOrderVisit(e.ast.Expr(), ast.NewExprVisitor(func(x ast.Expr) {
		if x.Kind() == ast.ComprehensionKind {
			ranges[x.AsComprehension().IterVar()] = x.AsComprehension().IterRange()
			ranges[x.AsComprehension().IterVar2()] = x.AsComprehension().IterRange()
		}
	}))
	found := false
	ast.PostOrderVisit(x, ast.NewExprVisitor(func(x ast.Expr) {
		if found || x.Kind() != ast.IdentKind {
			return
		}
		switch name := x.AsIdent(); name {
		case "node", "nodes", "results", "result":
			found = true
		default:
			if from, ok := ranges[name]; ok && name != "" {
				found = e.aboutFacts(from, depth+1)
			}
		}
	}))
	return found
}

// mentions records which variables the expression needs.
func (e *Expr) mentions() {
	nodes, cheap, runs, before := 0, 0, 0, 0
	ast.PostOrderVisit(e.ast.Expr(), ast.NewExprVisitor(func(x ast.Expr) {
		switch x.Kind() {
		case ast.IdentKind:
			switch x.AsIdent() {
			case "node":
				nodes++
			case "nodes":
				e.allNodes = true
			case "run":
				runs++
			case "results":
				e.runtime = true
			}
		case ast.SelectKind:
			of, field := x.AsSelect().Operand(), x.AsSelect().FieldName()
			switch {
			case of.Kind() != ast.IdentKind:
			case of.AsIdent() == "node" && (field == "id" || field == "cluster"):
				cheap++
			case of.AsIdent() == "run" && field != "id":
				before++
			}
		}
	}))
	e.node, e.facts, e.runtime = nodes > 0, nodes > cheap, e.runtime || runs > before
}

// native converts a value of CEL. Left bounds how much it may contain.
func native(v ref.Val, left *int, depth int) (any, error) {
	*left--
	if *left < 0 || depth > yamltree.MaxDepth {
		return nil, errors.New("its result is too large")
	}
	switch v := v.(type) {
	case types.Null:
		return nil, nil
	case types.Bool:
		return bool(v), nil
	case types.Int:
		return int64(v), nil
	case types.Uint:
		return uint64(v), nil
	case types.Double:
		return float64(v), nil
	case types.String:
		*left -= len(v)
		return string(v), nil
	case types.Duration:
		return v.Duration, nil
	case types.Timestamp:
		return v.Time.UTC(), nil
	case traits.Mapper:
		object := map[string]any{}
		for it := v.Iterator(); it.HasNext() == types.True; {
			key := it.Next()
			text, ok := key.(types.String)
			if !ok {
				return nil, fmt.Errorf("its result is a map with %s as a key; keys must be strings", typeName(key))
			}
			*left -= len(text)
			item, err := native(v.Get(key), left, depth+1)
			if err != nil {
				return nil, err
			}
			object[string(text)] = item
		}
		return object, nil
	case traits.Lister:
		list := []any{}
		for it := v.Iterator(); it.HasNext() == types.True; {
			item, err := native(it.Next(), left, depth+1)
			if err != nil {
				return nil, err
			}
			list = append(list, item)
		}
		return list, nil
	case *types.Err:
		return nil, v
	}
	return nil, fmt.Errorf("its result is %s, which is not a JSON value", typeName(v))
}

func typeName(v ref.Val) string {
	if v == nil {
		return "nothing"
	}
	return a(v.Type().TypeName())
}

// Compare orders two results of an order_by expression: false before true, numbers by size, strings by their bytes, lists
// by their first difference. Values of different kinds are an error.
func Compare(a, b any) (int, error) {
	switch x := a.(type) {
	case bool:
		if y, ok := b.(bool); ok {
			return cmp.Compare(truthRank(x), truthRank(y)), nil
		}
	case string:
		if y, ok := b.(string); ok {
			return strings.Compare(x, y), nil
		}
	case time.Duration:
		if y, ok := b.(time.Duration); ok {
			return cmp.Compare(x, y), nil
		}
	case time.Time:
		if y, ok := b.(time.Time); ok {
			return x.Compare(y), nil
		}
	case []any:
		if y, ok := b.([]any); ok {
			return compareLists(x, y)
		}
	default:
		first, okA := exact(a)
		second, okB := exact(b)
		if okA && okB {
			return first.Cmp(second), nil
		}
	}
	return 0, fmt.Errorf("%s and %s cannot be compared", goType(a), goType(b))
}

func compareLists(a, b []any) (int, error) {
	for i := range min(len(a), len(b)) {
		if order, err := Compare(a[i], b[i]); err != nil || order != 0 {
			return order, err
		}
	}
	return cmp.Compare(len(a), len(b)), nil
}

func truthRank(b bool) int {
	if b {
		return 1
	}
	return 0
}

// exact converts a number of any type without loss, so that numbers of different types have one order.
func exact(v any) (*big.Float, bool) {
	switch n := v.(type) {
	case int64:
		return new(big.Float).SetInt64(n), true
	case uint64:
		return new(big.Float).SetUint64(n), true
	case float64:
		if !math.IsNaN(n) {
			return big.NewFloat(n), true
		}
	}
	return nil, false
}

func goType(v any) string {
	switch v.(type) {
	case nil:
		return "null"
	case bool:
		return "a boolean"
	case string:
		return "a string"
	case int64, uint64, float64:
		return "a number"
	case time.Duration:
		return "a duration"
	case time.Time:
		return "a time"
	case []any:
		return "a list"
	case map[string]any:
		return "a map"
	}
	return fmt.Sprintf("a %T", v)
}

// want says what type an expression must have.
type want int

const (
	wantBool       want = iota
	wantGuard           // bool, about the cluster: it does not see node
	wantComparable      // for order_by
	wantGroup           // for groups.by
	wantJSON            // for templates
	wantExpect          // bool, about an action that has ended: it sees its result, and of node only what never changes
	wantMessage         // for templates that see params and run only
)

var wantedOf = map[want]string{
	wantBool:       "true or false",
	wantGuard:      "true or false",
	wantExpect:     "true or false",
	wantComparable: "a value that can be ordered (bool, number, string, duration, timestamp, or a list of those)",
	wantGroup:      "a string, an integer or a boolean",
	wantJSON:       "a JSON value",
	wantMessage:    "a JSON value",
}

func (k want) allows(t *cel.Type) bool {
	switch t.Kind() {
	case types.DynKind, types.AnyKind, types.TypeParamKind:
		return true // checked when it is evaluated
	case types.BoolKind:
		return true
	}
	switch k {
	case wantComparable:
		if t.Kind() == types.ListKind {
			return slices.IndexFunc(t.Parameters(), func(t *cel.Type) bool { return !wantComparable.allows(t) }) < 0
		}
		return slices.Contains([]types.Kind{types.IntKind, types.UintKind, types.DoubleKind, types.StringKind,
			types.TimestampKind, types.DurationKind}, t.Kind())
	case wantGroup:
		return t.Kind() == types.StringKind || t.Kind() == types.IntKind
	case wantJSON, wantMessage:
		return t.Kind() != types.BytesKind && t.Kind() != types.TypeKind && t.Kind() != types.OpaqueKind
	}
	return false
}
