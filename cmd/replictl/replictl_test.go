package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/replicante-io/playbooks/api/apitest"
	"github.com/replicante-io/playbooks/api/client"
	"github.com/replicante-io/playbooks/record"
	"github.com/replicante-io/playbooks/store"
)

// operator runs the tool against a control plane.
type operator struct {
	*apitest.Plane
	t    *testing.T
	url  string
	file string // with a playbook
}

func newOperator(t *testing.T) *operator {
	t.Helper()
	for _, name := range []string{"SERVER", "CLUSTER", "CONTEXT", "TOKEN", "OUTPUT"} {
		t.Setenv("RCTL_"+name, "")
	}
	t.Setenv("RCTL_CONFIG", filepath.Join(t.TempDir(), "config.yaml"))
	plane := apitest.New(t)
	server := plane.Serve("core-1")
	plane.Elect("core-1", server.URL)
	d := &operator{Plane: plane, t: t, url: server.URL, file: filepath.Join(t.TempDir(), "restart.yaml")}
	d.write(d.file, apitest.Playbook)
	t.Setenv("RCTL_SERVER", server.URL)
	return d
}

func (d *operator) write(path, text string) {
	d.t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		d.t.Fatal(err)
	}
}

// screen is written by the tool and read by the test meanwhile.
type screen struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (s *screen) Write(data []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(data)
}

func (s *screen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

type result struct {
	code     int
	out, err string
}

// run runs a command line without a terminal.
func (d *operator) run(args ...string) result { return d.runAt(d.t.Context(), terminal{}, args...) }

func (d *operator) runAt(ctx context.Context, at terminal, args ...string) result {
	var out, err screen
	if at.in == nil {
		at.in = strings.NewReader("")
	}
	if at.out == nil {
		at.out = &out
	}
	if at.err == nil {
		at.err = &err
	}
	if at.size == nil {
		at.size = func() (int, int) { return 100, 30 }
	}
	code := execute(ctx, args, at)
	return result{code: code, out: out.String(), err: err.String()}
}

func (d *operator) ok(args ...string) string {
	d.t.Helper()
	s := d.run(args...)
	if s.code != 0 {
		d.t.Fatalf("%v: exit %d\n%s%s", args, s.code, s.out, s.err)
	}
	return s.out
}

func (d *operator) fails(code int, message string, args ...string) result {
	d.t.Helper()
	s := d.run(args...)
	if s.code != code || !strings.Contains(s.err, message) {
		d.t.Fatalf("%v: exit %d, wanted %d and %q\n%s%s", args, s.code, code, message, s.out, s.err)
	}
	return s
}

func read[T any](t *testing.T, text string) T {
	t.Helper()
	var value T
	if err := json.Unmarshal([]byte(text), &value); err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	return value
}

func TestApplyStoresPlaybooksThatCanBeRead(t *testing.T) {
	d := newOperator(t)
	if out := d.ok("validate", "-f", d.file); !strings.Contains(out, "valid") {
		t.Fatal(out)
	}
	if out := d.ok("apply", "-f", d.file); !strings.Contains(out, "created") {
		t.Fatal(out)
	}
	if out := d.ok("apply", "-f", filepath.Dir(d.file)); !strings.Contains(out, "unchanged") {
		t.Fatal(out)
	}
	if s := d.runAt(t.Context(), terminal{in: strings.NewReader(apitest.Playbook)}, "apply", "-f", "-", "-o", "json"); s.code != 0 ||
		read[[]struct{ Revision int64 }](t, s.out)[0].Revision != 1 {
		t.Fatalf("%+v", s)
	}
	if list := read[[]record.Playbook](t, d.ok("playbook", "list", "-o", "json")); len(list) != 1 || list[0].Name != "restart" {
		t.Fatalf("%+v", list)
	}
	if list := read[[]record.Playbook](t, d.ok("playbook", "revisions", "restart", "-o", "json")); len(list) != 1 {
		t.Fatalf("%+v", list)
	}
	if one := read[record.Playbook](t, d.ok("playbook", "get", "restart", "-o", "json")); one.Version != "1" {
		t.Fatalf("%+v", one)
	}
	if text := d.ok("playbook", "get", "restart"); !strings.Contains(text, "version: \"1\"\n") || !strings.Contains(text, "  params:\n    - default: none\n") {
		t.Fatal(text)
	}
	d.fails(exitError, "there is no playbook", "playbook", "get", "other")
}

func TestProblemsOfAPlaybookArePrintedWithFileLineAndColumn(t *testing.T) {
	d := newOperator(t)
	bad := filepath.Join(t.TempDir(), "bad.yaml")
	d.write(bad, strings.Replace(apitest.Playbook, "      steps:", "      stepz:", 1))
	for _, verb := range []string{"validate", "apply"} {
		s := d.fails(exitError, bad+":", verb, "-f", d.file, "-f", bad)
		line, _, _ := strings.Cut(s.err, "\n")
		if !strings.HasPrefix(line, bad+":") || !strings.Contains(s.err, "stepz") || s.out != "" {
			t.Fatalf("%q", s.err)
		}
	}
	if _, err := d.Playbook(t.Context(), "restart", 0); !errors.Is(err, store.ErrNotFound) {
		t.Fatalf("the valid playbook was stored: %v", err)
	}
	d.fails(exitError, "no such file", "apply", "-f", "none.yaml")
	d.fails(exitUsage, "-f", "apply")
}

func (d *operator) start(args ...string) record.Run {
	d.t.Helper()
	d.ok("apply", "-f", d.file)
	return read[record.Run](d.t, d.ok(append([]string{"run", "start", "restart", "--cluster", "demo", "-o", "json"}, args...)...))
}

func TestAFileThatIsTooLargeIsNamed(t *testing.T) {
	d := newOperator(t)
	huge := filepath.Join(t.TempDir(), "huge.yaml")
	d.write(huge, strings.Repeat("#", 5<<20))
	d.fails(exitError, huge+":1:1: the text has 5242880 bytes", "apply", "-f", huge)
}

func TestParamsAreSentAsWritten(t *testing.T) {
	d := newOperator(t)
	run := d.start("-p", "grace=007", "-p", "count=7", "-p", "other=[1]", "--reason", "why", "--if-busy", "fail")
	if run.Params["grace"] != "007" || run.Params["count"] != "7" || run.Params["other"] != "[1]" || run.Reason != "why" {
		t.Fatalf("%+v", run)
	}
	_, starts, _ := d.Received()
	if starts[0].Revision != 1 || starts[0].IfBusy != "fail" {
		t.Fatalf("%+v", starts)
	}
	d.fails(exitUsage, "name=value", "run", "start", "restart", "--cluster", "demo", "-p", "grace")
	d.fails(exitUsage, "--cluster", "run", "start", "restart")
	d.fails(exitUsage, "PLAYBOOK is missing: the name of a playbook", "run", "start", "--cluster", "demo")
	d.fails(exitUsage, "queue or fail", "run", "start", "restart", "--cluster", "demo", "--if-busy", "wait")
	d.fails(exitError, "there is no playbook", "run", "start", "other", "--cluster", "demo")
}

// during runs a command line while do changes the run that it has started.
func (d *operator) during(at terminal, do func(run record.Run), args ...string) result {
	d.t.Helper()
	done := make(chan result, 1)
	go func() { done <- d.runAt(d.t.Context(), at, args...) }()
	var run record.Run
	d.until(func() bool {
		runs, _, err := d.Runs(d.t.Context(), store.RunFilter{}, store.Page{})
		if err == nil && len(runs) > 0 {
			run = runs[0]
		}
		return run.ID != ""
	})
	do(run)
	select {
	case s := <-done:
		return s
	case <-time.After(20 * time.Second):
		d.t.Fatalf("%v did not return", args)
		return result{}
	}
}

func (d *operator) until(holds func() bool) {
	d.t.Helper()
	for end := time.Now().Add(10 * time.Second); !holds(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			d.t.Fatal("the condition was never true")
		}
	}
}

func (d *operator) finish(state record.RunState) func(record.Run) {
	return func(run record.Run) {
		change := apitest.Change{State: state, Event: record.EventRunFinished}
		if state == record.RunFailed {
			change.Error = &record.Error{Code: "max_failures", Message: "1 node failed, 0 may"}
			change.Nodes = []record.RunNode{{Node: "node-2", State: record.NodeFailed, Error: &record.Error{Code: "exit", Message: "status 1 of stop"}}}
		}
		d.Move(run.ID, change)
	}
}

var startAndWait = []string{"run", "start", "restart", "--cluster", "demo", "--wait"}

func TestTheExitCodeDependsOnHowTheRunEnded(t *testing.T) {
	for state, code := range map[record.RunState]int{record.RunDone: exitDone, record.RunFailed: exitFailed, record.RunCancelled: exitCancelled} {
		t.Run(string(state), func(t *testing.T) {
			d := newOperator(t)
			d.ok("apply", "-f", d.file)
			s := d.during(terminal{}, d.finish(state), append(startAndWait, "-o", "json")...)
			run := read[record.Run](t, s.out)
			if s.code != code || run.State != state || run.EndTS == nil || s.err != "" {
				t.Fatalf("%+v", s)
			}
			if again := d.run("run", "watch", run.ID); again.code != code || !strings.Contains(again.out, "run finished: "+string(state)) {
				t.Fatalf("%+v", again)
			}
		})
	}
}

func TestWithoutATerminalEachEventIsPrintedAsOneLine(t *testing.T) {
	d := newOperator(t)
	d.ok("apply", "-f", d.file)
	s := d.during(terminal{}, func(run record.Run) {
		d.Move(run.ID, apitest.Change{State: record.RunRunning, Event: record.EventRunStarted})
		d.finish(record.RunFailed)(run)
	}, startAndWait...)
	for _, want := range []string{"  run created\n", "  run started\n", "  run finished: FAILED\n", " FAILED after 0s: 1 FAILED, 2 PENDING: 1 node failed, 0 may\n"} {
		if !strings.Contains(s.out, want) {
			t.Errorf("no %q in:\n%s", want, s.out)
		}
	}
	if strings.Contains(s.out, "\x1b") || s.code != exitFailed {
		t.Fatalf("%+v", s)
	}
}

func TestOnATerminalTheRunIsDrawnLive(t *testing.T) {
	d := newOperator(t)
	d.ok("apply", "-f", d.file)
	out := &screen{}
	s := d.during(terminal{out: out, draws: true}, func(run record.Run) {
		d.until(func() bool { return strings.Contains(out.String(), "RUNNING, started") })
		d.Move(run.ID, apitest.Change{State: record.RunRunning, Event: record.EventBatchStarted,
			Stages: []record.RunStage{{Name: "restart", State: record.StageRunning, Batch: 1, Batches: 3}}})
		d.until(func() bool { return strings.Contains(out.String(), "batch 1/3") })
		d.finish(record.RunFailed)(run)
	}, startAndWait...)
	last := out.String()[strings.LastIndex(out.String(), "\x1b["+"7A")+1:]
	for _, want := range []string{"FAILED after", "node-2 FAILED: status 1 of stop", "error: 1 node failed, 0 may"} {
		if !strings.Contains(last, want) {
			t.Errorf("no %q in %q", want, last)
		}
	}
	if s.code != exitFailed || s.err != "" {
		t.Fatalf("%+v", s)
	}
}

func TestAWatchReportsThatTheStoreDoesNotAnswerAndContinues(t *testing.T) {
	for _, draws := range []bool{true, false} {
		d := newOperator(t)
		d.ok("apply", "-f", d.file)
		out, notes := &screen{}, &screen{}
		reported := notes
		if draws {
			reported = out
		}
		s := d.during(terminal{out: out, err: notes, draws: draws}, func(run record.Run) {
			d.until(func() bool {
				return strings.Contains(out.String(), run.ID) || strings.Contains(out.String(), "run created")
			})
			d.Delay("the primary store: it is away")
			d.until(func() bool { return strings.Contains(reported.String(), "waiting: the primary store: it is away") })
			d.Delay("")
			if !draws {
				d.until(func() bool { return strings.Contains(notes.String(), "run continues") })
			}
			d.finish(record.RunDone)(run)
		}, startAndWait...)
		if s.code != exitDone {
			t.Errorf("it ended with %d", s.code)
		}
		if n := strings.Count(notes.String(), "\n"); !draws && n != 2 || draws && n != 0 {
			t.Errorf("beside its output it prints %q", notes.String())
		}
	}
}

func TestWaitReturnsWhenTheRunIsPaused(t *testing.T) {
	d := newOperator(t)
	d.ok("apply", "-f", d.file)
	s := d.during(terminal{}, func(run record.Run) {
		d.Move(run.ID, apitest.Change{State: record.RunPaused, Event: record.EventRunPaused})
	}, append(startAndWait, "-o", "json")...)
	if s.code != exitNotFinished || read[record.Run](t, s.out).State != record.RunPaused || !strings.Contains(s.err, "run resume") {
		t.Fatalf("%+v", s)
	}
}

func TestWaitReturnsWhenTheRunWaitsForAnApproval(t *testing.T) {
	d := newOperator(t)
	d.ok("apply", "-f", d.file)
	s := d.during(terminal{}, func(run record.Run) {
		d.Move(run.ID, apitest.Change{State: record.RunPendingApprove, Event: record.EventRunCreated})
	}, append(startAndWait, "-o", "json")...)
	id := read[record.Run](t, s.out).ID
	if s.code != exitNotFinished || !strings.Contains(s.err, "replictl run approve "+id) || !strings.Contains(s.err, "replictl run reject "+id+" --reason WHY") {
		t.Fatalf("%+v", s)
	}
	d.ok("run", "approve", "last", "--stage", "canary", "--reason", "looks well")
	d.ok("run", "reject", id)
	_, _, commands := d.Received()
	want := []record.Command{{Verb: record.VerbApprove, Stage: "canary", Reason: "looks well"}, {Verb: record.VerbReject}}
	if fmt.Sprint(commands) != fmt.Sprint(want) {
		t.Fatalf("%+v", commands)
	}
}

func TestARunWhoseStageWaitsForItsApprovalSaysHowToApproveIt(t *testing.T) {
	run := record.Run{ID: "r", State: record.RunRunning, Waiting: &record.Wait{For: record.WaitApproval, Stage: "wipe"}}
	if got := fmt.Sprint(afterRun(view{run: run})); !strings.Contains(got, "run approve r --stage wipe") || !blocked(run) {
		t.Error(got)
	}
}

func TestWaitReturnsAfterWaitTimeout(t *testing.T) {
	d := newOperator(t)
	d.ok("apply", "-f", d.file)
	s := d.run(append(startAndWait, "-o", "json", "--wait-timeout", "300ms")...)
	if s.code != exitNotFinished || read[record.Run](t, s.out).State != record.RunRunning || !strings.Contains(s.err, "continues") {
		t.Fatalf("%+v", s)
	}
}

func TestAnInterruptDoesNotChangeTheRun(t *testing.T) {
	d := newOperator(t)
	run := d.start()
	ctx, interrupt := context.WithCancel(t.Context())
	out := &screen{}
	done := make(chan result, 1)
	go func() { done <- d.runAt(ctx, terminal{out: out}, "run", "watch", run.ID) }()
	d.until(func() bool { return strings.Contains(out.String(), "run created") })
	interrupt()
	if s := <-done; s.code != exitInterrupted || !strings.Contains(s.err, "continues") {
		t.Fatalf("%+v", s)
	}
	if now, err := d.Run(t.Context(), run.ID); err != nil || now.State != record.RunRunning {
		t.Fatalf("%+v %v", now, err)
	}
}

func TestOnATerminalAStartHasToBeConfirmed(t *testing.T) {
	d := newOperator(t)
	d.ok("apply", "-f", d.file)
	ask := func(answer string, args ...string) result {
		at := terminal{in: strings.NewReader(answer), asks: true}
		return d.runAt(t.Context(), at, append([]string{"run", "start", "restart", "--cluster", "demo"}, args...)...)
	}
	s := ask("\n")
	for _, want := range []string{d.url, "demo", "3: node-1, node-2, node-3", "revision 1", "Start it?", "not started"} {
		if !strings.Contains(s.err, want) {
			t.Errorf("no %q in %q", want, s.err)
		}
	}
	if _, starts, _ := d.Received(); s.code != exitError || len(starts) != 0 {
		t.Fatalf("%+v %+v", s, starts)
	}
	if s := ask("y\n"); s.code != 0 {
		t.Fatalf("%+v", s)
	}
	if s := ask("", "--yes"); s.code != 0 || s.err != "" {
		t.Fatalf("%+v", s)
	}
	if _, starts, _ := d.Received(); len(starts) != 2 {
		t.Fatalf("%+v", starts)
	}
}

func TestRunsAreReadAndGetCommands(t *testing.T) {
	d := newOperator(t)
	run := d.start()
	d.Move(run.ID, apitest.Change{State: record.RunRunning, Event: record.EventNodeState, Nodes: []record.RunNode{
		{Node: "node-3", State: record.NodeUnknown, Error: &record.Error{Code: "lost", Message: "its agent was restarted"}}}})
	if list := read[[]record.Run](t, d.ok("run", "list", "-o", "json", "--state", "RUNNING,PAUSED")); len(list) != 1 || list[0].ID != run.ID {
		t.Fatalf("%+v", list)
	}
	for _, kind := range []string{"run", "node"} {
		d.fails(exitError, `there is no known node of cluster "none"`, kind, "list", "--cluster", "none")
	}
	if out := d.ok("run", "get", run.ID); !strings.Contains(out, "node-3 UNKNOWN: its agent was restarted") {
		t.Fatal(out)
	}
	if one := read[record.Run](t, d.ok("run", "get", run.ID, "-o", "json")); one.Counts[record.NodeUnknown] != 1 {
		t.Fatalf("%+v", one)
	}
	if nodes := read[[]record.RunNode](t, d.ok("run", "nodes", run.ID, "-o", "json", "--state", "UNKNOWN")); len(nodes) != 1 || nodes[0].Node != "node-3" {
		t.Fatalf("%+v", nodes)
	}
	for _, state := range record.NodeStates {
		d.ok("run", "nodes", run.ID, "--state", string(state))
	}
	if events := read[[]record.Event](t, d.ok("run", "events", run.ID, "-o", "json", "--after", "1")); len(events) != 1 || events[0].Seq != 2 {
		t.Fatalf("%+v", events)
	}
	d.ok("run", "pause", run.ID, "--reason", "lunch")
	d.ok("run", "resume", run.ID)
	if out := d.ok("run", "resolve", run.ID, "node-3", "done", "--reason", "I looked"); !strings.Contains(out, "\nnode node-3: ") {
		t.Fatal(out)
	}
	d.ok("run", "cancel", run.ID, "--kill")
	_, _, commands := d.Received()
	want := []record.Command{{Verb: "pause", Reason: "lunch"}, {Verb: "resume"},
		{Verb: "resolve", Node: "node-3", State: "DONE", Reason: "I looked"}, {Verb: "cancel", Kill: true}}
	if fmt.Sprint(commands) != fmt.Sprint(want) {
		t.Fatalf("%+v", commands)
	}
	d.fails(exitUsage, "DONE or FAILED", "run", "resolve", run.ID, "node-3", "MAYBE", "--reason", "x")
	d.fails(exitUsage, "--reason", "run", "resolve", run.ID, "node-3", "DONE")
	d.fails(exitError, "there is no run", "run", "get", "none")
	d.fails(exitError, "there is no run", "run", "watch", "none")
}

func TestAnswersNameFlagsAsTheyAreTyped(t *testing.T) {
	d := newOperator(t)
	d.start()
	d.fails(exitError, `--state: there is no state "FAIL"; the states are`, "run", "list", "--state", "FAIL")
	d.fails(exitError, `--state: there is no state "FAIL"; the states are`, "run", "nodes", "last", "--state", "fail")
	if runs := read[[]record.Run](t, d.ok("run", "list", "--state", "running", "-o", "json")); len(runs) != 1 {
		t.Errorf("%d runs", len(runs))
	}
	if got := flagWords("cluster c is busy with run r; without if_busy: fail, the run waits in its queue"); !strings.Contains(got, "without --if-busy fail,") {
		t.Error(got)
	}
}

func TestAServerThatIsNoControlPlaneIsCalledThat(t *testing.T) {
	d := newOperator(t)
	agent := httptest.NewServer(http.NotFoundHandler())
	defer agent.Close()
	s := d.fails(exitError, "404 Not Found, which is no answer of a control plane", "run", "get", "last", "--server", agent.URL)
	if !strings.Contains(s.err, "--server") || strings.Contains(s.err, "to see the runs") {
		t.Error(s.err)
	}
}

func TestARunThatIsQueuedSaysBehindWhichRun(t *testing.T) {
	d := newOperator(t)
	d.ok("apply", "-f", d.file)
	queued := record.Run{ID: "r2", State: record.RunPending, Waiting: &record.Wait{Message: "run r1 of the same cluster has to end first"}}
	reads := 0
	for name, first := range map[string]record.Run{"at once": queued, "a little later": {ID: "r2", State: record.RunPending}} {
		got := untilPlaced(t.Context(), first, func(context.Context) (record.Run, error) {
			if reads++; reads == 1 {
				return first, nil
			}
			return queued, nil
		})
		if got.Waiting == nil {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func TestNodesClustersAndTheLeaderAreShown(t *testing.T) {
	d := newOperator(t)
	if out := d.ok("cluster", "list"); !strings.Contains(out, "demo     3      3\n") {
		t.Fatal(out)
	}
	if nodes := read[[]record.Node](t, d.ok("node", "list", "--cluster", "demo", "-o", "json")); len(nodes) != 3 {
		t.Fatalf("%+v", nodes)
	}
	t.Setenv("RCTL_CLUSTER", "demo")
	if out := d.ok("node", "get", "node-1"); !strings.Contains(out, "HEALTHY") {
		t.Fatal(out)
	}
	if err := d.SaveNodes(t.Context(), 1, []record.Node{{ClusterID: "demo", NodeID: "node-2", Status: record.StatusUnhealthy,
		StatusReason: "replication\nis broken", Present: true}}); err != nil {
		t.Fatal(err)
	}
	if out := d.ok("node", "list"); !strings.Contains(out, "  REASON\n") || !strings.Contains(out, "  replication is broken\n") {
		t.Error(out)
	}
	if out := d.ok("node", "get", "node-2"); !strings.Contains(out, "UNHEALTHY: replication is broken\n") {
		t.Error(out)
	}
	if gone := read[struct{ Forgotten bool }](t, d.ok("node", "forget", "node-1", "-o", "json")); !gone.Forgotten {
		t.Fatal("the node was not forgotten")
	}
	d.fails(exitError, "no known node", "node", "get", "node-1")
	if out := d.ok("leader"); !strings.HasPrefix(out, "core-1 leads in term 1") {
		t.Fatal(out)
	}
	if out := d.ok("leader", "-o", "yaml"); !strings.HasPrefix(out, "name: core-1\nadvertise: "+d.url) {
		t.Fatal(out)
	}
}

func TestAMistakeInTheCommandLineIsAUsageError(t *testing.T) {
	d := newOperator(t)
	for _, args := range [][]string{{"jump"}, {"run", "jump"}, {"leader", "--jump"}, {"leader", "more"}, {"leader", "-o", "xml"},
		{"leader", "--log-level", "loud"}, {"leader", "--log-format", "xml"}, {"leader", "--server", "ftp://x"}, {"leader", "--context", "none"},
		{"run", "list", "--limit", "-1"}, {"run", "nodes", "last", "--limit", "-1"}} {
		if s := d.run(args...); s.code != exitUsage || s.err == "" || s.out != "" {
			t.Errorf("%v: %+v", args, s)
		}
	}
	for want, args := range map[string][]string{
		"RUN is missing: an id, the beginning of one, or last":     {"run", "get"},
		"NODE is missing: the name of a node":                      {"run", "resolve", "last"},
		"DONE|FAILED is missing: how the node ended":               {"run", "resolve", "last", "node-1"},
		`"b" is one argument too many: replictl run get takes RUN`: {"run", "get", "a", "b"},
		`replictl run has no command "strat"; did you mean start?`: {"run", "strat"},
		`replictl has no command "rum"; did you mean run?`:         {"rum"},
	} {
		d.fails(exitUsage, want, args...)
	}
	for _, args := range [][]string{{}, {"--help"}, {"run"}, {"--version"}, {"version"}, {"completion", "bash"}, {"run", "start", "--help"}} {
		if s := d.run(args...); s.code != 0 || s.out == "" {
			t.Errorf("%v: %+v", args, s)
		}
	}
}

func TestNoServerHasItsOwnExitCode(t *testing.T) {
	d := newOperator(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = listener.Close()
	closed := "http://" + listener.Addr().String()
	d.fails(exitNoServer, closed, "leader", "--server", closed)
	// With several servers the next one answers.
	d.ok("leader", "--server", closed+","+d.url)
}

func TestAServerThatAnswersThatItIsNotReadyIsNotCalledMissing(t *testing.T) {
	var printed bytes.Buffer
	tool := &tool{terminal: terminal{err: &printed}, settings: settings{servers: []string{"core-1"}}}
	unable := fmt.Errorf("%w: core-1: %w", client.ErrNoServer, &client.Error{Status: 503, Message: "the primary store cannot be reached"})
	if code := tool.conclude(t.Context(), &cobra.Command{}, unable); code != exitNoServer {
		t.Errorf("exit code %d", code)
	}
	if text := printed.String(); !strings.Contains(text, "/readyz") || strings.Contains(text, "running at") {
		t.Errorf("it prints %q", text)
	}
}

func TestAFlagWinsOverTheEnvironmentAndThatOverTheContext(t *testing.T) {
	d := newOperator(t)
	d.Nodes("second", "a")
	d.ok("context", "set", "one", "--server", "http://core-1.invalid", "--cluster", "demo")
	d.ok("context", "set", "Two.B", "--server", d.url, "--cluster", "second")
	names := func(args ...string) string {
		t.Helper()
		text := ""
		for _, node := range read[[]record.Node](t, d.ok(append([]string{"node", "list", "-o", "json"}, args...)...)) {
			text += node.NodeID + " "
		}
		return text
	}
	if got := names(); got != "node-1 node-2 node-3 " { // the server of the environment, the cluster of context one
		t.Fatal(got)
	}
	d.ok("context", "use", "Two.B")
	t.Setenv("RCTL_SERVER", "")
	if got := names(); got != "a " {
		t.Fatal(got)
	}
	t.Setenv("RCTL_CLUSTER", "demo")
	if got := names(); got != "node-1 node-2 node-3 " {
		t.Fatal(got)
	}
	if got := names("--cluster", "second"); got != "a " {
		t.Fatal(got)
	}
	if out := d.ok("context", "list"); !strings.Contains(out, "*        Two.B") {
		t.Fatal(out)
	}
	d.ok("context", "delete", "Two.B")
	d.fails(exitError, "there is no context", "context", "use", "Two.B")
	d.write(os.Getenv("RCTL_CONFIG"), "contexts: {one: {servr: x}}\n")
	s := d.fails(exitUsage, "servr", "context", "list")
	if !strings.Contains(s.err, os.Getenv("RCTL_CONFIG")) {
		t.Fatal(s.err)
	}
}
