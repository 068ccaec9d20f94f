package playbook

import (
	"math/bits"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/functions"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/overloads"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
)

// refusals puts functions that refuse too much in the place of CEL's own: those whose result can be larger than their arguments,
// and those that compare everything with everything.
func refusals(p *patterns) []cel.ProgramOption {
	//lint:ignore SA1019 only a program option can put bounded functions in the place of an extension's own
	return []cel.ProgramOption{cel.Functions(boundedFunctions...), cel.Functions(
		&functions.Overload{Operator: overloads.Matches, OperandTrait: traits.MatcherType, Binary: p.matches})}
}

var boundedFunctions = append([]*functions.Overload{
	{Operator: operators.Add, OperandTrait: traits.AdderType, Binary: add},
	{Operator: "replace", Function: replace},
	{Operator: "string_replace_string_string", Function: replace},
	{Operator: "string_replace_string_string_int", Function: replace},
	{Operator: "join", Unary: joinPlain, Binary: join},
	{Operator: "list_join", Unary: joinPlain},
	{Operator: "list_join_string", Binary: join},
}, refusing("format", "distinct", "hasAll", "hasAny", "hasExactly", "hasOnly", "sets.contains", "sets.equivalent", "sets.intersects",
	"sort", "@sortByAssociatedKeys", "indexOf", "lastIndexOf")...)

// refusing are the language's own functions of these names, made only where refuse allows it.
func refusing(names ...string) []*functions.Overload {
	var all []*functions.Overload
	for _, name := range names {
		bound, err := language().Functions()[name].Bindings()
		if err != nil {
			panic("the functions of the language: " + err.Error()) // depends on no input
		}
		for _, own := range bound {
			guarded := *own
			if own.Unary != nil {
				guarded.Unary = func(a ref.Val) ref.Val {
					if err := refuse(name, a); err != nil {
						return types.WrapErr(err)
					}
					return own.Unary(a)
				}
			}
			if own.Binary != nil {
				guarded.Binary = func(a, b ref.Val) ref.Val {
					if err := refuse(name, a, b); err != nil {
						return types.WrapErr(err)
					}
					return own.Binary(a, b)
				}
			}
			if own.Function != nil {
				guarded.Function = func(args ...ref.Val) ref.Val {
					if err := refuse(name, args...); err != nil {
						return types.WrapErr(err)
					}
					return own.Function(args...)
				}
			}
			all = append(all, &guarded)
		}
	}
	return all
}

// refuse is why a call with these arguments is not made.
func refuse(name string, args ...ref.Val) error {
	switch {
	case name == "format":
		for _, arg := range args {
			if work(arg, maxText/textStep) > maxText/textStep {
				return errLongText
			}
		}
	case compared(name, args) > maxCost: // of a third argument nothing is compared
		return errTooMany
	}
	return nil
}

// compared is the work of the functions that compare everything with everything.
func compared(name string, args []ref.Val) int {
	switch name {
	case "sort", "@sortByAssociatedKeys":
		items := allWork(args)
		return items * bits.Len(uint(items))
	case "indexOf", "lastIndexOf":
		text, ok1 := args[0].(types.String)
		part, ok2 := args[1].(types.String)
		if !ok1 || !ok2 {
			return 1
		}
		return 1 + (len(text)/textStep+1)*(len(part)+1)
	case "distinct":
		items := work(args[0], maxCost)
		return items * items / 2
	}
	return work(args[0], maxCost) * work(args[1], maxCost)
}

func allWork(args []ref.Val) int {
	sum := 0
	for _, arg := range args {
		sum += work(arg, maxCost)
	}
	return sum
}

// add is +. What it adds to the result of a macro stays that: lists know how.
func add(a, b ref.Val) ref.Val {
	switch a := a.(type) {
	case types.String:
		if b, ok := b.(types.String); ok && len(a)+len(b) > maxText {
			return types.WrapErr(errLongText)
		}
	case types.Bytes:
		if b, ok := b.(types.Bytes); ok && len(a)+len(b) > maxText {
			return types.WrapErr(errLongText)
		}
	}
	adder, ok := a.(traits.Adder)
	if !ok {
		return types.NoSuchOverloadErr()
	}
	return adder.Add(b)
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
	if len(text)+count*(len(by)-len(old)) > maxText {
		return types.WrapErr(errLongText)
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
		if b.Len() > maxText {
			return types.WrapErr(errLongText)
		}
	}
	return types.String(b.String())
}
