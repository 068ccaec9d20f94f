package playbook

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/ext"

	"github.com/replicante-io/playbooks/record"
)

// ErrAbsent is the error of an expression that depends on a fact that is not known. Its message names the fact.
var ErrAbsent = errors.New("a fact is absent")

// absent is the ErrAbsent for one fact.
type absent struct{ fact string }

func (a *absent) Error() string        { return a.fact + " is absent" }
func (a *absent) Is(target error) bool { return target == ErrAbsent }

// The names of our types in CEL. They contain spaces so that no expression can refer to them.
const (
	typeNode    = "a node"
	typeShard   = "a shard"
	typeLag     = "a lag"
	typeRun     = "the run"
	typeParams  = "the params"
	typeResults = "the results"
	typeStage   = "the results of stage "
	typeResult  = "a result"
	typeEnd     = "the result"
	typeError   = "an error"
)

// shape is a type of object in expressions. Its fields are known when an expression is compiled, but may be absent when it
// is evaluated.
type shape struct {
	names  []string
	fields map[string]*types.FieldType
}

func (s *shape) add(name string, t *types.Type, get func(object map[string]any) (any, error), set func(object map[string]any) bool) {
	if s.fields == nil {
		s.fields = map[string]*types.FieldType{}
	}
	s.names = append(s.names, name)
	s.fields[name] = &types.FieldType{
		Type:    t,
		IsSet:   func(target any) bool { return set(objectOf(target)) },
		GetFrom: func(target any) (any, error) { return get(objectOf(target)) },
	}
}

// objectOf converts an object of any type. Anything else has no fields.
func objectOf(target any) map[string]any {
	switch v := target.(type) {
	case map[string]any:
		return v
	case record.Document:
		return v
	case ref.Val:
		return objectOf(v.Value())
	}
	return nil
}

// fact adds a field that may be absent. An empty string is absent too.
func (s *shape) fact(of, name string, t *types.Type, plain func(any) any) {
	find := func(object map[string]any) (any, bool) {
		found := object[name]
		return found, found != nil && found != ""
	}
	s.add(name, t, func(object map[string]any) (any, error) {
		found, ok := find(object)
		if !ok {
			fact := of + "." + name
			if id, named := object["id"].(string); named && id != "" {
				fact += " of " + id
			}
			return nil, &absent{fact: fact}
		}
		if plain != nil {
			found = plain(found)
		}
		return found, nil
	}, func(object map[string]any) bool { _, ok := find(object); return ok })
}

// always adds a field that has a default.
func (s *shape) always(name string, t *types.Type, otherwise any, plain func(any) any) {
	s.add(name, t, func(object map[string]any) (any, error) {
		found := object[name]
		if found == nil {
			return otherwise, nil
		}
		if plain != nil {
			found = plain(found)
		}
		return found, nil
	}, func(object map[string]any) bool { return object[name] != nil })
}

func plainObject(v any) any {
	if object := objectOf(v); object != nil {
		return object
	}
	return v
}

var noObject = map[string]any{}

// factShapes are the types that are the same for every playbook.
var factShapes = sync.OnceValue(func() map[string]*shape {
	object := cel.MapType(cel.StringType, cel.DynType)
	node, shard, lag, run, result, failure := &shape{}, &shape{}, &shape{}, &shape{}, &shape{}, &shape{}
	for _, name := range []string{"id", "cluster", "status", "role", "store_id", "store_version"} {
		node.fact("node", name, cel.StringType, nil)
	}
	node.always("attributes", object, noObject, plainObject)
	node.fact("node", "shards", cel.ListType(cel.ObjectType(typeShard)), nil)
	shard.fact("shard", "id", cel.StringType, nil)
	shard.fact("shard", "role", cel.StringType, nil)
	shard.fact("shard", "lag", cel.ObjectType(typeLag), plainObject)
	lag.fact("lag", "value", cel.DynType, nil) // an int, or a double where it is not whole
	lag.fact("lag", "unit", cel.StringType, nil)
	for _, name := range []string{"id", "cluster", "playbook", "requested_by"} {
		run.always(name, cel.StringType, "", nil)
	}
	result.fact("result", "state", cel.StringType, nil)
	result.always("payload", object, noObject, plainObject)
	result.fact("result", "error", cel.ObjectType(typeError), plainObject)
	end := &shape{} // of an action, as expect sees it
	end.fact("result", "exit_code", cel.IntType, nil)
	end.always("payload", object, noObject, plainObject)
	end.fact("result", "error", cel.ObjectType(typeError), plainObject)
	failure.fact("error", "code", cel.StringType, nil)
	failure.fact("error", "message", cel.StringType, nil)
	return map[string]*shape{typeNode: node, typeShard: shard, typeLag: lag, typeRun: run, typeResult: result, typeEnd: end, typeError: failure}
})

// paramTypes are the types of params in expressions.
var paramTypes = map[string]*types.Type{
	typeString:   cel.StringType,
	typeInt:      cel.IntType,
	typeFloat:    cel.DoubleType,
	typeBool:     cel.BoolType,
	typeDuration: cel.DurationType,
	typeList:     cel.ListType(cel.DynType),
	typeMap:      cel.MapType(cel.StringType, cel.DynType),
}

// plainParam converts a param from its JSON value to the type that expressions see.
func plainParam(kind string) func(any) any {
	switch kind {
	case typeDuration:
		return func(v any) any {
			if text, ok := v.(string); ok {
				if d, err := time.ParseDuration(text); err == nil {
					return d
				}
			}
			return v
		}
	case typeFloat:
		return func(v any) any {
			switch n := v.(type) {
			case int64:
				return float64(n)
			case int:
				return float64(n)
			}
			return v
		}
	case typeMap:
		return plainObject
	}
	return nil
}

// stageName names a stage and its steps.
type stageName struct {
	name  string
	steps []string
}

// scope is what the expressions of one playbook can refer to.
type scope struct {
	shapes  map[string]*shape
	stages  []stageName
	node    *cel.Env // for expressions that are evaluated for one node
	ended   *cel.Env // for expressions about an action of a node that has ended; nil until there is one
	cluster *cel.Env // for expressions that are evaluated for the cluster
	left    int      // how many more expressions are allowed
	bytes   int      // how many more bytes of expressions are allowed
	// missed maps a field to the type that was last asked for it and does not have it.
	missed map[string]string
}

// newScope returns the scope of a playbook with these params and stages.
func newScope(params []Param, stages []stageName) *scope {
	s := &scope{shapes: map[string]*shape{}, stages: stages, left: maxExpressions, bytes: record.MaxPlaybookText, missed: map[string]string{}}
	for name, fixed := range factShapes() {
		s.shapes[name] = fixed
	}
	declared := &shape{}
	for _, p := range params {
		if p.Name == "" {
			continue
		}
		t := paramTypes[p.Type]
		if t == nil {
			t = cel.DynType
		}
		plain := plainParam(p.Type)
		declared.add(p.Name, t, func(object map[string]any) (any, error) {
			found := object[p.Name]
			if found == nil {
				return nil, fmt.Errorf("param %s was not given and has no default", p.Name)
			}
			if plain != nil {
				found = plain(found)
			}
			return found, nil
		}, func(object map[string]any) bool { return object[p.Name] != nil })
	}
	s.shapes[typeParams] = declared
	results := &shape{}
	s.shapes[typeResults] = results
	for _, stage := range stages {
		if stage.name == "" || results.fields[stage.name] != nil {
			continue
		}
		steps := &shape{}
		for _, step := range stage.steps {
			if step != "" && steps.fields[step] == nil {
				steps.always(step, cel.MapType(cel.StringType, cel.ObjectType(typeResult)), noObject, plainObject)
			}
		}
		s.shapes[typeStage+stage.name] = steps
		results.always(stage.name, cel.ObjectType(typeStage+stage.name), noObject, plainObject)
	}
	var err error
	if s.cluster, err = language().Extend(cel.CustomTypeProvider(&provider{scope: s, Provider: language().CELTypeProvider()})); err == nil {
		s.node, err = s.cluster.Extend(cel.Variable("node", cel.ObjectType(typeNode)))
	}
	if err != nil {
		panic(fmt.Sprintf("declare the language of expressions: %v", err)) // depends on no input
	}
	return s
}

// env is where expressions of a kind are compiled.
func (s *scope) env(k want) *cel.Env {
	switch k {
	case wantGuard, wantMessage:
		return s.cluster
	case wantExpect:
		if s.ended == nil {
			env, err := s.node.Extend(cel.Variable("result", cel.ObjectType(typeEnd)))
			if err != nil {
				panic(fmt.Sprintf("declare the language of expressions: %v", err)) // depends on no input
			}
			s.ended = env
		}
		return s.ended
	}
	return s.node
}

// language is CEL with its extensions and our variables, without the types that differ between playbooks.
var language = sync.OnceValue(func() *cel.Env {
	env, err := cel.NewEnv(
		ext.Strings(), ext.Lists(), ext.Math(), ext.Sets(),
		cel.ParserExpressionSizeLimit(maxExpression),
		cel.ParserRecursionLimit(100),
		cel.ExpressionNodeLimit(10_000),
		cel.EnableMacroCallTracking(),
		cel.Variable("params", cel.ObjectType(typeParams)),
		cel.Variable("run", cel.ObjectType(typeRun)),
		cel.Variable("nodes", cel.ListType(cel.ObjectType(typeNode))),
		cel.Variable("results", cel.ObjectType(typeResults)),
	)
	if err != nil {
		panic(fmt.Sprintf("declare the language of expressions: %v", err)) // depends on no input
	}
	return env
})

// provider makes the shapes of a scope known to CEL.
type provider struct {
	types.Provider
	scope *scope
}

func (p *provider) FindStructType(name string) (*types.Type, bool) {
	if p.scope.shapes[name] != nil {
		return types.NewTypeTypeWithParam(types.NewObjectType(name)), true
	}
	return p.Provider.FindStructType(name)
}

func (p *provider) FindStructFieldNames(name string) ([]string, bool) {
	if s := p.scope.shapes[name]; s != nil {
		return s.names, true
	}
	return p.Provider.FindStructFieldNames(name)
}

func (p *provider) FindStructFieldType(name, field string) (*types.FieldType, bool) {
	if s := p.scope.shapes[name]; s != nil {
		t, ok := s.fields[field]
		if !ok {
			p.scope.missed[field] = name
		}
		return t, ok
	}
	return p.Provider.FindStructFieldType(name, field)
}

func (p *provider) NewValue(name string, fields map[string]ref.Val) ref.Val {
	if p.scope.shapes[name] != nil {
		return types.NewErr("an expression cannot construct %s", name)
	}
	return p.Provider.NewValue(name, fields)
}

// shapeLabel is the name of a shape in messages.
func shapeLabel(name string) string {
	if stage, ok := strings.CutPrefix(name, typeStage); ok {
		return "stage " + stage
	}
	return strings.TrimPrefix(strings.TrimPrefix(strings.TrimPrefix(name, "the "), "an "), "a ")
}
