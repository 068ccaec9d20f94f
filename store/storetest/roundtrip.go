package storetest

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/replicante-io/playbooks/record"
	"github.com/replicante-io/playbooks/store"
)

// full is the creation of a run with a node and an event, all of whose fields are filled.
func full(term int64) record.Commit {
	commit := record.Commit{
		Run: Filled[record.Run](), Nodes: []record.RunNode{Filled[record.RunNode]()}, Events: []record.Event{Filled[record.Event]()},
		Idempotency: []record.IdempotencyRecord{Filled[record.IdempotencyRecord]()},
	}
	identify(&commit, term)
	return commit
}

// identify sets the fields of a filled creation by which its records are found and checked.
func identify(commit *record.Commit, term int64) {
	bare := newRun(term, 0)
	commit.ID = bare.ID
	run := &commit.Run
	run.ID, run.CommitID, run.Term, run.Rev, run.Seq, run.Stamped = bare.Run.ID, bare.ID, term, 1, int64(len(commit.Events)), false
	for i := range commit.Nodes {
		node := &commit.Nodes[i]
		node.RunID, node.Cluster, node.Node = run.ID, run.Cluster, nodeName(i)
	}
	for i := range commit.Events {
		commit.Events[i].RunID, commit.Events[i].Seq = run.ID, int64(i)+1
	}
	for i := range commit.Idempotency {
		key := &commit.Idempotency[i]
		key.Key, key.RunID = run.ID+nodeName(i), run.ID
	}
}

// checkRoundTrip creates a run with filled records, and reads everything back in every way.
func checkRoundTrip(tb tester, s store.Store, term int64, want record.Commit) {
	tb.Helper()
	ctx := tb.Context()
	must(tb, s.Create(ctx, term, want))
	run, nodes, events := readAll(tb, s, want.Run.ID)
	same(tb, "run", run, want.Run)
	same(tb, "nodes", nodes, want.Nodes)
	same(tb, "events", events, want.Events)
	for _, want := range want.Nodes {
		node, err := s.RunNode(ctx, run.ID, want.Node)
		must(tb, err)
		same(tb, "node", node, want)
	}
	for _, want := range want.Idempotency {
		recorded, err := s.IdempotencyRecord(ctx, want.Key, want.Digest)
		must(tb, err)
		same(tb, "idempotency record", recorded, want)
	}

	head := want.Run
	head.Playbook.Spec = nil
	runs, _, err := s.Runs(ctx, store.RunFilter{}, store.Page{})
	must(tb, err)
	openRuns, err := s.OpenRuns(ctx)
	must(tb, err)
	for what, list := range map[string][]record.Run{"runs": runs, "open runs": openRuns} {
		list = slices.DeleteFunc(list, func(listed record.Run) bool { return listed.ID != run.ID })
		same(tb, "head of the run in "+what, list, []record.Run{head})
	}

	claimed, nodes, err := s.Claim(ctx, term, run.ID)
	must(tb, err)
	want.Run.Rev++
	same(tb, "claimed run", claimed, want.Run)
	same(tb, "claimed nodes", nodes, want.Nodes)
}

// checkCommit commits to a run what next has, and reads it back.
func checkCommit(tb tester, s store.Store, term int64, next record.Commit) {
	tb.Helper()
	must(tb, s.Commit(tb.Context(), term, next))
	run, nodes, _ := readAll(tb, s, next.Run.ID)
	same(tb, "committed run", run, next.Run)
	same(tb, "committed nodes", nodes, next.Nodes)
}

func everyFieldSurvives(t *testing.T, backend Backend) {
	s := open(t, backend)
	ctx := t.Context()
	term := beginTerm(t, s)
	want := full(term)
	checkRoundTrip(t, s, term, want)
	claimed, nodes, err := s.Claim(ctx, term, want.Run.ID)
	must(t, err)
	if claimed.CreatedTS.Location() != time.UTC || nodes[0].FinishTS.Location() != time.UTC {
		t.Error("times are not in UTC")
	}
	next := nextCommit(claimed)
	next.Nodes = nodes
	checkCommit(t, s, term, next)

	node := Filled[record.Node]()
	must(t, s.SaveNodes(ctx, term, []record.Node{node}))
	got, err := s.Node(ctx, node.Key())
	must(t, err)
	same(t, "node", got, node)
}

func randomValuesSurvive(t *testing.T, backend Backend) {
	s := open(t, backend)
	term := beginTerm(t, s)
	checkFor(t, 3*time.Second, func(t *rapid.T) {
		first := record.Commit{
			Run: drawn[record.Run](t), Nodes: drawn[[]record.RunNode](t), Events: drawn[[]record.Event](t),
			Idempotency: drawn[[]record.IdempotencyRecord](t),
		}
		identify(&first, term)
		checkRoundTrip(t, s, term, first)

		claimed, _, err := s.Claim(t.Context(), term, first.Run.ID)
		must(t, err)
		next := nextCommit(claimed)
		next.Run, next.Nodes = drawn[record.Run](t), make([]record.RunNode, len(first.Nodes))
		store.KeepImmutable(&next.Run, &claimed)
		next.Run.Term, next.Run.Rev, next.Run.Seq, next.Run.CommitID, next.Run.Stamped = term, claimed.Rev+1, claimed.Seq, next.ID, false
		for i, node := range first.Nodes {
			next.Nodes[i] = drawn[record.RunNode](t)
			next.Nodes[i].RunID, next.Nodes[i].Cluster, next.Nodes[i].Node = node.RunID, node.Cluster, node.Node
		}
		if next.Run.FinishTS == nil && first.Run.FinishTS != nil { // reopened
			for i := range next.Nodes {
				next.Nodes[i].FinishTS = nil
			}
		}
		checkCommit(t, s, term, next)

		node := drawn[record.Node](t)
		node.ClusterID, node.NodeID = "cluster", first.Run.ID
		must(t, s.SaveNodes(t.Context(), term, []record.Node{node}))
		got, err := s.Node(t.Context(), node.Key())
		must(t, err)
		same(t, "node", got, node)
	})
}

func emptyFieldsAreAbsent(t *testing.T, backend Backend) {
	s := open(t, backend)
	ctx := t.Context()
	term := beginTerm(t, s)
	first := full(term)
	must(t, s.Create(ctx, term, first))
	commit := nextCommit(first.Run)
	was := commit.Run
	commit.Run = record.Run{
		ID: was.ID, Cluster: was.Cluster, Playbook: was.Playbook, Params: was.Params, Where: was.Where, Nodes: was.Nodes, OverrideFreeze: was.OverrideFreeze, Concurrency: was.Concurrency, Reason: was.Reason,
		RequestedBy: was.RequestedBy, IdempotencyKey: was.IdempotencyKey, CreatedTS: was.CreatedTS, State: record.RunPending,
		Term: term, Rev: 2, Seq: was.Seq, CommitID: commit.ID, UpdateTS: start, Stages: []record.RunStage{{Name: "one", State: record.StagePending}},
	}
	node := first.Nodes[0]
	commit.Nodes = []record.RunNode{{
		RunID: was.ID, Cluster: was.Cluster, Node: node.Node, State: record.NodePending, Membership: record.MemberKnown,
		Stages: []record.NodeStage{{Name: "one"}}, Actions: []record.Action{{ID: "a", StartTS: start, DeadlineTS: start}},
	}}
	must(t, s.Commit(ctx, term, commit))
	run, nodes, _ := readAll(t, s, was.ID)
	same(t, "run", run, commit.Run)
	same(t, "nodes", nodes, commit.Nodes)

	saved := Filled[record.Node]()
	must(t, s.SaveNodes(ctx, term, []record.Node{saved}))
	saved = record.Node{NodeID: saved.NodeID, ClusterID: saved.ClusterID, AgentURL: "x", Status: record.StatusUnknown}
	must(t, s.SaveNodes(ctx, term, []record.Node{saved}))
	got, err := s.Node(ctx, saved.Key())
	must(t, err)
	same(t, "node", got, saved)
}

func nothingIsShared(t *testing.T, backend Backend) {
	s := open(t, backend)
	ctx := t.Context()
	term := beginTerm(t, s)
	given := full(term)
	want := clone(given)
	must(t, s.Create(ctx, term, given))
	spoil := func(run record.Run, node record.RunNode, event record.Event) {
		run.Playbook.Spec["n"], run.Params["n"], run.Stages[0].Name, run.Error.Code = "x", "x", "x", "x"
		run.Counts["x"] = 1
		*run.FinishTS = start
		node.Actions[0].Args["nested"].(map[string]any)["list"].([]any)[1] = "x"
		node.Stages[0].Name, *node.Stages[0].HealthyTS = "x", start
		event.Data["n"] = "x"
	}
	spoil(given.Run, given.Nodes[0], given.Events[0])
	for range 2 {
		run, nodes, events := readAll(t, s, want.Run.ID)
		same(t, "run", run, want.Run)
		same(t, "nodes", nodes, want.Nodes)
		same(t, "events", events, want.Events)
		spoil(run, nodes[0], events[0])
	}
	claimed, nodes, err := s.Claim(ctx, term, want.Run.ID)
	must(t, err)
	spoil(claimed, nodes[0], Filled[record.Event]())
	_, nodes, _ = readAll(t, s, want.Run.ID)
	same(t, "nodes after a claim", nodes, want.Nodes)
}

func playbookSurvives(t *testing.T, backend Backend) {
	s := open(t, backend)
	want := Filled[record.Playbook]()
	applied := apply(t, s, want)
	want.Revision = 1
	same(t, "applied", applied, []record.Playbook{want})
	got, err := s.Playbook(t.Context(), want.Name, 0)
	must(t, err)
	same(t, "playbook", got, want)
}
