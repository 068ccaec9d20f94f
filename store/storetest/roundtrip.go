package storetest

import (
	"math"
	"reflect"
	"testing"
	"time"

	"github.com/replicante-io/playbooks/record"
	"github.com/replicante-io/playbooks/store"
)

// document holds what documents may hold: whole numbers stay whole, others do not become so, and any name is a key.
func document() record.Document {
	values := map[string]any{
		"null": nil, "true": true, "false": false, "empty": "", "text": "plain", "unicode": "naïve 日本 \U0001f600 \u0000 <&>\"\\\n",
		"one": int64(1), "negative": int64(-7), "largest": int64(math.MaxInt64), "smallest": int64(math.MinInt64),
		"half": 0.5, "whole": 3.0, "large": 1e300, "tiny": 5e-324, "precise": 0.1, "exact": float64(1 << 60),
		"list": []any{nil, int64(1), 1.5, "x", []any{}, map[string]any{"deep": []any{true}}}, "none": []any{}, "nothing": map[string]any{},
		"with.dots.in": int64(1), "$dollar": int64(2), "$set": map[string]any{"$inc": "x"}, "a.$.b": true, "": "no name", "ключ": "value",
		"_id": int64(9), "2026-01-02T03:04:05Z": "2026-01-02T03:04:05Z",
	}
	return record.Document{"nested": values, "with.dots": []any{values}, "$dollar": values, "whole": 2.0, "n": int64(2)}
}

// fill sets every field below value to something that is not zero, and different from the others of its kind.
func fill(value reflect.Value, n *int) {
	*n++
	switch value.Type() {
	case timeType:
		value.Set(reflect.ValueOf(start.Add(time.Duration(*n) * time.Millisecond)))
		return
	case documentType:
		value.Set(reflect.ValueOf(document()))
		return
	}
	switch value.Kind() {
	case reflect.String:
		value.SetString("text " + string(rune('a'+*n%26)))
	case reflect.Bool:
		value.SetBool(true)
	case reflect.Int, reflect.Int64:
		value.SetInt(int64(*n))
	case reflect.Pointer:
		value.Set(reflect.New(value.Type().Elem()))
		fill(value.Elem(), n)
	case reflect.Slice:
		value.Set(reflect.MakeSlice(value.Type(), 2, 2))
		for i := range 2 {
			fill(value.Index(i), n)
		}
	case reflect.Map:
		value.Set(reflect.MakeMap(value.Type()))
		for range 2 {
			key, item := reflect.New(value.Type().Key()).Elem(), reflect.New(value.Type().Elem()).Elem()
			fill(key, n)
			fill(item, n)
			value.SetMapIndex(key, item)
		}
	case reflect.Struct:
		for i := range value.NumField() {
			fill(value.Field(i), n)
		}
	default:
		panic("cannot fill a " + value.Type().String())
	}
}

func filled[T any]() T {
	var value T
	n := 0
	fill(reflect.ValueOf(&value).Elem(), &n)
	return value
}

// full is a run with a node and an event all of whose fields are set, but for those that the store sets.
func full(term int64) record.Commit {
	bare := newRun(term, 0)
	commit := record.Commit{ID: bare.ID, Run: filled[record.Run](), Nodes: []record.RunNode{filled[record.RunNode]()}, Events: []record.Event{filled[record.Event]()}}
	commit.Run.ID, commit.Run.CommitID, commit.Run.Term, commit.Run.Rev, commit.Run.Seq = bare.Run.ID, bare.ID, term, 1, 1
	commit.Run.Stamped = false
	commit.Nodes[0].RunID, commit.Nodes[0].Cluster = bare.Run.ID, commit.Run.Cluster
	commit.Events[0].RunID, commit.Events[0].Seq = bare.Run.ID, 1
	return commit
}

func everyFieldComesBack(t *testing.T, backend Backend) {
	s := open(t, backend)
	ctx := t.Context()
	term := lead(t, s)
	want := full(term)
	want.Idempotency = []record.IdempotencyRecord{filled[record.IdempotencyRecord]()}
	must(t, s.Create(ctx, term, want))

	run, nodes, events := readBack(t, s, want.Run.ID)
	same(t, "run", run, want.Run)
	same(t, "nodes", nodes, want.Nodes)
	same(t, "events", events, want.Events)
	if run.CreatedTS.Location() != time.UTC || nodes[0].FinishTS.Location() != time.UTC || events[0].TS.Location() != time.UTC {
		t.Error("times come back in another zone than UTC")
	}
	node, err := s.RunNode(ctx, run.ID, want.Nodes[0].Node)
	must(t, err)
	same(t, "node", node, want.Nodes[0])
	effect, err := s.IdempotencyRecord(ctx, want.Idempotency[0].Key, want.Idempotency[0].Digest)
	must(t, err)
	same(t, "effect", effect, want.Idempotency[0])

	bare := want.Run
	bare.Playbook.Spec = nil
	page, _, err := s.Runs(ctx, store.RunFilter{}, store.Page{})
	must(t, err)
	same(t, "head of the run", page, []record.Run{bare})
	openRuns, err := s.OpenRuns(ctx)
	must(t, err)
	same(t, "open runs", openRuns, []record.Run{bare})

	claimed, nodes, err := s.Claim(ctx, term, run.ID)
	must(t, err)
	want.Run.Rev++
	same(t, "claimed run", claimed, want.Run)
	same(t, "claimed nodes", nodes, want.Nodes)
	commit := after(claimed)
	commit.Nodes = want.Nodes
	must(t, s.Commit(ctx, term, commit))
	run, nodes, _ = readBack(t, s, run.ID)
	same(t, "committed run", run, commit.Run)
	same(t, "committed nodes", nodes, want.Nodes)

	known := filled[record.Node]()
	must(t, s.SaveNodes(ctx, term, []record.Node{known}))
	got, err := s.Node(ctx, known.Key())
	must(t, err)
	same(t, "known node", got, known)
}

func emptyFieldsAreAbsent(t *testing.T, backend Backend) {
	s := open(t, backend)
	ctx := t.Context()
	term := lead(t, s)
	first := full(term)
	must(t, s.Create(ctx, term, first))
	commit := after(first.Run)
	was := commit.Run
	commit.Run = record.Run{
		ID: was.ID, Cluster: was.Cluster, Playbook: was.Playbook, Params: was.Params, Concurrency: was.Concurrency, Reason: was.Reason,
		RequestedBy: was.RequestedBy, IdempotencyKey: was.IdempotencyKey, CreatedTS: was.CreatedTS, State: record.RunPending,
		Term: term, Rev: 2, Seq: was.Seq, CommitID: commit.ID, UpdateTS: start, Stages: []record.RunStage{{Name: "one", State: record.StagePending}},
	}
	node := first.Nodes[0]
	commit.Nodes = []record.RunNode{{
		RunID: was.ID, Cluster: was.Cluster, Node: node.Node, State: record.NodePending, Membership: record.MemberKnown,
		Stages: []record.NodeStage{{Name: "one"}}, Actions: []record.Action{{ID: "a", StartTS: start, DeadlineTS: start}},
	}}
	must(t, s.Commit(ctx, term, commit))
	run, nodes, _ := readBack(t, s, was.ID)
	same(t, "run", run, commit.Run)
	same(t, "nodes", nodes, commit.Nodes)

	known := filled[record.Node]()
	must(t, s.SaveNodes(ctx, term, []record.Node{known}))
	known = record.Node{NodeID: known.NodeID, ClusterID: known.ClusterID, AgentURL: "x", Status: record.StatusUnknown}
	must(t, s.SaveNodes(ctx, term, []record.Node{known}))
	got, err := s.Node(ctx, known.Key())
	must(t, err)
	same(t, "known node", got, known)
}

func nothingIsShared(t *testing.T, backend Backend) {
	s := open(t, backend)
	ctx := t.Context()
	term := lead(t, s)
	given := full(term)
	want := clone(given)
	must(t, s.Create(ctx, term, given))
	spoil := func(run record.Run, node record.RunNode, event record.Event) {
		run.Playbook.Spec["n"], run.Params["n"], run.Stages[0].Name, run.Error.Code = "x", "x", "x", "x"
		run.Counts["x"] = 1
		*run.FinishTS = start
		node.Actions[0].Args["nested"].(map[string]any)["list"].([]any)[1] = "x"
		node.Stages[0].Name, *node.Stages[0].NextTS = "x", start
		event.Data["n"] = "x"
	}
	spoil(given.Run, given.Nodes[0], given.Events[0])
	for range 2 {
		run, nodes, events := readBack(t, s, want.Run.ID)
		same(t, "run", run, want.Run)
		same(t, "nodes", nodes, want.Nodes)
		same(t, "events", events, want.Events)
		spoil(run, nodes[0], events[0])
	}
	claimed, nodes, err := s.Claim(ctx, term, want.Run.ID)
	must(t, err)
	spoil(claimed, nodes[0], filled[record.Event]())
	_, nodes, _ = readBack(t, s, want.Run.ID)
	same(t, "nodes after a claim", nodes, want.Nodes)
}

func playbookComesBack(t *testing.T, backend Backend) {
	s := open(t, backend)
	want := filled[record.Playbook]()
	applied, err := s.Apply(t.Context(), []record.Playbook{want}, nil, nil)
	must(t, err)
	want.Revision = 1
	same(t, "applied", applied, []record.Playbook{want})
	got, err := s.Playbook(t.Context(), want.Name, 0)
	must(t, err)
	same(t, "playbook", got, want)
}
