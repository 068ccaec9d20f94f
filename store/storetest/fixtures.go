package storetest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/replicante-io/playbooks/record"
	"github.com/replicante-io/playbooks/store"
)

// start is the created_ts of the suite's runs, unless a test sets another.
var start = record.Now()

func startPlus(d time.Duration) *time.Time {
	t := start.Add(d)
	return &t
}

func nodeName(i int) string { return fmt.Sprintf("node-%05d", i) }

// newRun is a run of n nodes as the first commit creates it, with two events.
func newRun(term int64, n int) record.Commit {
	id := uuid.NewString()
	commit := record.Commit{
		ID: uuid.NewString(),
		Run: record.Run{
			ID:        id,
			Cluster:   "orders",
			Playbook:  record.PlaybookCopy{Name: "restart", Revision: 3, Spec: record.Document{"stages": []any{map[string]any{"name": "one"}}}},
			Params:    record.Document{"grace": "30s"},
			State:     record.RunRunning,
			Term:      term,
			Stages:    []record.RunStage{{Name: "one", State: record.StagePending, Pass: record.PassMain}},
			Counts:    map[record.NodeState]int{record.NodePending: n},
			CreatedTS: start,
			UpdateTS:  start,
			Rev:       1,
		},
		Fence: true,
	}
	commit.Run.CommitID = commit.ID
	for i := range n {
		commit.Nodes = append(commit.Nodes, record.RunNode{
			RunID: id, Cluster: "orders", Node: nodeName(i), State: record.NodePending, Membership: record.MemberKnown,
			Stages:  []record.NodeStage{{Name: "one", Pass: record.PassMain, PassNumber: 1, State: record.NodeStagePending}},
			History: []record.NodeChange{{State: record.NodePending, TS: start}},
		})
	}
	addEvents(&commit, 2)
	return commit
}

// nextCommit is a commit to run that changes nothing.
func nextCommit(run record.Run) record.Commit {
	commit := record.Commit{ID: uuid.NewString(), After: run.CommitID, Run: clone(run)}
	commit.Run.Rev++
	commit.Run.CommitID = commit.ID
	return commit
}

// addEvents continues the run's sequence by n events.
func addEvents(commit *record.Commit, n int) {
	for range n {
		commit.Run.Seq++
		commit.Events = append(commit.Events, record.Event{
			RunID: commit.Run.ID, Seq: commit.Run.Seq, TS: start, Type: record.EventNodeState,
			Node: nodeName(int(commit.Run.Seq)), Stage: "one", Data: record.Document{"state": "RUNNING", "n": commit.Run.Seq},
		})
	}
}

// busyNode is a node record of about 1 KB, as they are in the middle of a run.
func busyNode(runID string, i int) record.RunNode {
	name := nodeName(i)
	healthy := true
	return record.RunNode{
		RunID: runID, Cluster: "orders", Node: name, State: record.NodeRunning, Membership: record.MemberKnown,
		Stages: []record.NodeStage{{Name: "one", Pass: record.PassMain, PassNumber: 1, Batch: 2, State: record.NodeStageReady, Step: 1, WasHealthy: &healthy}},
		Actions: []record.Action{{
			ID: record.ActionID(runID, name, "one", record.PassMain, "restart", 1), Stage: "one", Pass: record.PassMain, Step: "restart",
			Attempt: 1, Kind: "external.agent.replicante.io/restart", Args: record.Document{"grace": "30s", "n": int64(i)},
			AgentURL: "http://10.0.0.1:16018", JournalID: "7b0e4c6e-3a55-4d1b-8c6c-0d3c5d8d2c11", Term: 1, State: record.ActionDone,
			Payload: record.Document{"took": 1.5}, StdoutTail: strings.Repeat("output ", 30), StartTS: start, FinishTS: startPlus(time.Second),
			DeadlineTS: start.Add(time.Minute),
		}},
		History: []record.NodeChange{{State: record.NodePending, TS: start}, {State: record.NodeRunning, TS: start, Reason: "batch 2"}},
	}
}

// endUnsettled ends the run by a commit; an action of it is unsettled.
func endUnsettled(tb testing.TB, s store.Store, term int64, run record.Run, when time.Time) record.Run {
	tb.Helper()
	commit := nextCommit(run)
	commit.Run.State, commit.Run.EndTS, commit.Run.Unsettled = record.RunFailed, &when, 1
	addEvents(&commit, 1)
	must(tb, s.Commit(tb.Context(), term, commit))
	return commit.Run
}

// finish ends the run by a commit, with nothing unsettled.
func finish(tb testing.TB, s store.Store, term int64, run record.Run, when time.Time) record.Run {
	tb.Helper()
	commit := nextCommit(run)
	commit.Run.State = record.RunDone
	commit.Run.EndTS, commit.Run.FinishTS = &when, &when
	addEvents(&commit, 1)
	must(tb, s.Commit(tb.Context(), term, commit))
	return commit.Run
}

// create stores a new run of n nodes and returns it.
func create(tb testing.TB, s store.Store, term int64, n int) record.Run {
	tb.Helper()
	commit := newRun(term, n)
	must(tb, s.Create(tb.Context(), term, commit))
	return commit.Run
}

// readAll reads a run with all its node records and events.
func readAll(tb tester, s store.Store, runID string) (record.Run, []record.RunNode, []record.Event) {
	tb.Helper()
	ctx := tb.Context()
	run, err := s.Run(ctx, runID)
	must(tb, err)
	nodes, _, err := s.RunNodes(ctx, runID, nil, store.Page{})
	must(tb, err)
	events, err := s.Events(ctx, runID, 0, 0)
	must(tb, err)
	return run, nodes, events
}

// unchanged runs do, and fails if anything of the run is different afterwards.
func unchanged(tb testing.TB, s store.Store, runID string, do func()) {
	tb.Helper()
	run, nodes, events := readAll(tb, s, runID)
	do()
	run2, nodes2, events2 := readAll(tb, s, runID)
	same(tb, "run", run2, run)
	same(tb, "nodes", nodes2, nodes)
	same(tb, "events", events2, events)
}

// wantError fails unless err is want.
func wantError(tb testing.TB, what string, err, want error) {
	tb.Helper()
	if !errors.Is(err, want) {
		tb.Errorf("%s: got %v, want %v", what, err, want)
	}
}

// eventually repeats check until it is true. The slowest store takes a minute to expire a record.
func eventually(tb testing.TB, what string, check func() bool) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), 75*time.Second)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !check() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			tb.Fatalf("%s: not in time", what)
		}
	}
}
