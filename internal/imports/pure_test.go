package imports_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// pure are the packages that decide: the policy, and what it imports of ours.
var pure = []string{"controller/policy", "record", "playbook", "internal/calendar", "internal/keys", "internal/spelling", "internal/yamltree"}

// impure is what none of them may import: a decision uses no network, disk, process, log or waiting. What CEL and YAML import,
// which playbook uses, is not checked.
var impure = []string{"net", "os", "log", "syscall", "context", "database/sql", "io/ioutil", "io/fs", "embed", "plugin",
	"runtime", "sync", "crypto/rand", "math/rand", "math/rand/v2", "testing",
	"golang.org/x/sys", "github.com/hashicorp/go-hclog", "google.golang.org/grpc", "go.etcd.io", "go.mongodb.org"}

// allowedImpure are the exceptions, each with its reason.
var allowedImpure = map[string][]string{
	"playbook": {"sync"}, // it makes its CEL environment once
}

// clock is what reads the clock or waits.
var clock = []string{"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "NewTimer", "NewTicker", "Tick"}

func TestThePolicyImportsNothingImpure(t *testing.T) {
	seen := map[string]bool{}
	for _, p := range list(t, patterns(pure)...) {
		path := strings.TrimPrefix(p.ImportPath, module)
		seen[path] = true
		for _, imported := range p.Imports {
			if under(imported, impure) && !slices.Contains(allowedImpure[path], imported) {
				t.Errorf("%s imports %s, which is impure", path, imported)
			}
			if ours, ok := strings.CutPrefix(imported, module); ok && !slices.Contains(pure, ours) {
				t.Errorf("%s imports %s, which is not among the pure packages", path, ours)
			}
		}
	}
	for _, path := range pure {
		if !seen[path] {
			t.Errorf("%s was not checked", path)
		}
	}
}

func patterns(paths []string) []string {
	out := make([]string, len(paths))
	for i, path := range paths {
		out[i] = "./" + path
	}
	return out
}

// TestThePolicyNeverReadsTheClock follows calls by name from every function of the policy. A name stands for every function or
// method of that name in the pure packages, so the test may report too much and never too little.
func TestThePolicyNeverReadsTheClock(t *testing.T) {
	functions := map[string][]function{}
	for _, p := range list(t, patterns(pure)...) {
		for _, file := range p.GoFiles {
			for _, f := range parse(t, strings.TrimPrefix(p.ImportPath, module), filepath.Join(p.Dir, file)) {
				functions[f.name] = append(functions[f.name], f)
			}
		}
	}
	reached := map[string]bool{}
	var follow func(f function, way string)
	follow = func(f function, way string) {
		way += f.where
		if reached[f.where] {
			return
		}
		reached[f.where] = true
		for _, name := range f.clock {
			t.Errorf("time.%s is called by %s", name, way)
		}
		for _, name := range f.uses {
			for _, next := range functions[name] {
				follow(next, way+" → ")
			}
		}
	}
	starts := 0
	for _, fs := range functions {
		for _, f := range fs {
			if strings.HasPrefix(f.where, "controller/policy.") {
				starts++
				follow(f, "")
			}
		}
	}
	if starts == 0 {
		t.Error("the policy has no functions: nothing was checked")
	}
	if start := functions["StartClock"]; len(start) == 0 || len(start[0].clock) == 0 {
		t.Error("record.StartClock was not seen to read the clock: nothing was checked")
	}
}

// TestALeaderReadsTheTimeFromTheClockOfItsTerm: a step of the wall clock during a term would end or extend what waits.
func TestALeaderReadsTheTimeFromTheClockOfItsTerm(t *testing.T) {
	checked := 0
	for _, p := range list(t, "./controller/...") {
		for _, name := range p.GoFiles {
			file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(p.Dir, name), nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			checked++
			ast.Inspect(file, func(n ast.Node) bool {
				if selector, ok := n.(*ast.SelectorExpr); ok && selector.Sel.Name == "Now" {
					if x, ok := selector.X.(*ast.Ident); ok && x.Name == "record" {
						t.Errorf("%s calls record.Now: see record.Clock", strings.TrimPrefix(p.ImportPath, module)+"/"+name)
					}
				}
				return true
			})
		}
	}
	if checked == 0 {
		t.Error("nothing was checked")
	}
}

// function is one declaration: the names that it mentions, and those of the clock.
type function struct {
	name, where string
	uses, clock []string
}

func parse(t *testing.T, pkg, path string) []function {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	foreign := map[string]string{} // by the name in this file
	for _, spec := range file.Imports {
		imported := strings.Trim(spec.Path.Value, `"`)
		name := imported[strings.LastIndexByte(imported, '/')+1:]
		if spec.Name != nil {
			name = spec.Name.Name
			if name == "." {
				t.Errorf("%s imports %s by a dot", path, imported)
			}
		}
		if !strings.HasPrefix(imported, module) {
			foreign[name] = imported
		}
	}
	var all []function
	for _, decl := range file.Decls {
		f := function{}
		names := declared(decl)
		ast.Inspect(decl, func(n ast.Node) bool {
			if selector, ok := n.(*ast.SelectorExpr); ok {
				if x, ok := selector.X.(*ast.Ident); ok && foreign[x.Name] != "" {
					if foreign[x.Name] == "time" && slices.Contains(clock, selector.Sel.Name) {
						f.clock = append(f.clock, selector.Sel.Name)
					}
					return false
				}
			}
			if name, ok := n.(*ast.Ident); ok {
				f.uses = append(f.uses, name.Name)
			}
			return true
		})
		for _, name := range names {
			f.name, f.where = name, pkg+"."+name+" in "+filepath.Base(path)
			all = append(all, f)
		}
	}
	return all
}

// declared are the names of a declaration that can be called: a function, or variables that may hold one.
func declared(decl ast.Decl) []string {
	var names []string
	switch decl := decl.(type) {
	case *ast.FuncDecl:
		names = append(names, decl.Name.Name)
	case *ast.GenDecl:
		for _, spec := range decl.Specs {
			if values, ok := spec.(*ast.ValueSpec); ok {
				for _, name := range values.Names {
					names = append(names, name.Name)
				}
			}
		}
	}
	return names
}
