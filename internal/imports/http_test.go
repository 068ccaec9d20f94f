package imports_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// madeByTransport are the names of net/http that make a server or a client, or use the default ones, which have no limits.
var madeByTransport = []string{"Server", "Client", "Transport"}
var withoutLimits = []string{"DefaultClient", "DefaultTransport", "Get", "Head", "Post", "PostForm",
	"ListenAndServe", "ListenAndServeTLS", "Serve", "ServeTLS"}

// ownHTTP may do so, with the reason.
var ownHTTP = map[string]string{
	"internal/transport": "it is the place for it",
	"internal/failpoint": "internal/transport imports it; it serves tests",
}

func TestOnlyTransportMakesHTTPServersAndClients(t *testing.T) {
	seen := false
	for _, p := range list(t, "./...") {
		path := strings.TrimPrefix(p.ImportPath, module)
		if ownHTTP[path] != "" {
			seen = true
			continue
		}
		if strings.HasPrefix(path, "tests/") {
			continue
		}
		for _, file := range slices.Concat(p.GoFiles, p.IgnoredGoFiles) {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			for _, found := range httpOf(t, filepath.Join(p.Dir, file)) {
				t.Errorf("%s/%s makes or uses %s: internal/transport makes servers and clients", path, file, found)
			}
		}
	}
	if !seen {
		t.Error("internal/transport was not seen: nothing was proved")
	}
}

// httpOf finds where a file makes a server or a client of net/http (a value of such a type; a pointer to one may be passed
// on), or uses a default one.
func httpOf(t *testing.T, path string) []string {
	t.Helper()
	files := token.NewFileSet()
	file, err := parser.ParseFile(files, path, nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	name := ""
	for _, spec := range file.Imports {
		if spec.Path.Value == `"net/http"` {
			if name = "http"; spec.Name != nil {
				name = spec.Name.Name
			}
		}
	}
	if name == "" {
		return nil
	}
	var found []string
	pointed := map[ast.Node]bool{}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.StarExpr:
			pointed[n.X] = true
		case *ast.SelectorExpr:
			x, ok := n.X.(*ast.Ident)
			if ok && x.Name == name && (slices.Contains(withoutLimits, n.Sel.Name) || slices.Contains(madeByTransport, n.Sel.Name) && !pointed[n]) {
				found = append(found, "http."+n.Sel.Name+" in line "+strconv.Itoa(files.Position(n.Pos()).Line))
			}
		}
		return true
	})
	return found
}
