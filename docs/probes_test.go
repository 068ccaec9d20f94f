package docs_test

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/replicante-io/playbooks/agent"
	"github.com/replicante-io/playbooks/agent/wire"
	"github.com/replicante-io/playbooks/playbook"
	"github.com/replicante-io/playbooks/record"
)

// probe runs a command as an agent runs its probe.
func probe(t *testing.T, timeout time.Duration, argv ...string) agent.Info {
	t.Helper()
	info, err := agent.CommandProbe(argv, timeout, nil)(t.Context())
	if err != nil {
		return agent.Info{Status: wire.StatusUnknown, Reason: err.Error()}
	}
	return info
}

func TestProbesBecomeWhatTheDocumentSays(t *testing.T) {
	count := 0
	for line := range strings.Lines(section(t, "probes.md", "## What becomes of it")) {
		cells := strings.Split(line, "|")
		if len(cells) < 5 || !strings.HasPrefix(cells[1], " `") {
			continue
		}
		count++
		script, status, reason := strings.Trim(cells[1], " `"), strings.Trim(cells[2], " `"), strings.TrimSpace(cells[3])
		timeout := 20 * time.Second
		if strings.HasPrefix(script, "sleep") {
			timeout = 50 * time.Millisecond
		}
		got, gotReason := served(t, script, timeout)
		if got != status || !strings.HasPrefix(gotReason, reason) || reason == "" && gotReason != "" {
			t.Errorf("%s gives %s (%s), and the document says %s (%s)", script, got, gotReason, status, reason)
		}
	}
	if count < 10 {
		t.Errorf("only %d probes were found", count)
	}
}

// served is what an agent with this probe reports.
func served(t *testing.T, script string, timeout time.Duration) (status, reason string) {
	t.Helper()
	infos := make(chan agent.Info, 1)
	a := agent.New(agent.Config{NodeID: "n", ClusterID: "c", Probe: agent.CommandProbe([]string{"/bin/sh", "-c", script}, timeout, nil),
		OnInfo: func(info agent.Info) {
			select {
			case infos <- info:
			default:
			}
		}})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	select {
	case err := <-ended:
		t.Fatalf("the agent ended: %v", err)
		return "", ""
	case info := <-infos:
		cancel()
		<-ended
		return info.Status, info.StatusReason()
	}
}

// cases of a datastore are what its tools print on nodes of a cluster, as recorded in testdata/probes.
const (
	primary = "primary"
	replica = "replica"
	behind  = "behind" // a replica, far behind
	broken  = "broken" // a replica that does not replicate
	down    = "down"
)

// recipes are the headings of recipes.md.
var recipes = map[string]string{"redis": "## Redis", "postgresql": "## PostgreSQL", "mongodb": "## MongoDB", "etcd": "## etcd", "kafka": "## Kafka"}

func TestTheProbesOfTheExamplesReportWhatTheToolsPrint(t *testing.T) {
	for store := range recipes {
		for name, want := range map[string][]string{
			primary: {wire.StatusHealthy}, replica: {wire.StatusHealthy}, behind: {wire.StatusHealthy, wire.StatusUnhealthy},
			broken: {wire.StatusUnhealthy, wire.StatusHealthy}, down: {wire.StatusUnavailable},
		} {
			info, _ := look(t, store, name)
			switch {
			case !slices.Contains(want, info.Status):
				t.Errorf("%s, %s: %s (%s), want %v", store, name, info.Status, info.StatusReason(), want)
			case len(info.Warnings) > 0:
				t.Errorf("%s, %s: %v", store, name, info.Warnings)
			case info.Status != wire.StatusHealthy && info.Reason == "":
				t.Errorf("%s, %s: %s without a reason", store, name, info.Status)
			case name == primary && info.Role != "PRIMARY", name == replica && info.Role != "SECONDARY":
				t.Errorf("%s, %s: has the role %q", store, name, info.Role)
			case info.Status == wire.StatusHealthy && (len(info.Shards) != 1 || info.StoreID == ""):
				t.Errorf("%s, %s: %+v", store, name, info)
			}
		}
	}
}

// look runs the probe of a datastore with the recorded output, and returns what an agent and an expression make of it.
func look(t *testing.T, store, name string) (agent.Info, map[string]any) {
	t.Helper()
	script, err := filepath.Abs("../examples/probes/" + store + "-probe")
	if err != nil {
		t.Fatal(err)
	}
	tools := t.TempDir()
	recorded, err := filepath.Glob("testdata/probes/" + store + "/" + name + "/*")
	if err != nil || len(recorded) == 0 {
		t.Fatalf("nothing is recorded of %s %s: %v", store, name, err)
	}
	for _, from := range recorded {
		if err := os.WriteFile(filepath.Join(tools, filepath.Base(from)), []byte(read(t, from)), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", tools+":"+systemPath)
	t.Setenv("KAFKA_NODE_ID", map[string]string{primary: "1", replica: "3", behind: "3", broken: "1", down: "1"}[name])
	info := probe(t, 20*time.Second, script)
	facts := map[string]any{"id": name, "cluster": "orders", "status": info.Status, "attributes": map[string]any{}}
	out, err := exec.CommandContext(t.Context(), script).Output()
	if err != nil {
		return info, facts
	}
	var printed record.Document
	if err := json.Unmarshal(out, &printed); err != nil {
		t.Fatalf("%s, %s: %v: %s", store, name, err, out)
	}
	for key, value := range printed {
		facts[key] = value
	}
	return info, facts
}

// systemPath is where the probes find what is not recorded.
const systemPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

func TestTheRecipesTakeThePrimaryLastAndWaitForReplicas(t *testing.T) {
	for store, heading := range recipes {
		t.Run(store, func(t *testing.T) {
			spec := recipe(t, heading)
			params, problems := spec.BindParams(record.Document{})
			if len(problems) > 0 {
				t.Fatal(problems)
			}
			nodes := map[string]map[string]any{}
			for _, name := range []string{primary, replica, behind, broken, down} {
				_, nodes[name] = look(t, store, name)
			}
			vars := func(node string, others ...string) playbook.Vars {
				all := []any{}
				for _, name := range others {
					all = append(all, nodes[name])
				}
				return playbook.Vars{"params": params, "node": nodes[node], "nodes": all}
			}
			checkOrder(t, spec, vars)
			for i := range spec.Stages {
				health := spec.Stages[i].Health
				for _, other := range []string{replica, behind, broken, down} {
					healthy, err := holds(health.Check, vars(other, primary, other))
					if other == replica && (err != nil || !healthy) {
						t.Errorf("stage %s is not healthy with a healthy replica: %v", spec.Stages[i].Name, err)
					}
					if other != replica && err == nil && healthy {
						t.Errorf("stage %s is healthy with a replica that is %s", spec.Stages[i].Name, other)
					}
				}
			}
		})
	}
}

// holds reports whether all parts of a check are true.
func holds(check *playbook.Check, vars playbook.Vars) (bool, error) {
	for _, part := range check.Parts {
		if ok, err := part.Bool(vars); err != nil || !ok {
			return ok, err
		}
	}
	return true, nil
}

// recipe is the playbook under a heading.
func recipe(t *testing.T, heading string) *playbook.Spec {
	t.Helper()
	for _, b := range blocks(t, "recipes.md") {
		if strings.HasPrefix(b.text, "apiVersion:") && strings.Contains(section(t, "recipes.md", heading), b.text) {
			parsed, err := playbook.Parse(b.String(), []byte(b.text))
			if err != nil {
				t.Fatal(err)
			}
			return parsed[0].Spec
		}
	}
	t.Fatalf("recipes.md has no playbook under %s", heading)
	return nil
}

// checkOrder proves that the first stage takes a replica, and the primary after it or not at all.
func checkOrder(t *testing.T, spec *playbook.Spec, vars func(string, ...string) playbook.Vars) {
	t.Helper()
	first := spec.Stages[0]
	takes := func(name string) bool {
		if first.Targets == nil {
			return true
		}
		taken, err := first.Targets.Bool(vars(name, primary, replica))
		if err != nil {
			t.Fatal(err)
		}
		return taken
	}
	if !takes(replica) {
		t.Error("the first stage does not take a replica")
	}
	if !takes(primary) {
		return
	}
	a, err := first.OrderBy.Value(vars(replica, primary, replica))
	if err != nil {
		t.Fatal(err)
	}
	b, err := first.OrderBy.Value(vars(primary, primary, replica))
	if err != nil {
		t.Fatal(err)
	}
	if by, err := playbook.Compare(a, b); err != nil || by >= 0 {
		t.Errorf("the first stage does not take the replica before the primary: %v", err)
	}
}
