package playbook

import (
	"fmt"
	"math"
	"strconv"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/replicante-io/playbooks/record"
)

// Param is a value that is given when a run starts. One that is neither required nor has a Default may be left out: it is
// then absent, which has(params.x) tells, and an expression that uses it anyway fails.
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

func (w *walk) param(n *yaml.Node, path string, names map[string]int) Param {
	var p Param
	o, ok := w.object(n, path)
	if !ok {
		return p
	}
	defer o.end()
	p.Name = w.name(o.need("name", "a param needs a name"), o.at("name"), names)
	if n := o.need("type", "one of string, int, float, bool, duration, list, map"); n != nil {
		before := len(w.problems)
		p.Type = choice(w, n, o.at("type"), typeString, typeInt, typeFloat, typeBool, typeDuration, typeList, typeMap)
		if len(w.problems) > before || w.known[n] {
			p.Type = ""
		}
	}
	p.Required = w.truth(o.get("required"), o.at("required"))
	if n := o.get("default"); n != nil {
		if p.Required {
			w.add(o.key("default"), o.at("default"), codeBadValue, "a required param has no default; remove one of the two")
		}
		if p.Type == "" || w.known[n] {
			return p
		}
		accepted, err := p.accept(value(n))
		if err != nil {
			w.add(n, o.at("default"), codeWrongType, "%s", err)
			return p
		}
		p.Default = accepted
	}
	return p
}

// BindParams checks what was given for the params and fills in defaults. Text is read as the type that is declared,
// since a command line has only text. What it returns is what a run carries: durations are text such as 30s.
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
			report(p.Name, codeMissing, "is required; give it (%s)", p.Type)
		case !ok && p.Default != nil:
			bound[p.Name] = p.Default
		}
		if !ok {
			continue
		}
		normal, err := record.Normalize(raw)
		if err != nil {
			report(p.Name, codeWrongType, "%s", err)
			continue
		}
		if text, isText := normal.(string); isText {
			normal, err = p.read(text)
		}
		if err == nil {
			normal, err = p.accept(normal)
		}
		if err != nil {
			report(p.Name, codeWrongType, "%s", err)
			continue
		}
		bound[p.Name] = normal
	}
	for _, name := range sortedKeys(given) {
		if !s.hasParam(name) {
			hint := didYouMean(name, known)
			if len(known) == 0 {
				hint = "; the playbook has none"
			}
			problems = append(problems, record.Problem{Path: "params." + name, Code: codeUnknownParam,
				Message: "unknown param " + quote(name) + hint})
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

// accept checks a Document's value against the type and returns it as runs carry it.
func (p Param) accept(value any) (any, error) {
	switch v := value.(type) {
	case string:
		switch p.Type {
		case typeString:
			return v, nil
		case typeDuration:
			d, err := time.ParseDuration(v)
			if err != nil {
				return nil, fmt.Errorf("must be a duration such as 30s, not %s", quote(v))
			}
			return formatDuration(d), nil
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
		return nil, fmt.Errorf("has no value; leave it out to take the default")
	}
	hint := ""
	if p.Type == typeString {
		hint = "; quote it"
	}
	return nil, fmt.Errorf("must be %s, not %s%s", wantedType[p.Type], describe(treeOf(value)), hint)
}

var wantedType = map[string]string{
	typeString:   "text",
	typeInt:      "a whole number (int)",
	typeFloat:    "a number (float)",
	typeBool:     "true or false (bool)",
	typeDuration: "a duration such as 30s",
	typeList:     "a list",
	typeMap:      "a mapping",
}

// read reads text as the type, where the type is none of those that are text anyway.
func (p Param) read(text string) (any, error) {
	wrong := fmt.Errorf("must be %s, not %s", wantedType[p.Type], quote(text))
	switch p.Type {
	case typeInt:
		if number, err := strconv.ParseInt(text, 10, 64); err == nil {
			return number, nil
		}
		return nil, wrong
	case typeFloat:
		if number, err := strconv.ParseFloat(text, 64); err == nil && !math.IsInf(number, 0) && !math.IsNaN(number) {
			return number, nil
		}
		return nil, wrong
	case typeBool:
		switch text {
		case "true":
			return true, nil
		case "false":
			return false, nil
		}
		return nil, wrong
	case typeList, typeMap:
		return readValue(text)
	}
	return text, nil
}

// readValue reads one YAML or JSON value.
func readValue(text string) (any, error) {
	decoded, problem := decode([]byte(text))
	if problem != nil {
		return nil, fmt.Errorf("%s", problem.Message)
	}
	w := &walk{text: newSource(decoded)}
	documents, problem := read(w.text)
	switch {
	case problem != nil:
		return nil, fmt.Errorf("%s", problem.Message)
	case len(documents) == 0:
		return nil, nil
	case len(documents) > 1:
		return nil, fmt.Errorf("must be one value, not several")
	}
	if root := documents[0].Content[0]; w.check(root) && len(w.problems) == 0 {
		return value(root), nil
	}
	return nil, fmt.Errorf("%s", tidy(w.problems)[0].Message)
}
