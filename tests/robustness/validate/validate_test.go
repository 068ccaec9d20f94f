package validate

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.mongodb.org/mongo-driver/v2/bson"
)

func at(ms int) time.Time { return time.UnixMilli(1_700_000_000_000 + int64(ms)) }

func ptr[T any](v T) *T { return &v }

// example is evidence in which nothing is wrong: run a, exclusive, of two stages over two nodes, with an attempt that
// failed, one that an agent's crash made UNKNOWN, and a pause; then run b, which ends at its first failure.
func example() *Evidence {
	a := Run{
		ID: "a", Cluster: "c", State: "DONE", Reason: "first", IdempotencyKey: "key-a", Term: 2, Seq: 16, Stamped: true,
		Counts:   map[string]int{"DONE": 2},
		QueuedTS: ptr(at(0)), StartTS: ptr(at(0)), EndTS: ptr(at(1000)), FinishTS: ptr(at(1000)),
		Stages: []Stage{{Name: "one", State: "DONE", Total: 2}, {Name: "two", State: "DONE", Total: 2}},
		Playbook: Playbook{Spec: Spec{Stages: []StageSpec{
			{Name: "one", Steps: []StepSpec{{Name: "act", OnUnknown: "retry"}}},
			{Name: "two", Batch: "50%", Steps: []StepSpec{{Name: "act"}}},
		}}},
	}
	a.Playbook.Spec.Stages[0].Steps[0].Retry.Attempts = 3
	b := Run{
		ID: "b", Cluster: "c", State: "FAILED", Reason: "second", IdempotencyKey: "key-b", Term: 2, Seq: 4, Stamped: true,
		Counts: map[string]int{"FAILED": 1, "NOT_REACHED": 1}, Error: &Error{Code: "max_failures"},
		QueuedTS: ptr(at(50)), StartTS: ptr(at(1000)), EndTS: ptr(at(1200)), FinishTS: ptr(at(1200)),
		Stages:   []Stage{{Name: "one", State: "FAILED", Total: 2}},
		Playbook: Playbook{Spec: Spec{Stages: []StageSpec{{Name: "one", Steps: []StepSpec{{Name: "act"}}}}}},
	}
	e := &Evidence{Runs: []Run{a, b}, Term: 2}
	e.Nodes = []Node{
		{RunID: "a", Node: "n1", State: "DONE", FinishTS: ptr(at(1001)), Stages: []NodeStage{{Name: "one", Batch: 1, State: "DONE"}, {Name: "two", Batch: 1, State: "DONE"}}, Actions: []Action{
			newAction("a-1-1-1", "one", 1, 1, "FAILED", "exit", 10, 100),
			newAction("a-1-1-2", "one", 2, 1, "UNKNOWN", "lost", 110, 200),
			newAction("a-1-1-3", "one", 3, 1, "DONE", "", 210, 300),
			newAction("a-2-1-1", "two", 1, 2, "DONE", "", 610, 700),
		}},
		{RunID: "a", Node: "n2", State: "DONE", FinishTS: ptr(at(1001)), Stages: []NodeStage{{Name: "one", Batch: 2, State: "DONE"}, {Name: "two", Batch: 2, State: "DONE"}}, Actions: []Action{
			newAction("a-1-2-1", "one", 1, 1, "DONE", "", 310, 400),
			newAction("a-2-2-1", "two", 1, 2, "DONE", "", 710, 800),
		}},
		{RunID: "b", Node: "n1", State: "FAILED", FinishTS: ptr(at(1201)), Stages: []NodeStage{{Name: "one", Batch: 1, State: "FAILED"}}, Actions: []Action{
			newAction("b-1-1-1", "one", 1, 2, "FAILED", "exit", 1010, 1100),
		}},
		{RunID: "b", Node: "n2", State: "NOT_REACHED", FinishTS: ptr(at(1201))},
	}
	for _, ev := range []Event{
		{RunID: "a", TS: at(0), Type: "run.created"},
		{RunID: "a", TS: at(0), Type: "run.started"},
		{RunID: "a", TS: at(10), Type: "batch.started"},
		{RunID: "a", TS: at(100), Type: "action.retry", Node: "n1", Data: Data{Action: "a-1-1-1"}},
		{RunID: "a", TS: at(200), Type: "action.unknown", Node: "n1", Data: Data{Action: "a-1-1-2"}},
		{RunID: "a", TS: at(200), Type: "action.retry", Node: "n1", Data: Data{Action: "a-1-1-2"}},
		{RunID: "a", TS: at(300), Type: "batch.finished"},
		{RunID: "a", TS: at(410), Type: "run.pausing", Actor: "me"},
		{RunID: "a", TS: at(410), Type: "run.paused"},
		{RunID: "a", TS: at(500), Type: "run.resumed", Actor: "me"},
		{RunID: "a", TS: at(600), Type: "run.claimed", Data: Data{Term: 2}},
		{RunID: "a", TS: at(610), Type: "batch.started"},
		{RunID: "a", TS: at(700), Type: "batch.finished"},
		{RunID: "a", TS: at(800), Type: "node.state", Node: "n1", Data: Data{State: "DONE"}},
		{RunID: "a", TS: at(800), Type: "node.state", Node: "n2", Data: Data{State: "DONE"}},
		{RunID: "a", TS: at(1000), Type: "run.finished", Data: Data{State: "DONE"}},
		{RunID: "b", TS: at(50), Type: "run.created"},
		{RunID: "b", TS: at(1000), Type: "run.started"},
		{RunID: "b", TS: at(1100), Type: "node.state", Node: "n1", Data: Data{State: "FAILED"}},
		{RunID: "b", TS: at(1200), Type: "run.finished", Data: Data{State: "FAILED"}},
	} {
		ev.Seq, ev.FinishTS = int64(len(e.Events)+1), ptr(at(1300))
		if ev.RunID == "b" {
			ev.Seq -= 16
		}
		e.Events = append(e.Events, ev)
	}
	e.Executions = []Execution{
		{"a-1-1-1", "n1", 1, at(20), ptr(at(90)), 1, false},
		{"a-1-1-2", "n1", 1, at(120), nil, 0, false}, // killed
		{"a-1-1-3", "n1", 1, at(220), ptr(at(290)), 0, false},
		{"a-1-2-1", "n2", 1, at(320), ptr(at(390)), 0, false},
		{"a-2-1-1", "n1", 2, at(620), ptr(at(690)), 0, false},
		{"a-2-2-1", "n2", 2, at(720), ptr(at(790)), 0, false},
		{"b-1-1-1", "n1", 2, at(1020), ptr(at(1090)), 1, false},
	}
	e.Keys = []Key{{"key-a", "a", ptr(at(1300))}, {"key-b", "b", ptr(at(1300))}, {"of an apply", "", ptr(at(0))}}
	e.Requests = []Request{{"first", "a"}, {"second", "b"}, {"third, without an answer", ""}}
	e.Commands = []Command{{"a", "pause", true}, {"a", "resume", true}, {"a", "cancel", false}}
	return e
}

func newAction(id, stage string, attempt int, term int64, state, code string, from, to int) Action {
	a := Action{ID: id, Stage: stage, Step: "act", Attempt: attempt, Term: term, State: state, StartTS: at(from), FinishTS: ptr(at(to))}
	if code != "" {
		a.Error = &Error{Code: code}
	}
	return a
}

// action finds an action by its ID.
func (e *Evidence) action(id string) *Action {
	for i := range e.Nodes {
		for j := range e.Nodes[i].Actions {
			if a := &e.Nodes[i].Actions[j]; a.ID == id {
				return a
			}
		}
	}
	panic(id)
}

func (e *Evidence) executionOf(id string) *Execution {
	return &e.Executions[slices.IndexFunc(e.Executions, func(x Execution) bool { return x.Action == id })]
}

func (x *Execution) move(ms int) {
	d := time.Duration(ms) * time.Millisecond
	x.Start, x.End = x.Start.Add(d), ptr(x.End.Add(d))
}

func (e *Evidence) event(run, kind string) *Event {
	return &e.Events[slices.IndexFunc(e.Events, func(ev Event) bool { return ev.RunID == run && ev.Type == kind })]
}

func TestEvidenceInWhichNothingIsWrongViolatesNoRule(t *testing.T) {
	for _, v := range Validate(*example()) {
		t.Errorf("found %s", v)
	}
	if !example().Settled() {
		t.Error("it is not settled")
	}
}

func TestEachRuleReportsItsViolationsAndOnlyThose(t *testing.T) {
	tests := []struct {
		rule, name string
		violate    func(e *Evidence)
	}{
		{"started once", "an action was started again", func(e *Evidence) {
			e.Executions = append(e.Executions, Execution{"a-1-2-1", "n2", 1, at(395), ptr(at(398)), 0, false})
		}},
		{"saved before sent", "no record contains it", func(e *Evidence) {
			e.Executions = append(e.Executions, Execution{"unsaved", "n2", 2, at(900), ptr(at(910)), 0, false})
		}},
		{"saved before sent", "it was saved after its start", func(e *Evidence) { e.action("a-2-2-1").StartTS = at(730) }},
		{"saved before sent", "another node started it", func(e *Evidence) { e.executionOf("a-2-2-1").Node = "n1" }},
		{"attempts", "no event announces it", func(e *Evidence) { e.event("a", "action.retry").Type = "step.skipped" }},
		{"attempts", "the attempt before was DONE", func(e *Evidence) {
			a := e.action("a-1-1-1")
			a.State, a.Error = "DONE", nil
			e.executionOf("a-1-1-1").Code = 0
		}},
		{"attempts", "more often than the playbook says", func(e *Evidence) { e.Runs[0].Playbook.Spec.Stages[0].Steps[0].Retry.Attempts = 2 }},
		{"attempts", "an action with an unknown end was tried again without on_unknown: retry", func(e *Evidence) { e.Runs[0].Playbook.Spec.Stages[0].Steps[0].OnUnknown = "fail" }},
		{"attempts", "the attempt before had not ended", func(e *Evidence) { e.action("a-1-1-1").FinishTS = ptr(at(150)) }},
		{"attempts", "an attempt is missing", func(e *Evidence) {
			n := &e.Nodes[0]
			n.Actions[2].Attempt = 4
		}},
		{"one execution per node", "two runs at once", func(e *Evidence) {
			// of another cluster, so that no other rule is violated
			e.Runs[1].Cluster = "d"
			e.Runs[1].StartTS = ptr(at(600))
			e.event("b", "run.started").TS = at(600)
			e.action("b-1-1-1").StartTS = at(610)
			e.executionOf("b-1-1-1").move(-340)
		}},
		{"one execution per node", "another action may have been running", func(e *Evidence) {
			ev := e.event("a", "action.retry")
			ev.Type, ev.TS, ev.Data = "action.settled", at(310), Data{Action: "a-1-1-2"}
			e.Events[3], e.Events[6] = e.Events[6], e.Events[3]
			e.Events[3].Seq, e.Events[6].Seq = 4, 7
			e.Events[3].TS = at(100)
			e.Events[3].Type, e.Events[3].Data = "action.retry", Data{Action: "a-1-1-1"}
		}},
		{"batches", "too many nodes in a batch", func(e *Evidence) {
			e.Nodes[0].Stages[0].Batch, e.Nodes[1].Stages[0].Batch = 1, 1
		}},
		{"batches", "two batches at once", func(e *Evidence) {
			e.action("a-1-2-1").StartTS = at(210)
			e.executionOf("a-1-2-1").move(-90)
		}},
		{"batches", "an earlier batch started again", func(e *Evidence) {
			e.Nodes[0].Stages[1].Batch, e.Nodes[1].Stages[1].Batch = 2, 1
		}},
		{"stages in order", "the second stage started within the first", func(e *Evidence) {
			e.Nodes[1].Actions[1].StartTS = at(225)
			e.executionOf("a-2-2-1").move(-490) // 230
			e.executionOf("a-2-2-1").End = ptr(at(240))
			e.Nodes[0].Stages[1].Batch, e.Nodes[1].Stages[1].Batch = 2, 1
			e.Nodes[1].Actions[1].Term = 1
			e.executionOf("a-2-2-1").Term = 1
		}},
		{"exclusive runs", "executions of both at once", func(e *Evidence) {
			e.Runs[1].StartTS = ptr(at(700))
			e.event("b", "run.started").TS = at(700)
			e.action("b-1-1-1").StartTS = at(705)
			e.executionOf("b-1-1-1").move(-305)
		}},
		{"exclusive runs", "both RUNNING at once", func(e *Evidence) {
			e.Runs[1].StartTS = ptr(at(900))
			e.event("b", "run.started").TS = at(900)
		}},
		{"queue order", "the run that was queued first started last", func(e *Evidence) {
			e.Runs[0].QueuedTS = ptr(at(60))
			e.event("b", "run.created").TS = at(-10)
		}},
		{"max_failures", "another node was started after the last failure allowed", func(e *Evidence) {
			n := &e.Nodes[3]
			n.State, n.Stages = "DONE", []NodeStage{{Name: "one", Batch: 2, State: "DONE"}}
			n.Actions = []Action{newAction("b-1-2-1", "one", 1, 2, "DONE", "", 1110, 1190)}
			e.Executions = append(e.Executions, Execution{"b-1-2-1", "n2", 2, at(1120), ptr(at(1180)), 0, false})
			e.Runs[1].Counts = map[string]int{"FAILED": 1, "DONE": 1}
		}},
		{"max_failures", "a resume after a pause that was not for the failures", func(e *Evidence) {
			n := &e.Nodes[3]
			n.State, n.Stages = "DONE", []NodeStage{{Name: "one", Batch: 2, State: "DONE"}}
			n.Actions = []Action{newAction("b-1-2-1", "one", 1, 2, "DONE", "", 1150, 1190)}
			e.Executions = append(e.Executions, Execution{"b-1-2-1", "n2", 2, at(1160), ptr(at(1180)), 0, false})
			e.Runs[1].Counts = map[string]int{"FAILED": 1, "DONE": 1}
			e.Runs[1].Playbook.Spec.Stages[0].OnFailure = "pause"
			last := e.Events[len(e.Events)-1]
			for i, kind := range []string{"run.pausing", "run.paused", "run.resumed"} {
				e.Events[len(e.Events)-1] = Event{RunID: "b", Seq: int64(4 + i), TS: at(1100 + i), Type: kind, FinishTS: last.FinishTS}
				e.Events = append(e.Events, last)
			}
			e.Events[len(e.Events)-1].Seq, e.Runs[1].Seq = 7, 7
		}},
		{"paused runs", "a command started", func(e *Evidence) {
			e.action("a-2-1-1").StartTS = at(430)
			e.action("a-2-1-1").Term = 1
			e.executionOf("a-2-1-1").Start = at(450)
		}},
		{"paused runs", "a command was running", func(e *Evidence) { e.executionOf("a-1-2-1").End = ptr(at(420)) }},
		{"requested once", "an acknowledged run does not exist", func(e *Evidence) { e.Requests = append(e.Requests, Request{"fourth", "d"}) }},
		{"requested once", "one request made two runs", func(e *Evidence) {
			e.Runs[1].Reason = "first"
			e.Requests = slices.Delete(e.Requests, 1, 2)
		}},
		{"requested once", "a run was never requested", func(e *Evidence) { e.Requests = e.Requests[:1] }},
		{"requested once", "a run has no key", func(e *Evidence) { e.Runs[1].IdempotencyKey, e.Keys[1].Key = "", "" }},
		{"commands", "an acknowledged command did nothing", func(e *Evidence) { e.Commands = append(e.Commands, Command{"b", "cancel", true}) }},
		{"commands", "a command took effect twice", func(e *Evidence) {
			e.Commands = e.Commands[1:]
			e.Commands = append(e.Commands, Command{"a", "pause", false})
			e.twice()
		}},
		{"ended", "a run does not end", func(e *Evidence) {
			e.Runs[1].State, e.Runs[1].EndTS, e.Runs[1].FinishTS = "RUNNING", nil, nil
			e.event("b", "run.finished").Type = "run.waiting"
		}},
		{"ended", "an action has no end", func(e *Evidence) { e.action("b-1-1-1").FinishTS = nil }},
		{"ended", "an action is unsettled", func(e *Evidence) { e.Runs[1].Unsettled, e.Runs[1].FinishTS = 1, nil }},
		{"ended", "a run is finished with an action that is unsettled", func(e *Evidence) { e.Runs[1].Unsettled = 1 }},
		{"ended", "a settled run is not finished", func(e *Evidence) { e.Runs[1].FinishTS = nil }},
		{"ended", "a run is finished before its end", func(e *Evidence) { e.Runs[1].FinishTS = ptr(at(1100)) }},
		{"finished records", "a record has no finish_ts", func(e *Evidence) { e.Nodes[3].FinishTS = nil }},
		{"finished records", "an event has no finish_ts", func(e *Evidence) { e.Events[5].FinishTS = nil }},
		{"finished records", "a key is gone", func(e *Evidence) { e.Keys = e.Keys[1:] }},
		{"finished records", "a key has no finish_ts", func(e *Evidence) { e.Keys[1].FinishTS = nil }},
		{"finished records", "a run is not stamped", func(e *Evidence) { e.Runs[0].Stamped = false }},
		{"finished records", "a record belongs to no run", func(e *Evidence) {
			e.Nodes = append(e.Nodes, Node{RunID: "x", Node: "n1", State: "DONE", FinishTS: ptr(at(0))})
		}},
		{"events", "one is missing", func(e *Evidence) { e.Events = slices.Delete(e.Events, 2, 3) }},
		{"events", "the last one is missing", func(e *Evidence) { e.Runs[1].Seq = 5 }},
		{"events", "time goes back", func(e *Evidence) { e.event("a", "batch.started").TS = at(-10) }},
		{"events", "the run's end differs", func(e *Evidence) { e.event("b", "run.finished").Data.State = "CANCELLED" }},
		{"terms", "it was claimed in an older term", func(e *Evidence) {
			e.event("a", "batch.finished").Type = "run.claimed"
			e.Events[6].Data.Term = 2
		}},
		{"terms", "an earlier leader's action was saved after a later one's", func(e *Evidence) { e.Nodes[0].Actions[0].Term = 2; e.executionOf("a-1-1-1").Term = 2 }},
		{"terms", "an agent accepted a request of an earlier leader", func(e *Evidence) { e.executionOf("a-1-1-1").Term = 2 }},
		{"states", "it is DONE with a node that is not", func(e *Evidence) {
			e.Nodes[1].State = "FAILED"
			e.Runs[0].Counts = map[string]int{"DONE": 1, "FAILED": 1}
		}},
		{"states", "its counts are wrong", func(e *Evidence) { e.Runs[0].Counts["DONE"] = 1 }},
		{"states", "a node is DONE without its step", func(e *Evidence) {
			e.Nodes[1].Actions = e.Nodes[1].Actions[:1]
			e.Executions = slices.DeleteFunc(e.Executions, func(x Execution) bool { return x.Action == "a-2-2-1" })
		}},
		{"states", "a command ran on a node that was not reached", func(e *Evidence) {
			e.Runs[1].Playbook.Spec.Stages[0].OnFailure = "continue"
			e.Nodes[3].Stages = []NodeStage{{Name: "one", Batch: 2, State: "NOT_REACHED"}}
			e.Nodes[3].Actions = []Action{newAction("b-1-2-1", "one", 1, 2, "FAILED", "exit", 1110, 1190)}
			e.Executions = append(e.Executions, Execution{"b-1-2-1", "n2", 2, at(1120), ptr(at(1180)), 1, false})
		}},
		{"results", "DONE without a command", func(e *Evidence) {
			e.Executions = slices.DeleteFunc(e.Executions, func(x Execution) bool { return x.Action == "a-2-2-1" })
		}},
		{"results", "DONE with a command that failed", func(e *Evidence) { e.executionOf("a-2-2-1").Code = 1 }},
		{"results", "never_started with a command", func(e *Evidence) { e.action("a-1-1-1").Error.Code = "never_started" }},
		{"hostile payloads", "DONE with a payload that cannot be stored", func(e *Evidence) { e.executionOf("a-2-2-1").Hostile = true }},
		{"gentle faults", "a node failed", func(e *Evidence) { e.Gentle = []string{"n1"} }},
		{"gentle faults", "the run failed without a node", func(e *Evidence) {
			e.Gentle = []string{"n2"}
			e.Runs[1].Error = &Error{Code: "facts_absent"}
		}},
		{"timeouts", "an attempt ended long before its timeout", func(e *Evidence) {
			e.Runs[0].Playbook.Spec.Stages[0].Steps[0].Timeout = "10s"
			e.action("a-1-1-1").Error.Code = "timeout"
		}},
		{"events", "a clock went back during a term", func(e *Evidence) {
			e.Commits = map[string][]Commit{"a": {{at(0), at(0)}}}
			e.event("a", "run.started").TS = at(-5000)
		}},
	}
	tested := map[string]bool{}
	for _, test := range tests {
		tested[test.rule] = true
		t.Run(test.rule+"/"+test.name, func(t *testing.T) {
			e := example()
			test.violate(e)
			found := Validate(*e)
			if len(found) == 0 {
				t.Fatal("no violation was reported")
			}
			for _, v := range found {
				if v.Rule != test.rule {
					t.Errorf("found %s", v)
				}
			}
		})
	}
	for _, rule := range rules {
		if !tested[rule.name] {
			t.Errorf("no test violates the rule %q", rule.name)
		}
	}
}

// twice repeats the pause of run a.
func (e *Evidence) twice() {
	i := slices.IndexFunc(e.Events, func(ev Event) bool { return ev.Type == "batch.started" && ev.TS.Equal(at(610)) })
	e.Events[i].Type, e.Events[i].Actor = "run.pausing", "me"
	e.Events[i+1].Type, e.Events[i+1].Actor = "run.pausing", "me"
}

func TestAnUnknownEndIsNoViolationButKeepsOtherActionsFromItsNode(t *testing.T) {
	// n1's agent does not answer about its last action, the run continues without it, and the command starts late.
	late := func() *Evidence {
		e := example()
		e.Runs[0].Playbook.Spec.Stages[1].OnFailure = "continue"
		e.Runs[0].State, e.Runs[0].Counts = "FAILED", map[string]int{"UNKNOWN": 1, "DONE": 1}
		e.event("a", "run.finished").Data.State = "FAILED"
		e.Nodes[0].State, e.Nodes[0].Stages[1].State = "UNKNOWN", "UNKNOWN"
		a := e.action("a-2-1-1")
		a.State, a.Error = "UNKNOWN", &Error{Code: "unknown"}
		e.Events[12].Type, e.Events[12].Data.Action = "action.unknown", a.ID
		e.Events[13].Type, e.Events[13].Data.Action = "node.state", ""
		e.Events[13].Data.State = "UNKNOWN"
		last := e.event("a", "run.finished")
		settled := *last
		settled.Type, settled.Seq, settled.TS, settled.Data = "action.settled", 17, at(1005), Data{Action: a.ID}
		e.Events = append(e.Events, settled)
		e.Runs[0].Seq = 17
		w := e.executionOf(a.ID)
		w.Start, w.End = at(750), ptr(at(850))
		return e
	}
	for _, v := range Validate(*late()) {
		t.Errorf("found %s", v)
	}
	e := late()
	e.Events[len(e.Events)-1].TS = at(1050) // after run b has started on that node
	found := Validate(*e)
	if len(found) != 1 || found[0].Rule != "one execution per node" {
		t.Errorf("found %v", found)
	}
}

func TestTheSizeOfABatchIsThatOfThePlaybook(t *testing.T) {
	for _, test := range []struct {
		batch        any
		number, want int
	}{
		{nil, 1, 1}, {int32(3), 5, 3}, {int64(2), 1, 2}, {"25%", 1, 2}, {"1%", 1, 1},
		{bson.A{int32(1), "50%"}, 1, 1}, {bson.A{int32(1), "50%"}, 2, 5}, {bson.A{int32(1), "50%"}, 9, 5},
	} {
		stage := StageSpec{Batch: test.batch}
		if got := stage.size(test.number, 10); got != test.want {
			t.Errorf("batch %d of %v has %d nodes of 10 instead of %d", test.number, test.batch, got, test.want)
		}
	}
}

func TestTimesAreThoseOfTheStore(t *testing.T) {
	e := example()
	ahead := func(ms int) *time.Time { return ptr(at(ms + 60_000)) }
	// Run b was led by a leader whose clock was a minute ahead from its start on.
	e.Commits = map[string][]Commit{"b": {
		{at(50), at(51)}, {*ahead(1000), at(1001)}, {*ahead(1010), at(1011)}, {*ahead(1100), at(1101)}, {*ahead(1200), at(1201)}, {*ahead(1200), at(1209)},
	}}
	r, a := &e.Runs[1], e.action("b-1-1-1")
	r.StartTS, r.EndTS, r.FinishTS, a.StartTS, a.FinishTS = ahead(1000), ahead(1200), ahead(1200), *ahead(1010), ahead(1100)
	for _, ev := range e.Events {
		if ev.RunID == "b" && ev.Type != "run.created" {
			e.event("b", ev.Type).TS = ev.TS.Add(time.Minute)
		}
	}
	for _, v := range Validate(*e) {
		t.Errorf("found %s", v)
	}
	if !a.StartTS.Equal(at(1011)) || !r.FinishTS.Equal(at(1201)) {
		t.Errorf("the action is saved at %s and the run ends at %s", clock(a.StartTS), clock(*r.FinishTS))
	}
}

func TestEveryTimeOfARunIsThatOfTheStore(t *testing.T) {
	run := Run{ID: "a"}
	fields := reflect.ValueOf(&run).Elem()
	for i := range fields.NumField() {
		if ts, ok := fields.Field(i).Addr().Interface().(**time.Time); ok {
			*ts = ptr(at(60_000))
		}
	}
	e := Evidence{Runs: []Run{run}, Commits: map[string][]Commit{"a": {{at(60_000), at(0)}}}}
	e.translate()
	fields = reflect.ValueOf(e.Runs[0])
	for i := range fields.NumField() {
		name := fields.Type().Field(i).Name
		if ts, ok := fields.Field(i).Interface().(*time.Time); ok && name != "QueuedTS" && !ts.Equal(at(0)) {
			t.Errorf("%s is %s, and the store had it at %s", name, clock(*ts), clock(at(0)))
		}
	}
}

func TestExecutionsAreReadFromTheirFiles(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, lines ...string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("n1", "S 1700000000.000100 x n1 3 77", "S 1700000000.500000 y n1 4 78", "E 1700000000.250000 x n1 3 77 0")
	got, err := ReadExecutions(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	want := []Execution{
		{"x", "n1", 3, time.Unix(1700000000, 100_000), ptr(time.Unix(1700000000, 250_000_000)), 0, false},
		{"y", "n1", 4, time.Unix(1700000000, 500_000_000), nil, 0, false},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for i, bad := range []string{"S 1 x n1 3 77", "E 1700000000.250000 x n1 3 77 0", "S 1700000000.000100 x"} {
		write("n1", bad)
		if got, err := ReadExecutions(filepath.Join(dir, "*")); err == nil {
			t.Error(fmt.Sprint(i), got)
		}
	}
}

func TestBatchesAreNumberedAndSizedPerGroupAndPass(t *testing.T) {
	run := Run{Stages: []Stage{
		{Name: "one", Pass: "main", PassNumber: 1, Batch: 5, Groups: []Group{{Key: "a", Batch: 2}, {Key: "b", Batch: 3}}},
		{Name: "two", Pass: "main", PassNumber: 1, Batch: 4},
		{Name: "one", Pass: "newcomers", PassNumber: 1, Batch: 1, Groups: []Group{{Key: "b", Batch: 1}}},
		{Name: "two", Pass: "newcomers", PassNumber: 1, Batch: 1},
		{Name: "two", Pass: "newcomers", PassNumber: 2, Batch: 1},
	}}
	for _, test := range []struct {
		stage string
		batch batch
		want  int
	}{
		{"one", batch{"main", 1, "b", 3}, 3},
		{"one", batch{"newcomers", 1, "b", 1}, 4},
		{"two", batch{"main", 1, "", 2}, 2},
		{"two", batch{"newcomers", 2, "", 1}, 6},
	} {
		if got := run.ordinal(test.stage, test.batch); got != test.want {
			t.Errorf("%+v of stage %s is number %d of its group instead of %d", test.batch, test.stage, got, test.want)
		}
	}
	node := Node{Stages: []NodeStage{
		{Name: "one", Pass: "main", PassNumber: 1, Batch: 2}, {Name: "one", Pass: "retry", PassNumber: 1, Batch: 1}, {Name: "one", Pass: "retry", PassNumber: 2, Batch: 3},
	}}
	for pass, want := range map[string]batch{"main": {"main", 1, "", 2}, "retry": {"retry", 2, "", 3}, "rollback": {"retry", 2, "", 3}} {
		if got := node.batchOf(&Action{Stage: "one", Pass: pass}); got != want {
			t.Errorf("an action of pass %s was for batch %+v instead of %+v", pass, got, want)
		}
	}
}

func TestOpenStatesAreNotFinalAndUnknownOnesAre(t *testing.T) {
	for state, final := range map[string]bool{"PENDING": false, "WAITING": false, "INCOMPLETE": true, "SOMETHING_NEW": true} {
		e := example()
		e.Nodes[3].State = state
		e.Runs[1].Counts = map[string]int{"FAILED": 1, state: 1}
		found := slices.ContainsFunc(Validate(*e), func(v Violation) bool { return v.Rule == "finished records" })
		if found == final {
			t.Errorf("a finished record in state %s: a violation is reported: %t", state, found)
		}
	}
}
