package docs_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const reference = "reference.md"

// list is a table of the reference, and the names in the code that it lists: neither may have one that the other has not.
type list struct {
	heading string
	names   func(t *testing.T) []string
	// also are names that the section has for another reason.
	also []string
}

func TestTheTablesOfTheReferenceListWhatTheCodeHas(t *testing.T) {
	for _, l := range []list{
		{"## Event types", constants("../record/event.go", "Event"), nil},
		{"## What a run waits for", constants("../record/wait.go", "Wait"), nil},
		{"### Of actions and nodes", constants("../record/code.go", "Code"), nil},
		{"### Of runs and stages", constants("../record/code.go", "Code"), nil},
		{"### Of the text of a playbook", both(constants("../internal/yamltree/*.go", "Code"), constants("../playbook/*.go", "code")), nil},
		{"### Of the API", both(failures, constants("../record/code.go", "Code")), nil},
		{"## Metrics", metrics, nil},
		{"## Schedules", constants("../record/schedule.go", "CodeSchedule"), scheduleKeys},
		{"### Of a run", constants("../record/run.go", "Run"), nil},
		{"### Of a node in a run", constants("../record/run_node.go", "Node"), nil},
		{"### Of an action", constants("../record/run_node.go", "Action"), nil},
		{"### Reasons", both(returned("../internal/replica/leadership_log.go", "leadershipEnd"), constants("../internal/replica/leadership_log.go", "reason")), nil},
	} {
		known := l.names(t)
		for _, name := range firstColumn(section(t, reference, l.heading)) {
			if !slices.Contains(known, name) && !slices.Contains(l.also, name) {
				t.Errorf("%s lists %s under %q, which the code does not have", reference, name, l.heading)
			}
		}
	}
}

func TestTheReferenceNamesWhatTheCodeHas(t *testing.T) {
	text := read(t, reference)
	for what, names := range map[string]func(*testing.T) []string{
		"event":                constants("../record/event.go", "Event"),
		"wait":                 constants("../record/wait.go", "Wait"),
		"code":                 both(constants("../record/code.go", "Code"), constants("../record/code.go", "Cause")),
		"code of an agent":     constants("../agent/wire/wire.go", "Code"),
		"code of a text":       both(constants("../internal/yamltree/*.go", "Code"), constants("../playbook/*.go", "code")),
		"code of the API":      failures,
		"metric":               metrics,
		"result of a schedule": both(constants("../record/schedule.go", "CodeSchedule"), constants("../record/schedule.go", "Firing")),
		"state of a run":       constants("../record/run.go", "Run"),
		"state of a stage":     constants("../record/run.go", "Stage"),
		"state of a node":      constants("../record/run_node.go", "Node"),
		"state of an action":   constants("../record/run_node.go", "Action"),
		"reason of leadership": both(returned("../internal/replica/leadership_log.go", "leadershipEnd"), constants("../internal/replica/leadership_log.go", "reason")),
	} {
		for _, name := range names(t) {
			if !slices.Contains(notYet, name) && !strings.Contains(text, "`"+name+"`") && !strings.Contains(text, "`"+name+" ") {
				t.Errorf("%s does not name %s %s", reference, what, name)
			}
		}
	}
}

func TestTheDocumentOfProbesNamesEveryStatus(t *testing.T) {
	listed := firstColumn(section(t, "probes.md", "## Statuses"))
	for _, status := range constants("../record/node.go", "Status")(t) {
		if !slices.Contains(listed, status) {
			t.Errorf("probes.md does not list the status %s", status)
		}
	}
}

func TestOperationsSaysWhatToDoWhileARunWaits(t *testing.T) {
	listed := firstColumn(section(t, "operations.md", "## When a run does not move"))
	for _, reason := range constants("../record/wait.go", "Wait")(t) {
		if !slices.Contains(listed, reason) && !slices.Contains(notYet, reason) {
			t.Errorf("operations.md does not say what to do while a run waits for %s", reason)
		}
	}
}

func TestTheReferenceListsEveryExitCode(t *testing.T) {
	listed := strings.FieldsFunc(section(t, reference, "### Exit codes"), func(r rune) bool { return strings.ContainsRune("|, \n", r) })
	for _, code := range exitCodes(t) {
		if !slices.Contains(listed, code) {
			t.Errorf("%s does not list the exit code %s of replictl", reference, code)
		}
	}
}

// scheduleKeys are the keys of a schedule, which its section lists too.
var scheduleKeys = []string{"playbook", "revision", "cluster", "params", "where", "cron", "time_zone", "start_within", "if_running", "suspended"}

// notYet is what nothing gives yet: the reference says so where it lists keys without effect.
var notYet = []string{"window", "freeze"}

var names = regexp.MustCompile("`([A-Za-z0-9_.]+)`")

// firstColumn are the names in the first column of the tables of a text.
func firstColumn(text string) []string {
	var found []string
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		cells := strings.Split(line, "|")
		if len(cells) < 3 || strings.HasPrefix(lines[i+1], "|---") {
			continue
		}
		for _, m := range names.FindAllStringSubmatch(cells[1], -1) {
			found = append(found, m[1])
		}
	}
	return found
}

func TestAlertsUseMetricsThatExist(t *testing.T) {
	known := metrics(t)
	count := 0
	for _, file := range files(t) {
		for _, name := range regexp.MustCompile(`replicante_[a-z_]+`).FindAllString(read(t, file), -1) {
			count++
			base := strings.TrimSuffix(strings.TrimSuffix(strings.TrimSuffix(name, "_bucket"), "_count"), "_sum")
			if !slices.Contains(known, base) {
				t.Errorf("%s names the metric %s, which does not exist", file, name)
			}
		}
	}
	if count < 10 {
		t.Errorf("only %d metrics were found", count)
	}
}

// inspect visits the syntax of the files, without tests.
func inspect(t *testing.T, pattern string, visit func(ast.Node)) {
	t.Helper()
	paths, err := filepath.Glob(pattern)
	if err != nil || len(paths) == 0 {
		t.Fatalf("no files match %s: %v", pattern, err)
	}
	for _, path := range paths {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(parsed, func(n ast.Node) bool { visit(n); return true })
	}
}

func literal(x ast.Expr) (string, bool) {
	lit, ok := x.(*ast.BasicLit)
	if !ok || lit.Kind != token.STRING {
		return "", false
	}
	text, err := strconv.Unquote(lit.Value)
	return text, err == nil
}

// collect sorts what was found, and fails where that is nothing.
func collect(t *testing.T, what string, found map[string]bool) []string {
	t.Helper()
	if len(found) == 0 {
		t.Fatalf("%s were not found in the code", what)
	}
	return slices.Sorted(maps.Keys(found))
}

// constants are the values of the string constants whose names begin with prefix.
func constants(pattern, prefix string) func(*testing.T) []string {
	return func(t *testing.T) []string {
		found := map[string]bool{}
		inspect(t, pattern, func(n ast.Node) {
			decl, ok := n.(*ast.GenDecl)
			if !ok || decl.Tok != token.CONST {
				return
			}
			for _, spec := range decl.Specs {
				spec := spec.(*ast.ValueSpec)
				for i, name := range spec.Names {
					if i < len(spec.Values) && strings.HasPrefix(name.Name, prefix) {
						if text, ok := literal(spec.Values[i]); ok {
							found[text] = true
						}
					}
				}
			}
		})
		return collect(t, "constants "+prefix+"… of "+pattern, found)
	}
}

func both(a, b func(*testing.T) []string) func(*testing.T) []string {
	return func(t *testing.T) []string { return append(a(t), b(t)...) }
}

// failures are the codes of the answers that the API makes itself, and those of the servers of package transport.
func failures(t *testing.T) []string {
	found := map[string]bool{}
	inspect(t, "../api/*.go", func(n ast.Node) {
		switch n := n.(type) {
		case *ast.CallExpr:
			if f, ok := n.Fun.(*ast.Ident); ok && f.Name == "fail" && len(n.Args) > 1 {
				if code, ok := literal(n.Args[1]); ok {
					found[code] = true
				}
			}
		case *ast.CompositeLit:
			if m, ok := n.Type.(*ast.MapType); !ok || !named(m.Key, "int") || !named(m.Value, "string") {
				return
			}
			for _, e := range n.Elts {
				if code, ok := literal(e.(*ast.KeyValueExpr).Value); ok {
					found[code] = true
				}
			}
		}
	})
	inspect(t, "../internal/transport/*.go", func(n ast.Node) {
		if c, ok := n.(*ast.CompositeLit); ok && named(c.Type, "Refusal") && len(c.Elts) > 1 {
			if code, ok := literal(c.Elts[1]); ok {
				found[code] = true
			}
		}
	})
	return collect(t, "codes of the API", found)
}

func named(x ast.Expr, name string) bool {
	ident, ok := x.(*ast.Ident)
	return ok && ident.Name == name
}

func metrics(t *testing.T) []string {
	found := map[string]bool{}
	inspect(t, "../internal/replica/*.go", func(n ast.Node) {
		switch n := n.(type) {
		case *ast.BasicLit:
			if text, ok := literal(n); ok && strings.HasPrefix(text, "replicante_") && text != "replicante_" {
				found[text] = true
			}
		case *ast.CallExpr:
			if named(n.Fun, "counter") {
				if text, ok := literal(n.Args[0]); ok {
					found["replicante_"+text] = true
				}
			}
		}
	})
	return collect(t, "metrics", found)
}

// returned are the texts that functions return first.
func returned(pattern string, functions ...string) func(*testing.T) []string {
	return func(t *testing.T) []string {
		found := map[string]bool{}
		inspect(t, pattern, func(n ast.Node) {
			f, ok := n.(*ast.FuncDecl)
			if !ok || !slices.Contains(functions, f.Name.Name) {
				return
			}
			ast.Inspect(f, func(n ast.Node) bool {
				if r, ok := n.(*ast.ReturnStmt); ok && len(r.Results) > 0 {
					if text, ok := literal(r.Results[0]); ok {
						found[text] = true
					}
				}
				return true
			})
		})
		return collect(t, "reasons of "+pattern, found)
	}
}

func exitCodes(t *testing.T) []string {
	found := map[string]bool{}
	inspect(t, "../cmd/replictl/exit.go", func(n ast.Node) {
		if spec, ok := n.(*ast.ValueSpec); ok && len(spec.Values) == 1 && strings.HasPrefix(spec.Names[0].Name, "exit") {
			if lit, ok := spec.Values[0].(*ast.BasicLit); ok && lit.Kind == token.INT {
				found[lit.Value] = true
			}
		}
	})
	return collect(t, "exit codes", found)
}

// TestTheReferenceNamesTheDataOfEvents takes the events from the transcripts of the policy, which show most of their data.
func TestTheReferenceNamesTheDataOfEvents(t *testing.T) {
	rows, intro := map[string]string{}, ""
	for line := range strings.Lines(section(t, reference, "## Event types")) {
		if cells := strings.Split(line, "|"); len(cells) > 2 {
			for _, name := range firstColumn(line + "\n") {
				rows[name] = line
			}
		} else {
			intro += line
		}
	}
	transcripts, err := filepath.Glob("../controller/policy/testdata/*.txt")
	if err != nil || len(transcripts) == 0 {
		t.Fatalf("no transcripts: %v", err)
	}
	event, key := regexp.MustCompile(`(?m)^  ([a-z]+\.[a-z]+)( .*)?$`), regexp.MustCompile(` ([a-z_]+)=`)
	seen := map[string]bool{}
	for _, file := range transcripts {
		for _, m := range event.FindAllStringSubmatch(read(t, file), -1) {
			for _, k := range key.FindAllStringSubmatch(m[2], -1) {
				seen[m[1]+" "+k[1]] = true
				if name := "`" + k[1] + "`"; !strings.Contains(rows[m[1]], name) && !strings.Contains(intro, name) {
					t.Errorf("%s does not name %s of %s", reference, name, m[1])
				}
			}
		}
	}
	if len(seen) < 10 {
		t.Errorf("only %d kinds of data were found", len(seen))
	}
}
