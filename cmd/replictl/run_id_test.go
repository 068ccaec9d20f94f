package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/replicante-io/playbooks/api/apitest"
	"github.com/replicante-io/playbooks/record"
)

func TestARunIsNamedByABeginningOfItsIDOrAsTheLast(t *testing.T) {
	d := newOperator(t)
	first := d.start()
	d.Move(first.ID, apitest.Change{State: record.RunDone, Event: record.EventRunFinished})
	second := d.start()
	for name, want := range map[string]string{first.ID[:8]: first.ID, strings.ToUpper(first.ID[:8]): first.ID, "last": second.ID, second.ID: second.ID} {
		if run := read[record.Run](t, d.ok("run", "get", name, "-o", "json")); run.ID != want {
			t.Errorf("%s is run %s, not %s", name, run.ID, want)
		}
	}
	if common := commonBeginning(first.ID, second.ID); common != "" {
		d.fails(exitUsage, "ids of 2 runs", "run", "get", common)
	}
	d.fails(exitError, "there is no run", "run", "cancel", "zz")
	d.ok("run", "cancel", "last")
	d.fails(exitCancelled, "", "run", "watch", "last")
	if _, _, commands := d.Received(); len(commands) != 1 {
		t.Fatalf("%+v", commands)
	}
}

func commonBeginning(a, b string) string {
	i := 0
	for a[i] == b[i] {
		i++
	}
	return a[:i]
}

func TestAListThatIsCutSaysSoAndProgramsGetAll(t *testing.T) {
	d := newOperator(t)
	d.ok("apply", "-f", d.file)
	for range 102 {
		if _, err := d.Start(t.Context(), record.Request{Actor: "test"}, record.RunRequest{Playbook: "restart", Cluster: "demo"}); err != nil {
			t.Fatal(err)
		}
	}
	if runs := read[[]record.Run](t, d.ok("run", "list", "-o", "json")); len(runs) != 102 {
		t.Errorf("%d runs", len(runs))
	}
	s := d.run("run", "list")
	if strings.Count(s.out, "\n") != 101 || !strings.Contains(s.err, "more runs than the 100") {
		t.Errorf("%d lines, %q", strings.Count(s.out, "\n"), s.err)
	}
	if s := d.run("run", "list", "-o", "json", "--limit", "5"); len(read[[]record.Run](t, s.out)) != 5 || s.err == "" {
		t.Errorf("%+v", s)
	}
	if s := d.run("run", "nodes", "last", "--limit", "3"); strings.Count(s.out, "\n") != 4 || s.err != "" {
		t.Errorf("%+v", s)
	}
	if s := d.run("run", "nodes", "last", "--limit", "2"); strings.Count(s.out, "\n") != 3 || !strings.Contains(s.err, "more nodes") {
		t.Errorf("%+v", s)
	}
}

func TestNamesAreCompleted(t *testing.T) {
	d := newOperator(t)
	run := d.start()
	d.Move(run.ID, apitest.Change{State: record.RunRunning, Event: record.EventNodeState,
		Nodes: []record.RunNode{{Node: "node-2", State: record.NodeUnknown}}})
	for words, want := range map[string]string{
		"run start ":                  "restart",
		"run start restart -c ":       "demo",
		"node list --cluster ":        "demo",
		"node get -c demo ":           "node-2\tHEALTHY",
		"node forget --cluster=demo ": "node-2\tHEALTHY",
		"run cancel ":                 run.ID + "\trestart on demo, RUNNING",
		"run watch ":                  "last",
		"run logs last ":              "node-3\tPENDING",
		"run resolve " + run.ID + " ": "node-2\tUNKNOWN",
		"run resolve last node-2 ":    "FAILED",
		"run list --state ":           "ROLLING_BACK",
		"run nodes last --state A,":   "A,SKIPPED",
		"run list -o ":                "yaml",
		"run start x --if-busy ":      "queue",
		"run start x -p ":             ":4",
		"run start x --revision ":     ":4",
		"run start x --reason ":       ":4",
		"apply -f ":                   ":0",
		"run start x --c":             "--cluster\tthe cluster to run on",
		"playbook get ":               "restart",
	} {
		out := d.ok(append([]string{"__complete"}, strings.Split(words, " ")...)...)
		if !strings.Contains("\n"+out, "\n"+want+"\n") {
			t.Errorf("%q is not completed with %q:\n%s", words, want, out)
		}
	}
	if out := d.ok("__complete", "run", "resolve", "last", ""); strings.Contains(out, "node-3") {
		t.Errorf("a node that is not UNKNOWN is completed: %s", out)
	}
	if out := d.ok("__complete", "run", "start", "--server", "http://127.0.0.1:1", ""); !strings.HasPrefix(out, ":4") {
		t.Errorf("without a server: %q", out)
	}
}

func TestTheProblemsOfAPlaybookAreJSON(t *testing.T) {
	d := newOperator(t)
	s := d.run("validate", "-f", d.file, "-o", "json")
	if result := read[validation](t, s.out); s.code != 0 || !result.Valid || result.Documents[0].Name != "restart" {
		t.Errorf("%+v", s)
	}
	d.write(d.file, strings.Replace(apitest.Playbook, "name: grace", "nam: grace", 1))
	s = d.run("validate", "-f", d.file, "-o", "json")
	if result := read[validation](t, s.out); s.code != exitError || result.Valid || result.Problems[0].Line == 0 || s.err != "" {
		t.Errorf("%+v", s)
	}
}

const quoted = `apiVersion: replicante.io/v1
kind: Playbook
metadata: {name: quoted, version: "1.10", labels: {"no": "on", "012": "1:30"}, source: {repository: r, commit: "4e21"}}
spec:
  description: "two\nlines\n"
  stages:
    - name: one
      steps:
        - name: one
          action: agent.replicante.io/test.success
          args: {"yes": "no", "2026-01-02": "2026-01-02", "null": "~", "1_0": "0x1F", plain: text, "": "", n: 7, f: 0.5, "b": true,
                 list: ["010", "7.10", "+1", ".5", "1e3", "=", "<<", "a: b", "# c", " lead", "trail ", "\ttab\e\u202e"], deep: [[], {}]}
`

func TestAPlaybookThatIsPrintedCanBeAppliedAgain(t *testing.T) {
	d := newOperator(t)
	d.write(d.file, quoted)
	d.ok("apply", "-f", d.file)
	for _, args := range [][]string{{}, {"-o", "yaml"}} {
		out := d.ok(append([]string{"playbook", "get", "quoted"}, args...)...)
		for _, want := range []string{`"yes": "no"`, `"012": "1:30"`, `"2026-01-02": "2026-01-02"`, `"010"`, `"7.10"`, `"1e3"`, `plain: text`} {
			if !strings.Contains(out, want) {
				t.Errorf("no %s in\n%s", want, out)
			}
		}
		d.write(d.file, out)
		if again := d.ok("apply", "-f", d.file); !strings.Contains(again, "unchanged") {
			t.Errorf("another revision: %s\n%s", again, out)
		}
	}
	if p := read[record.Playbook](t, d.ok("playbook", "get", "quoted", "-o", "json")); p.Revision != 1 {
		t.Errorf("%+v", p)
	}
}

func TestTheStartPromptNamesWhatIsInTheWay(t *testing.T) {
	d := newOperator(t)
	run := d.start()
	now := record.Now()
	if err := d.SaveNodes(t.Context(), 1, []record.Node{{ClusterID: "demo", NodeID: "node-2", Status: record.StatusUnreachable,
		StatusReason: "connection refused", Present: true},
		{ClusterID: "demo", NodeID: "node-1", Status: record.StatusHealthy, StatusReason: "api.advertise is wrong", Present: true},
		{ClusterID: "demo", NodeID: "node-3", Status: record.StatusHealthy, GoneTS: &now}}); err != nil {
		t.Fatal(err)
	}
	s := d.runAt(t.Context(), terminal{in: strings.NewReader("n\n"), asks: true}, "run", "start", "restart", "--cluster", "demo")
	for _, want := range []string{"2 of them unreachable: node-2 (connection refused), node-3",
		"1 of them with a warning: node-1 (api.advertise is wrong)", run.ID + " of restart is RUNNING", "waits in the queue"} {
		if !strings.Contains(s.err, want) {
			t.Errorf("no %q in %q", want, s.err)
		}
	}
}

func TestAContextFlagWinsOverTheEnvironment(t *testing.T) {
	d := newOperator(t)
	d.ok("context", "set", "one", "--server", d.url, "--cluster", "demo")
	t.Setenv("RCTL_SERVER", "http://127.0.0.1:1")
	t.Setenv("RCTL_CLUSTER", "other")
	var nodes []record.Node
	if err := json.Unmarshal([]byte(d.ok("node", "list", "--context", "one", "-o", "json")), &nodes); err != nil || len(nodes) != 3 {
		t.Fatalf("%v %+v", err, nodes)
	}
	d.fails(exitError, "other", "node", "list", "--context", "one", "--cluster", "other")
}
