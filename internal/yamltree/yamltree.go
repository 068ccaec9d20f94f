// Package yamltree reads YAML and JSON strictly, for playbooks and for configuration files.
//
// Parse turns a file into trees of nodes that are safe to walk: aliases cannot loop or expand without bound, keys are
// unique strings, tags and merge keys are refused, and so are numbers that YAML parsers disagree about. A Reader then
// reads values of known types out of a tree. It collects everything that is wrong, each problem with its line, its
// column and what would be right, instead of stopping at the first.
package yamltree

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/replicante-io/playbooks/record"
)

// The codes of problems. They are stable: programs may rely on them.
const (
	CodeYAML       = "yaml"        // the text is not valid YAML, or uses a feature of YAML that is refused
	CodeEncoding   = "encoding"    // the text is not UTF-8, or contains control characters
	CodeTooLarge   = "too_large"   // something exceeds a limit
	CodeUnknownKey = "unknown_key" // no such key
	CodeWrongType  = "wrong_type"  // a list instead of a string, and the like
	CodeMissing    = "missing"     // something required is not there, or has no value
	CodeDuplicate  = "duplicate"   // a key or a name that is given twice
	CodeBadName    = "bad_name"    // a name that breaks the rules for names
	CodeBadValue   = "bad_value"   // the right type, but not an allowed value
)

// maxProblems bounds the problems reported for one file.
const maxProblems = 500

// Reader reads the values of trees and collects what is wrong with them. A value that is wrong is reported and read as
// the zero value, so that reading can continue.
type Reader struct {
	// FullPaths makes messages start with the full path of the value, such as etcd.endpoints, instead of its last part.
	FullPaths bool

	file     string
	text     *text               // nil for a tree that was not read from text
	reported map[*yaml.Node]bool // nodes with a problem: their type is not reported again
	problems record.Problems
}

// Problems are the problems found so far: in the order of the text, each once, bounded in number.
func (r *Reader) Problems() record.Problems {
	r.problems = Tidy(r.problems)
	for i := range r.problems { // only now: there may have been very many
		if p := &r.problems[i]; r.text != nil && !strings.Contains(p.Message, "(U+") {
			p.Message += r.text.invisibleHint(p.Line)
		}
	}
	return r.problems
}

// Problem is a problem at v that is not added to the reader's.
func (r *Reader) Problem(v Value, code, format string, args ...any) record.Problem {
	return record.Problem{File: r.file, Line: v.node.Line, Column: v.node.Column, Path: v.path, Code: code, Message: fmt.Sprintf(format, args...)}
}

// Add reports a problem at v. The message starts with the path of v, if it has one.
func (r *Reader) Add(v Value, code, format string, args ...any) {
	p := r.Problem(v, code, format, args...)
	if v.path != "" {
		label := v.path
		if !r.FullPaths {
			label = v.path[strings.LastIndexByte(v.path, '.')+1:]
		}
		p.Message = label + ": " + p.Message
	}
	r.problems = append(r.problems, p)
}

// AddInside is Add for a problem at one character of the scalar v, counted from 0. Among very many problems it is the place of v.
func (r *Reader) AddInside(v Value, character int, code, format string, args ...any) {
	place := *v.node
	if r.text != nil && len(r.problems) <= 2*maxProblems { // it costs as much as the line is long
		place.Line, place.Column = r.text.inside(v.node, character)
	}
	r.Add(Value{&place, v.path}, code, format, args...)
}

// addOnce is Add, after which the type of v is not reported as wrong.
func (r *Reader) addOnce(v Value, code, format string, args ...any) {
	if r.reported == nil {
		r.reported = map[*yaml.Node]bool{}
	}
	r.reported[v.node] = true
	r.Add(v, code, format, args...)
}

// Reported reports whether the checks have already found a problem with v itself.
func (r *Reader) Reported(v Value) bool { return r.reported[v.node] }

// WrongType reports that v is not what is wanted, unless it already has a problem.
func (r *Reader) WrongType(v Value, wanted string) {
	if !r.Reported(v) {
		r.Add(v, CodeWrongType, "must be %s, not %s", wanted, v.Describe())
	}
}

// Tidy sorts problems by their place in the text, removes repetitions and bounds their number.
func Tidy(problems record.Problems) record.Problems {
	slices.SortStableFunc(problems, func(a, b record.Problem) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	// A value behind an anchor is checked wherever it is used, but is one problem.
	type place struct {
		line, column  int
		path, message string
	}
	seen := map[place]bool{}
	problems = slices.DeleteFunc(problems, func(p record.Problem) bool {
		key := place{p.Line, p.Column, "", p.Message}
		if p.Line == 0 {
			key.path = p.Path
		}
		twice := seen[key]
		seen[key] = true
		return twice
	})
	if len(problems) > maxProblems {
		last := problems[maxProblems]
		last.Path, last.Code = "", CodeTooLarge
		last.Message = fmt.Sprintf("and %d more problems", len(problems)-maxProblems)
		problems = append(problems[:maxProblems:maxProblems], last)
	}
	return problems
}
