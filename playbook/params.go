package playbook

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/replicante-io/playbooks/internal/yamltree"
	"github.com/replicante-io/playbooks/record"
)

// Param is a value that is given when a run starts. One that is neither required nor has a Default may be left out: then
// has(params.x) is false, and an expression that uses params.x fails.
type Param struct {
	Name     string
	Type     string // string, int, float, bool, duration, list or map
	Required bool
	Default  any // as a record.Document's value; nil: none
}

const (
	typeString   = "string"
	typeInt      = "int"
	typeFloat    = "float"
	typeBool     = "bool"
	typeDuration = "duration"
	typeList     = "list"
	typeMap      = "map"
)

func (w *walk) param(v yamltree.Value, names map[string]int) Param {
	var p Param
	o, ok := w.Object(v, paramKeys)
	if !ok {
		return p
	}
	defer o.End()
	p.Name = w.name(o.Get("name"), names)
	p.Type = choice[string](o, "type")
	p.Required = o.Bool("required")
	if v := o.Get("default"); v.Given() {
		if p.Required {
			w.Add(o.Key("default"), yamltree.CodeBadValue, "a required param cannot have a default; remove one of the two")
		}
		if p.Type == "" {
			return p
		}
		switch p.Type {
		case typeString:
			if _, ok := w.String(v, math.MaxInt); !ok {
				return p
			}
		case typeList, typeMap:
			w.CheckUntyped(v)
		}
		if w.Reported(v) {
			return p
		}
		accepted, err := p.accept(v.Decode())
		if err != nil {
			w.Add(v, yamltree.CodeWrongType, "%s", err)
			return p
		}
		p.Default = accepted
	}
	return p
}

// BindParams checks the values given for the params and adds defaults. A string is converted to the declared type, since
// a command line has only strings. The result is what a run carries: durations are strings such as 30s.
func (s *Spec) BindParams(given record.Document) (record.Document, record.Problems) {
	var problems record.Problems
	report := func(name, code, format string, args ...any) {
		problems = append(problems, record.Problem{Path: "params." + name, Code: code,
			Message: "param " + name + ": " + fmt.Sprintf(format, args...)})
	}
	bound := record.Document{}
	var known []string
	for _, p := range s.Params {
		known = append(known, p.Name)
		raw, ok := given[p.Name]
		switch {
		case !ok && p.Required:
			report(p.Name, yamltree.CodeMissing, "is required (type %s)", p.Type)
		case !ok && p.Default != nil:
			bound[p.Name] = p.Default
		}
		if !ok {
			continue
		}
		normal, err := record.Normalize(raw)
		if err != nil {
			report(p.Name, yamltree.CodeWrongType, "%s", err)
			continue
		}
		if text, isText := normal.(string); isText {
			normal, err = p.read(text)
		}
		if err == nil {
			normal, err = p.accept(normal)
		}
		if err != nil {
			report(p.Name, yamltree.CodeWrongType, "%s", err)
			continue
		}
		bound[p.Name] = normal
	}
	for _, name := range slices.Sorted(maps.Keys(given)) {
		if !s.hasParam(name) {
			hint := yamltree.DidYouMean(name, known)
			if len(known) == 0 {
				hint = "; the playbook declares no params"
			}
			problems = append(problems, record.Problem{Path: "params." + name, Code: codeUnknownParam,
				Message: "unknown param " + yamltree.Quote(name) + hint})
		}
	}
	return bound, problems
}

func (s *Spec) hasParam(name string) bool {
	for _, p := range s.Params {
		if p.Name == name {
			return true
		}
	}
	return false
}

// accept checks a Document's value against the type and returns it as a run carries it.
func (p Param) accept(value any) (any, error) {
	switch v := value.(type) {
	case string:
		switch p.Type {
		case typeString:
			return v, nil
		case typeDuration:
			d, err := time.ParseDuration(v)
			if err != nil {
				return nil, fmt.Errorf("must be a duration such as 30s, not %s", yamltree.Quote(v))
			}
			return yamltree.FormatDuration(d), nil
		}
	case bool:
		if p.Type == typeBool {
			return v, nil
		}
	case int64:
		switch p.Type {
		case typeInt:
			return v, nil
		case typeFloat:
			return float64(v), nil
		}
	case float64:
		switch {
		case p.Type == typeFloat:
			return v, nil
		case p.Type == typeInt && v == math.Trunc(v) && math.Abs(v) < 1<<53:
			return int64(v), nil
		}
	case []any:
		if p.Type == typeList {
			return v, nil
		}
	case map[string]any:
		if p.Type == typeMap {
			return v, nil
		}
	case nil:
		return nil, fmt.Errorf("has no value; omit it to use the default")
	}
	hint := ""
	if p.Type == typeString {
		hint = "; quote it"
	}
	return nil, fmt.Errorf("must be %s, not %s%s", wantedType[p.Type], yamltree.DescribeValue(value), hint)
}

var wantedType = map[string]string{
	typeString:   "a string",
	typeInt:      "an integer (int)",
	typeFloat:    "a number (float)",
	typeBool:     "true or false (bool)",
	typeDuration: "a duration such as 30s",
	typeList:     "a list",
	typeMap:      "a mapping",
}

// read reads a string as a value of the type, by the rules of values in a playbook. Strings and durations are left to accept.
func (p Param) read(text string) (any, error) {
	switch p.Type {
	case typeString, typeDuration:
		return text, nil
	}
	value, err := readValue(text, p.Type == typeList || p.Type == typeMap)
	if _, fraction := value.(float64); fraction && p.Type == typeInt {
		return nil, fmt.Errorf("must be %s, not %s", wantedType[p.Type], yamltree.Quote(text))
	}
	return value, err
}

// readValue reads one YAML or JSON value. Untyped are values in it whose types nothing declares.
func readValue(text string, untyped bool) (any, error) {
	reader, roots := yamltree.Parse("", []byte(text), record.MaxPlaybookText)
	if len(roots) == 1 && untyped {
		reader.CheckUntyped(roots[0])
	}
	switch problems := reader.Problems(); {
	case len(problems) > 0:
		return nil, errors.New(problems[0].Message)
	case len(roots) == 0:
		return nil, nil
	case len(roots) > 1:
		return nil, errors.New("must be one value, not several")
	}
	return roots[0].Decode(), nil
}
