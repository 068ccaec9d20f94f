package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"syscall"
	"testing"

	"github.com/mattn/go-runewidth"

	"github.com/replicante-io/playbooks/api/apitest"
	"github.com/replicante-io/playbooks/record"
)

const hostile = "SECONDARY\tx\x1b[31m\r\n\u009b2J\u202egnp\u200b\x00"

func TestReasonsContinueOnFurtherLines(t *testing.T) {
	for _, c := range []struct {
		text  string
		width int
		want  string
	}{
		{"", 10, ""},
		{"short", 10, "short"},
		{"error: check lag is false", 12, "error: check|  lag is|  false"},
		{"  n1 FAILED: no", 12, "  n1 FAILED:|    no"},
		{"one two three four five", 5, "one|  two|  th…"},
		{"a\nb\x1b[2J c", 20, `a b\x1b[2J c`},
		{"averylongword and more", 6, "avery…|  and|  more"},
		{"x", 0, "…"},
	} {
		if got := strings.Join(wrap(c.text, c.width, 3), "|"); got != c.want {
			t.Errorf("%q in %d: got %q, want %q", c.text, c.width, got, c.want)
		}
	}
}

func TestAReasonThatIsNotBoundedIsNeverCut(t *testing.T) {
	for _, c := range []struct {
		text  string
		width int
		want  string
	}{
		{"one two three four five", 5, "one|  two|  thr|  ee|  fou|  r|  fiv|  e"},
		{"averylongword", 6, "averyl|  ongw|  ord"},
		{"at http://a/b/c/d until 12", 8, "at|  http:/|  /a/b/c|  /d|  until|  12"},
		{"漢漢漢", 4, "漢漢|  漢"},
		{"漢漢漢", 3, "漢漢漢"},
	} {
		if got := strings.Join(wrap(c.text, c.width, 0), "|"); got != c.want {
			t.Errorf("%q in %d: got %q, want %q", c.text, c.width, got, c.want)
		}
	}
}

func TestWhatANodeSaysIsEscaped(t *testing.T) {
	d := newOperator(t)
	now := record.Now()
	if err := d.SaveNodes(t.Context(), 1, []record.Node{{ClusterID: "demo", NodeID: "node-1", Role: hostile, StoreVersion: hostile,
		Status: record.StatusHealthy, Present: true, ObservedTS: &now, Attributes: record.Document{"a": hostile},
		Shards: []record.Shard{{ID: hostile, Role: hostile}}}}); err != nil {
		t.Fatal(err)
	}
	run := d.start()
	code := 3
	d.Move(run.ID, apitest.Change{State: record.RunRunning, Event: record.EventNodeState, Nodes: []record.RunNode{{Node: "node-1",
		State: record.NodeFailed, Error: &record.Error{Code: "exit", Message: hostile}, Actions: []record.Action{{Stage: "restart",
			Step: "restart", Attempt: 1, State: record.ActionFailed, ExitCode: &code, StdoutTail: "out " + hostile, StderrTail: "err " + hostile,
			Payload: record.Document{"key": hostile}}}}}})
	for _, args := range [][]string{{"node", "list", "--cluster", "demo"}, {"node", "get", "node-1", "--cluster", "demo"},
		{"run", "get", run.ID}, {"run", "nodes", run.ID}, {"run", "logs", run.ID}, {"run", "events", run.ID}} {
		for _, format := range []string{"table", "json", "yaml"} {
			out := d.ok(append(args, "-o", format)...)
			if i := strings.IndexFunc(out, func(r rune) bool { return r != '\n' && notPrinted(r) }); i >= 0 {
				t.Errorf("%v -o %s prints %q", args, format, out[i:min(len(out), i+10)])
			}
			if format == "json" && !json.Valid([]byte(out)) {
				t.Errorf("%v: not JSON: %s", args, out)
			}
		}
	}
	nodes := read[[]record.Node](t, d.ok("node", "list", "--cluster", "demo", "-o", "json"))
	if nodes[0].Role != hostile {
		t.Errorf("JSON changes the text: %q", nodes[0].Role)
	}
	out := d.ok("run", "logs", run.ID, "node-1")
	for _, want := range []string{"exit code 3", `out SECONDARY`, `err SECONDARY`, `\x1b[31m`, "payload:"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	if logs := read[[]actionLog](t, d.ok("run", "logs", "last", "node-1", "-o", "json")); len(logs) != 1 || *logs[0].ExitCode != 3 {
		t.Errorf("%+v", logs)
	}
	d.fails(exitError, "no node", "run", "logs", run.ID, "node-9")
}

func TestTextsAreMeasuredByTheColumnsThatTheyTake(t *testing.T) {
	for text, want := range map[string]string{"重启主节点然后检查": "重启主节…", "ab重启主节点": "ab重启主…", "short": "short", "one\ntwo": "one two"} {
		got := cut(text, 10)
		if got != want || runewidth.StringWidth(got) > 10 {
			t.Errorf("%q is cut to %q", text, got)
		}
	}
	table := strings.Split(rows([][]string{{"节点", "1"}, {"node-1", "2"}}), "\n")
	if table[0] != "节点    1" || table[1] != "node-1  2" {
		t.Errorf("%q", table)
	}
}

// full is a device without space.
type full struct{ reason error }

func (f full) Write([]byte) (int, error) { return 0, f.reason }

func TestOutputThatCannotBeWrittenIsAnError(t *testing.T) {
	d := newOperator(t)
	for _, args := range [][]string{{"leader"}, {"version"}, {"--help"}, {"cluster", "list"}, {"node", "list", "--cluster", "demo", "-o", "json"}} {
		var printed bytes.Buffer
		if s := d.runAt(t.Context(), terminal{out: full{syscall.ENOSPC}, err: &printed}, args...); s.code != exitError || !strings.Contains(printed.String(), "no space") {
			t.Errorf("%v: exit %d, %q", args, s.code, printed.String())
		}
		printed.Reset()
		closed := full{errors.Join(errors.New("write |1"), syscall.EPIPE)}
		if s := d.runAt(t.Context(), terminal{out: closed, err: &printed}, args...); s.code == exitDone || printed.Len() > 0 {
			t.Errorf("%v: exit %d, %q", args, s.code, printed.String())
		}
	}
}

func TestTheLogsSayThatAnEarlierAttemptKeepsNoOutput(t *testing.T) {
	code := 3
	var out strings.Builder
	writeLogs(&out, []actionLog{
		{Node: "a", Stage: "s", Step: "one", Attempt: 1, State: record.ActionFailed, ExitCode: &code, Error: &record.Error{Code: record.CodeExit, Message: `exit code 3: "no"`,
			Data: record.Document{"exit_code": int64(3)}}},
		{Node: "a", Stage: "s", Step: "one", Attempt: 2, State: record.ActionDone},
		{Node: "a", Stage: "s", Step: "two", Attempt: 1, State: record.ActionDone, Stdout: "x\n"},
	})
	want := "a  s/one  attempt 1  FAILED: exit code 3: \"no\"\n  its output is not kept: attempt 2 followed\n" +
		"a  s/one  attempt 2  DONE\na  s/two  attempt 1  DONE\n  stdout:\n    x\n"
	if out.String() != want {
		t.Errorf("%s", out.String())
	}
}
