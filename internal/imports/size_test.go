package imports_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strings"
	"testing"
)

// Bounds of the policy's files and functions, in lines.
const (
	maxFileLines     = 350
	maxFunctionLines = 60
)

func TestThePolicyHasSmallFilesAndFunctions(t *testing.T) {
	files := 0
	for _, p := range list(t, "./controller/policy") {
		for _, name := range p.GoFiles {
			files++
			set := token.NewFileSet()
			file, err := parser.ParseFile(set, filepath.Join(p.Dir, name), nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			path := strings.TrimPrefix(p.ImportPath, module) + "/" + name
			if lines := set.File(file.FileStart).LineCount(); lines > maxFileLines {
				t.Errorf("%s has %d lines: at most %d are allowed", path, lines, maxFileLines)
			}
			for _, decl := range file.Decls {
				f, isFunc := decl.(*ast.FuncDecl)
				if !isFunc {
					continue
				}
				if lines := set.Position(f.End()).Line - set.Position(f.Pos()).Line + 1; lines > maxFunctionLines {
					t.Errorf("%s: %s has %d lines: at most %d are allowed", path, f.Name.Name, lines, maxFunctionLines)
				}
			}
		}
	}
	if files == 0 {
		t.Error("controller/policy has no files: nothing was checked")
	}
}
