package playbook

import (
	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/cost"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/overloads"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
)

const (
	// textStep is how many bytes of a string count as one step.
	textStep = 16
	// zoneSteps is what loading a time zone counts as.
	zoneSteps = 1000
)

// prices has each call of an expression cost what it works through, also inside its arguments.
func prices(checked *ast.AST, p *patterns) []cel.ProgramOption {
	price := pricing{p}
	var own []cost.TrackerOption // where an extension has prices of its own, these are asked first
	seen := map[string]bool{}
	ast.PostOrderVisit(checked.Expr(), ast.NewExprVisitor(func(x ast.Expr) {
		if x.Kind() != ast.CallKind || seen[x.AsCall().FunctionName()] {
			return
		}
		name := x.AsCall().FunctionName()
		seen[name] = true
		for _, overload := range language().Functions()[name].OverloadDecls() {
			own = append(own, cost.OverloadTracker(overload.ID(), func(args []ref.Val, result ref.Val) *uint64 {
				return price.CallCost(name, overload.ID(), args, result)
			}))
		}
	}))
	return []cel.ProgramOption{cel.CostLimit(maxCost), cel.CostTracking(price), cel.CostTrackerOptions(own...)}
}

type pricing struct{ patterns *patterns }

// CallCost is the number of steps of a call that was made.
func (p pricing) CallCost(function, _ string, args []ref.Val, result ref.Val) *uint64 {
	steps := uint64(max(1, p.steps(function, args, result)))
	return &steps
}

func (p pricing) steps(function string, args []ref.Val, result ref.Val) int {
	switch function {
	case operators.LogicalAnd, operators.LogicalOr, operators.LogicalNot, operators.Conditional, operators.Index,
		operators.NotStrictlyFalse, overloads.TypeConvertDyn, overloads.TypeConvertType:
		return 1
	case operators.Add:
		if _, list := args[0].(traits.Lister); list {
			return 1 // nothing is copied
		}
	case operators.Equals, operators.NotEquals:
		return min(work(args[0], maxCost), work(args[1], maxCost))
	case operators.In:
		return searched(args[0], args[1])
	case overloads.Size:
		return sized(args[0])
	case "slice":
		return 1 + length(result)
	case "distinct", "hasAll", "hasAny", "hasExactly", "hasOnly", "sets.contains", "sets.equivalent", "sets.intersects",
		"sort", "@sortByAssociatedKeys":
		return compared(function, args)
	case overloads.Matches:
		return p.patterns.steps(args)
	case "indexOf", "lastIndexOf":
		return compared(function, args[:2])
	}
	steps := 1 + allWork(args) + work(result, maxCost)
	if len(args) == 2 && args[0].Type() == types.TimestampType && args[1].Type() == types.StringType {
		steps += zoneSteps
	}
	return steps
}

// searched is the work of looking for an item.
func searched(item, in ref.Val) int {
	if _, object := in.(traits.Mapper); object {
		return 1
	}
	each := 1
	switch item := item.(type) {
	case types.String:
		each += len(item) / textStep
	case traits.Lister, traits.Mapper:
		return min(work(in, maxCost), work(item, maxCost)*length(in))
	}
	return each * length(in)
}

// sized is the work of size, which counts the characters of a string.
func sized(v ref.Val) int {
	if _, text := v.(types.String); text {
		return work(v, maxCost)
	}
	return 1
}

func length(v ref.Val) int {
	if sizer, ok := v.(traits.Sizer); ok {
		if size, ok := sizer.Size().(types.Int); ok {
			return int(size)
		}
	}
	return 1
}
