package imports_test

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/replicante-io/playbooks/"

// allowed lists, for each package of ours, the packages of ours that it may import. A package that is not listed follows its
// nearest parent that is.
var allowed = map[string][]string{
	"playbook":           {"internal/calendar", "internal/keys", "internal/spelling", "internal/yamltree", "record"},
	"record":             {},
	"election":           {"internal/etcd", "internal/failpoint", "internal/transport"},
	"membership":         {"internal/etcd", "internal/jsonkeys"},
	"store":              {"internal/retry", "record"},
	"store/mongo":        {"internal/failpoint", "internal/retry", "record", "store"},
	"store/sqlite":       {"record", "store"},
	"store/storetest":    {"record", "store"},
	"agent":              {"agent/wire", "internal/failpoint", "internal/jsonkeys", "internal/retry", "membership"},
	"agent/wire":         {},
	"agent/client":       {"agent/wire", "internal/failpoint", "internal/jsonkeys", "internal/transport"},
	"controller/policy":  {"playbook", "record"},
	"controller/run":     {"agent/wire", "controller/policy", "controller/cluster", "internal/failpoint", "internal/jsonkeys", "internal/retry", "record", "store"},
	"controller/cluster": {"agent/wire", "internal/retry", "membership", "record", "store"},
	"controller": {"agent/wire", "controller/cluster", "controller/policy", "controller/run", "internal/calendar", "internal/failpoint", "internal/idempotency",
		"internal/retry", "internal/spelling", "membership", "playbook", "record", "store"},
	"api":                  {"election", "internal/calendar", "internal/failpoint", "internal/idempotency", "internal/jsonkeys", "internal/retry", "internal/schema", "internal/transport", "membership", "playbook", "record", "store"},
	"api/client":           {"internal/retry", "internal/transport", "record"},
	"api/apitest":          {"api", "election", "internal/idempotency", "internal/transport", "playbook", "record", "store", "store/storetest"}, // for tests of its clients
	"internal/calendar":    {},
	"internal/config":      {"internal/keys", "internal/yamltree"},
	"internal/keys":        {"internal/yamltree"},
	"internal/schema":      {"internal/config", "internal/keys", "playbook"},
	"internal/yamltree":    {"internal/spelling", "record"},
	"internal/testenv":     {"tests/robustness/cluster"},
	"internal/etcd":        {"internal/failpoint", "internal/retry"},
	"internal/failpoint":   {},
	"internal/idempotency": {"record", "store"},
	"internal/imports":     {},
	"internal/jsonkeys":    {},
	"internal/retry":       {},
	"internal/spelling":    {},
	"internal/systemd":     {"internal/transport"},
	"internal/transport":   {"internal/failpoint"},
	"internal/version":     {},
	"internal/node":        {"agent", "agent/client", "agent/wire", "internal/retry", "internal/transport", "membership"},
	"internal/replica":     everything,
	"internal/dev":         everything,
	"internal/bench":       everything,
	"cmd":                  everything,
	"examples":             everything,
	"docs":                 everything,

	"tests/robustness":          everything,
	"tests/robustness/cluster":  {"internal/retry"},
	"tests/robustness/traffic":  {"api/client", "internal/retry", "record", "tests/robustness/cluster", "tests/robustness/validate"},
	"tests/robustness/faults":   {"internal/failpoint", "internal/retry", "tests/robustness/cluster"},
	"tests/robustness/validate": {}, // it judges, and shares no code with what it judges
	"tests/systemd":             {"internal/testenv"},
}

var everything = []string{"*"}

// only lists packages of others, by prefix, with the packages of ours that may import them.
var only = map[string][]string{
	"go.etcd.io/etcd/client/":               {"election", "membership", "internal"},
	"go.etcd.io/etcd/server/":               {"internal", "tests/robustness"},
	"go.mongodb.org/mongo-driver/":          {"store/mongo", "tests/robustness"},
	"modernc.org/sqlite":                    {"store/sqlite"},
	"cel.dev/":                              {"playbook"},
	"github.com/robfig/cron":                {"internal/calendar"},
	"github.com/santhosh-tekuri/jsonschema": {"internal/schema"},
	"github.com/spf13/viper":                {"internal/config", "cmd/replictl"},
	"go.etcd.io/bbolt":                      {"agent"},
	"github.com/danielgtaylor/huma":         {"api"},
	"github.com/coreos/go-systemd/":         {"internal/systemd"},
	"gopkg.in/yaml.v3":                      {"internal/yamltree", "cmd/replictl"},
	"github.com/spf13/cobra":                {"cmd"},
}

type pkg struct {
	ImportPath     string
	Imports        []string
	TestImports    []string
	XTestImports   []string
	Standard       bool
	GoFiles        []string
	IgnoredGoFiles []string
	Dir            string
}

func list(t *testing.T, patterns ...string) []pkg {
	t.Helper()
	command := exec.Command("go", append([]string{"list", "-json=ImportPath,Imports,TestImports,XTestImports,Standard,GoFiles,IgnoredGoFiles,Dir"}, patterns...)...)
	command.Dir = "../.."
	out, err := command.Output()
	if err != nil {
		var failed *exec.ExitError
		if errors.As(err, &failed) {
			t.Fatalf("go list: %s", failed.Stderr)
		}
		t.Fatal(err)
	}
	var pkgs []pkg
	decoder := json.NewDecoder(strings.NewReader(string(out)))
	for {
		var p pkg
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			return pkgs
		} else if err != nil {
			t.Fatal(err)
		}
		pkgs = append(pkgs, p)
	}
}

// under reports whether path is one of places or below one of them.
func under(path string, places []string) bool {
	return slices.ContainsFunc(places, func(place string) bool {
		return place == "*" || path == place || strings.HasPrefix(path, strings.TrimSuffix(place, "/")+"/")
	})
}

// rule returns what a package may import: its own entry, or that of its nearest parent.
func rule(path string) ([]string, bool) {
	for {
		if may, ok := allowed[path]; ok {
			return may, true
		}
		cut := strings.LastIndexByte(path, '/')
		if cut < 0 {
			return nil, false
		}
		path = path[:cut]
	}
}

func TestPackagesImportOnlyWhatTheirRuleAllows(t *testing.T) {
	for _, p := range list(t, "./...") {
		path := strings.TrimPrefix(p.ImportPath, module)
		may, known := rule(path)
		if !known {
			t.Errorf("%s has no rule: add one to allowed", path)
			continue
		}
		for _, imported := range p.Imports {
			if ours, ok := strings.CutPrefix(imported, module); ok {
				if !slices.Contains(may, ours) && !slices.Contains(may, "*") && !sameRule(path, ours) {
					t.Errorf("%s imports %s: only %v are allowed", path, ours, may)
				}
				continue
			}
			if path == "agent/wire" && strings.Contains(imported, ".") {
				t.Errorf("agent/wire imports %s: only the standard library is allowed", imported)
			}
			for prefix, places := range only {
				if strings.HasPrefix(imported, prefix) && !under(path, places) {
					t.Errorf("%s imports %s: only %v may", path, imported, places)
				}
			}
		}
	}
}

// sameRule reports whether a has no entry of its own and is below b: internal/etcd/embedded and internal/etcd.
func sameRule(a, b string) bool {
	return under(a, []string{b}) && allowed[a] == nil
}

// TestOnlyProgramsAndTheirTestsLinkTheServerOfEtcd keeps libraries small, and most tests fast to build.
func TestOnlyProgramsAndTheirTestsLinkTheServerOfEtcd(t *testing.T) {
	may := []string{"election", "membership", "internal", "cmd", "tests/robustness"}
	for _, p := range list(t, "./...") {
		path := strings.TrimPrefix(p.ImportPath, module)
		for _, imported := range slices.Concat(p.Imports, p.TestImports, p.XTestImports) {
			if (strings.HasPrefix(imported, "go.etcd.io/etcd/server/") || strings.HasPrefix(imported, "go.etcd.io/etcd/tests/")) && !under(path, may) {
				t.Errorf("%s imports %s: only %v may", path, imported, may)
			}
		}
	}
}

func TestReplictlLinksNoPartOfAServer(t *testing.T) {
	command := exec.Command("go", "list", "-deps", "./cmd/replictl")
	command.Dir = "../.."
	out, err := command.Output()
	if err != nil {
		t.Fatal(err)
	}
	for path := range strings.Lines(string(out)) {
		for _, part := range []string{"mongo-driver", "modernc.org/sqlite", "go.etcd.io", "huma", "jsonschema"} {
			if strings.Contains(path, part) {
				t.Errorf("cmd/replictl links %s", path)
			}
		}
	}
}

// TestFailpointsDoNothingWithoutTheirTag: what the package imports without it is enough for nothing else.
func TestFailpointsDoNothingWithoutTheirTag(t *testing.T) {
	for _, p := range list(t, "./internal/failpoint") {
		if !slices.Equal(p.Imports, []string{"context", "net", "time"}) {
			t.Errorf("%s imports %v without the tag failpoints: only context, net and time, for the types of Dial and Wall, are allowed", p.ImportPath, p.Imports)
		}
	}
}
