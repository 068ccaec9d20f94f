package main

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/replicante-io/playbooks/record"
)

var update = flag.Bool("update", false, "write the golden files")

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-update writes it):\n%s", path, diff)
	}
}

var started = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

type nodeCounts = map[record.NodeState]int

func runningView() view {
	return view{
		run: record.Run{ID: "0195-aa", Cluster: "orders", State: record.RunRunning, CreatedTS: started, StartTS: &started,
			Playbook: record.PlaybookCopy{Name: "rolling-restart", Revision: 3},
			Waiting:  &record.Wait{For: record.WaitGate, Message: "nodes of stage restart are not healthy: node-4 (its status is UNHEALTHY)"},
			Counts:   nodeCounts{record.NodeDone: 2, record.NodeFailed: 2, record.NodeRunning: 1, record.NodePending: 5},
			Stages: []record.RunStage{
				{Name: "prepare", State: record.StageDone, Batch: 1, Batches: 1, Total: 10, Counts: nodeCounts{record.NodeDone: 10}},
				{Name: "restart", State: record.StageRunning, Batch: 5, Batches: 10, Total: 10,
					Counts: nodeCounts{record.NodeDone: 2, record.NodeFailed: 2, record.NodeRunning: 1, record.NodePending: 5}},
				{Name: "verify_everything", State: record.StagePending},
			}},
		unwell: []record.RunNode{
			{Node: "node-2", State: record.NodeFailed, Error: &record.Error{Code: "exit", Message: `step stop failed: exit code 1: "redis: cannot stop: busy"`}},
		},
	}
}

func TestARunIsDrawnToFitTheWidth(t *testing.T) {
	failed := runningView()
	finish := started.Add(75 * time.Second)
	settled := finish.Add(time.Minute)
	failed.run.FinishTS, failed.run.RequestedBy = &settled, "ann@desk"
	failed.run.State, failed.run.EndTS, failed.run.Waiting = record.RunFailed, &finish, nil
	failed.run.Reason = "security update"
	failed.run.Error = &record.Error{Code: "max_failures",
		Message: `2 of 10 nodes failed: node-2 (step stop failed: exit code 1: "redis: cannot stop: busy"); and 1 more; max_failures is 1`}
	failed.run.Stages[1].State, failed.run.Stages[1].Error = record.StageFailed, failed.run.Error
	failed.run.Stages[2].State = record.StageNotReached

	large := runningView()
	large.run.Counts = nodeCounts{record.NodeDone: 9990, record.NodeUnknown: 1, record.NodeRunning: 9}
	large.run.Stages = large.run.Stages[:1]
	large.unwell = nil
	large.lost = errors.New("no answer in time")

	passes := runningView()
	passes.run.State, passes.run.Waiting, passes.run.Error = record.RunPaused, &record.Wait{For: record.WaitPause,
		Message: "an operator has to resume or cancel the run"}, nil
	passes.run.LastCommand = &record.LastCommand{Verb: record.VerbPause, Actor: "ana@desk", Reason: "lunch", TS: started}
	passes.run.Counts = nodeCounts{record.NodeDone: 3, record.NodeUnknown: 1, record.NodeIncomplete: 1, record.NodeWaiting: 2,
		record.NodeRunning: 1, "SLEEPING": 2}
	passes.run.Stages = append(passes.run.Stages,
		record.RunStage{Name: "restart", Pass: record.PassNewcomers, PassNumber: 1, State: record.StageDone, Batch: 1, Batches: 1,
			Counts: nodeCounts{record.NodeDone: 1}},
		record.RunStage{Name: "restart", Pass: record.PassNewcomers, PassNumber: 2, State: record.StageCancelled, Batch: 1, Batches: 1,
			Counts: nodeCounts{record.NodeCancelled: 1}})
	passes.unwell = []record.RunNode{{Node: "node-2", State: record.NodeUnknown, Error: &record.Error{Code: record.CodeUnknown,
		Message: "its agent did not report how step stop ended"}},
		{Node: "node-1", State: record.NodeIncomplete, History: []record.NodeChange{{State: record.NodeIncomplete,
			Reason: "the run ended before step start of stage restart; done on it: drain and restart/stop"}}}}

	for name, c := range map[string]struct {
		view  view
		width int
	}{
		"passes-120.txt":  {passes, 120},
		"running-100.txt": {runningView(), 100}, "running-40.txt": {runningView(), 40}, "failed-100.txt": {failed, 100}, "large-120.txt": {large, 120},
		"new-80.txt": {view{run: record.Run{ID: "0195-bb", Cluster: "demo", State: record.RunPending, CreatedTS: started,
			Waiting: &record.Wait{For: record.WaitQueue, Message: "run 0195-aa of the same cluster has to end first"}}}, 80},
	} {
		lines := draw(c.view, c.width, maxReasonLines, started.Add(61*time.Second+300*time.Millisecond))
		lines = append(lines, suggestionLines(afterRun(c.view), c.width)...)
		for _, line := range lines {
			if n := utf8.RuneCountInString(line); n > c.width {
				t.Errorf("%s: a line of %d: %q", name, n, line)
			}
		}
		golden(t, name, strings.Join(lines, "\n")+"\n")
	}
}

func TestTheEndOfAWaitIsVisibleWhereverItsTextIsCut(t *testing.T) {
	v, until := runningView(), started.Add(time.Minute)
	v.run.Waiting.Message = strings.Repeat("many words ", 100) + "; waiting until 2026-03-01T12:01:00Z"
	v.run.Waiting.Until = &until
	for _, most := range []int{unboundedLines, maxReasonLines} {
		for _, width := range []int{40, 160} {
			if text := strings.Join(draw(v, width, most, started), "\n"); strings.Count(text, "2026-03-01T12:01:00Z") != 1 {
				t.Errorf("in %d columns, %d lines at most:\n%s", width, most, text)
			}
		}
	}
}

func TestANodeThatIsKeptBySomethingInTheRecordOfItsRunSaysSo(t *testing.T) {
	run := record.Run{Waiting: &record.Wait{For: record.WaitAgent, Node: "c", Message: "the agent of node c does not answer"}, Stages: []record.RunStage{{Groups: []record.StageGroup{{Waiting: &record.Wait{For: record.WaitGate, Data: record.Document{
		"named": []any{map[string]any{"node": "a", "message": "its status is UNHEALTHY"}}}}}}}}}
	for _, c := range []struct {
		node  string
		state record.NodeStageState
		want  string
	}{
		{"a", record.NodeStageChecking, "not healthy yet: its status is UNHEALTHY"},
		{"b", record.NodeStageChecking, "the health check of its batch is open"},
		{"b", record.NodeStagePassed, "it has passed its steps and waits for the other nodes of its batch"},
		{"b", record.NodeStageActing, ""},
		{"c", record.NodeStageActing, "the agent of node c does not answer"},
	} {
		node := record.RunNode{Node: c.node, State: record.NodeRunning, Stages: []record.NodeStage{{State: c.state}}}
		if got := keptReason(&node, &run); got != c.want {
			t.Errorf("%s in %s: %q", c.node, c.state, got)
		}
	}
}

func TestControlCharactersFromAnAgentAreNotPrinted(t *testing.T) {
	v := runningView()
	v.unwell[0].Error.Message = "\x1b[2Jgone\r\nsecond\tline\u009b1A"
	for _, line := range draw(v, 200, maxReasonLines, started) {
		if strings.ContainsAny(line, "\x1b\r\n\t\u009b") {
			t.Errorf("%q", line)
		}
	}
}

func TestAPictureIsDrawnOverThePreviousOne(t *testing.T) {
	var out strings.Builder
	l := &live{out: &out, size: func() (int, int) { return 20, 6 }}
	l.draw(func(int) []string { return []string{"one", "two", "three"} })
	l.draw(func(int) []string { return []string{"1", "2", "3", "4", "5", "6", "7"} })
	l.draw(func(int) []string { return []string{"end"} })
	want := "\rone\x1b[K\n\rtwo\x1b[K\n\rthree\x1b[K\n\x1b[J" +
		"\x1b[3A\r1\x1b[K\n\r2\x1b[K\n\r3\x1b[K\n\r4\x1b[K\n\r…\x1b[K\n\x1b[J" +
		"\x1b[5A\rend\x1b[K\n\x1b[J"
	if out.String() != want {
		t.Fatalf("%q", out.String())
	}
}

func TestAMeterHasAMarkForEveryCountThatIsNotZero(t *testing.T) {
	for _, c := range []struct {
		counts nodeCounts
		total  int
		want   string
	}{
		{nil, 0, "[          ]"},
		{nil, 5, "[..........]"},
		{nodeCounts{record.NodeDone: 5}, 0, "[##########]"},
		{nodeCounts{record.NodeDone: 5}, 10, "[#####.....]"},
		{nodeCounts{record.NodeFailed: 1, record.NodePending: 9999}, 0, "[!.........]"},
		{nodeCounts{record.NodeDone: 5, record.NodeFailed: 1, record.NodeRunning: 2, record.NodePending: 2}, 0, "[#####!>>..]"},
		{nodeCounts{record.NodeDone: 2, record.NodeIncomplete: 3, record.NodeWaiting: 3, "SLEEPING": 2}, 0, "[##///===~~]"},
	} {
		if got := strings.TrimRight(meter(c.counts, c.total, 10), " "); got != c.want {
			t.Errorf("%v of %d: %s, wanted %s", c.counts, c.total, got, c.want)
		}
	}
}

func TestEveryEventIsPrintedAsOneLine(t *testing.T) {
	var text strings.Builder
	for _, e := range []record.Event{
		{Type: record.EventRunCreated, Actor: "ana@desk"},
		{Type: record.EventRunWaiting, Data: map[string]any{"for": "queue", "message": "run x of the same cluster has to end first"}},
		{Type: record.EventRunWaiting, Data: map[string]any{"for": "pause", "until": "2026-03-01T12:00:10Z", "message": "the pause between batches"}},
		{Type: record.EventRunWaiting, Data: map[string]any{"for": "pause", "until": "2026-03-01T12:00:10Z",
			"message": "the pause between batches ends at 2026-03-01T12:00:10Z"}},
		{Type: record.EventRunWaiting, Data: map[string]any{}},
		{Type: record.EventRunPaused, Data: map[string]any{"reason": "2 failures"}},
		{Type: record.EventRunClaimed, Data: map[string]any{"term": int64(4)}},
		{Type: record.EventStageStarted, Stage: "restart", Data: map[string]any{"nodes": int64(10)}},
		{Type: record.EventBatchStarted, Stage: "restart", Data: map[string]any{"batch": int64(1), "size": int64(2), "nodes": []any{"a", "b"}}},
		{Type: record.EventBatchStarted, Stage: "restart", Data: map[string]any{"batch": int64(1), "size": int64(500), "nodes": []any{"a", "b"}}},
		{Type: record.EventBatchStarted, Stage: "restart", Data: map[string]any{"group": "zone-a", "batch": int64(1), "nodes": []any{"a"}}},
		{Type: record.EventBatchChecking, Stage: "restart", Data: map[string]any{"batch": int64(1)}},
		{Type: record.EventBatchFinished, Stage: "restart", Data: map[string]any{"batch": int64(1)}},
		{Type: record.EventNodeState, Node: "a", Data: map[string]any{"state": "FAILED", "reason": "exit 1\nmore"}},
		{Type: record.EventNodeAdded, Node: "b"},
		{Type: record.EventNodeRemoved, Node: "b"},
		{Type: record.EventNodeReturned, Node: "b"},
		{Type: record.EventNodeResolved, Node: "a", Data: map[string]any{"state": "DONE", "reason": "I looked"}, Actor: "ana"},
		{Type: record.EventActionFailed, Node: "a", Stage: "restart", Step: "stop", Data: map[string]any{"attempt": int64(2), "message": "status 1"}},
		{Type: record.EventActionRetry, Node: "a", Stage: "restart", Step: "stop",
			Data: map[string]any{"attempt": int64(1), "attempts": int64(3), "message": "exit code 1", "next_ts": "2026-03-01T12:00:05.5Z"}},
		{Type: record.EventActionUnknown, Node: "a", Stage: "restart", Step: "stop", Data: map[string]any{"attempt": int64(1)}},
		{Type: record.EventActionSettled, Node: "a", Stage: "restart", Step: "stop", Data: map[string]any{"state": "DONE"}},
		{Type: record.EventActionSettled, Node: "a", Stage: "restart", Step: "stop", Data: map[string]any{"state": "FAILED", "code": "exit", "message": "exit code 3"}},
		{Type: record.EventActionSettled, Node: "a", Stage: "restart", Step: "stop",
			Data: map[string]any{"state": "UNKNOWN", "code": "lost", "message": "it was running when its agent stopped"}},
		{Type: record.EventActionSettled, Node: "a", Stage: "restart", Step: "stop", Actor: "ann",
			Data: map[string]any{"state": "UNKNOWN", "code": "node_forgotten", "message": "the node was forgotten by ann"}},
		{Type: record.EventRunWaiting, Data: map[string]any{"state": "FAILED"}},
		{Type: record.EventStepSkipped, Node: "a", Stage: "restart", Step: "stop"},
		{Type: record.EventStageFinished, Stage: "restart", Data: map[string]any{"state": "DONE"}},
		{Type: record.EventRunFinished, Data: map[string]any{"state": "DONE"}},
		{Type: "moon.full", Node: "a", Data: map[string]any{"phase": "full"}},
	} {
		e.TS = started
		text.WriteString(eventLine(e) + "\n")
	}
	golden(t, "events.txt", text.String())
}

func TestANodeThatIsDoneHasNoReason(t *testing.T) {
	node := record.RunNode{State: record.NodeRunning, Actions: []record.Action{
		{Step: "a", Attempt: 1, FinishTS: &started, Error: &record.Error{Message: "it broke"}}, {Step: "a", Attempt: 2}}}
	if got := nodeReason(&node); got != "attempt 2 of step a runs; attempt 1 failed: it broke" {
		t.Errorf("during the second attempt: %q", got)
	}
	node.Actions[1].Step = "b"
	if got := nodeReason(&node); got != "" {
		t.Errorf("in the next step: %q", got)
	}
	node.State = record.NodeDone
	if got := nodeReason(&node); got != "" {
		t.Errorf("when it is done: %q", got)
	}
}

func TestAReasonThatIsShownBelowIsNotRepeatedInTheError(t *testing.T) {
	for _, c := range []struct{ message, reason, want string }{
		{"1 of 2 nodes failed: a (no answer); max is 0", "no answer", "1 of 2 nodes failed: a; max is 0"},
		{"1 of 2 nodes failed: a (no answer); max is 0", "no answer; resolved FAILED by ann: x", "1 of 2 nodes failed: a; max is 0"},
		{"1 of 2 nodes failed: a (no answer (x)); max is 0", "no answer (x)", "1 of 2 nodes failed: a; max is 0"},
		{"1 of 2 nodes failed: a (no answer); max is 0", "resolved DONE by ann", "1 of 2 nodes failed: a (no answer); max is 0"},
		{"1 of 2 nodes failed: a (no answer); max is 0", "", "1 of 2 nodes failed: a (no answer); max is 0"},
	} {
		if got := withoutReason(c.message, "a", c.reason); got != c.want {
			t.Errorf("%q with %q: %q", c.message, c.reason, got)
		}
	}
}

func TestEveryNodeStateIsShown(t *testing.T) {
	for _, state := range record.NodeStates {
		if entries := inOrder(nodeCounts{state: 1}); len(entries) != 1 || entries[0].mark == otherMark {
			t.Errorf("%s: %+v", state, entries)
		}
	}
}

func TestTheReasonOfANodeIsWhatItWaitsForOrWhyItEnded(t *testing.T) {
	wait := &record.Wait{For: record.WaitRetry, Message: "the next attempt starts at 12:00"}
	for _, c := range []struct {
		node record.RunNode
		want string
	}{
		{record.RunNode{State: record.NodeRunning, Stages: []record.NodeStage{{Name: "a"}, {Name: "b", Waiting: wait}}}, wait.Message},
		{record.RunNode{State: record.NodeIncomplete, History: []record.NodeChange{{State: record.NodeRunning}, {State: record.NodeIncomplete,
			Reason: "the run ended before step stop of stage restart"}}}, "the run ended before step stop of stage restart"},
		{record.RunNode{State: record.NodePending, History: []record.NodeChange{{Reason: "it appeared during the run"}}}, ""},
	} {
		if got := nodeReason(&c.node); got != c.want {
			t.Errorf("%s: %q, wanted %q", c.node.State, got, c.want)
		}
	}
}

func TestADecisionAboutANodeSaysWhatFollows(t *testing.T) {
	wait := &record.Wait{For: record.WaitRetry, Message: "attempt 2 of 3 starts at 12:00"}
	for want, c := range map[string]struct {
		node record.RunNode
		run  record.RunState
	}{
		"node a: DONE; the run had ended and stays FAILED; other runs may use the node":    {record.RunNode{State: record.NodeDone}, record.RunFailed},
		"node a: FAILED; nothing more is done on it in this run; other runs may use it":    {record.RunNode{State: record.NodeFailed}, record.RunRunning},
		"node a: WAITING; it continues with its next step, in the next batch of its stage": {record.RunNode{State: record.NodeWaiting}, record.RunRunning},
		"node a: RUNNING; it continues: attempt 2 of 3 starts at 12:00": {record.RunNode{State: record.NodeRunning,
			Stages: []record.NodeStage{{Waiting: wait}}}, record.RunRunning},
	} {
		c.node.Node = "a"
		if got := resolvedLine(&c.node, &record.Run{State: c.run}); got != want {
			t.Errorf("%q, wanted %q", got, want)
		}
	}
}
