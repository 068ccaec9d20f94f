package policy_test

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/replicante-io/playbooks/controller/policy"
	"github.com/replicante-io/playbooks/record"
)

// retriable are the states that a retry takes back.
var retriable = map[record.NodeState]bool{record.NodeFailed: true, record.NodeUnknown: true, record.NodeNotReached: true, record.NodeIncomplete: true,
	record.NodeCancelled: true, record.NodeRemoved: true, record.NodeRolledBack: true, record.NodeRollbackFailed: true}

// retry has nodes begin again, all that can where none is named, and checks that a run that was reopened has no end.
func (w *world) retry(nodes ...string) {
	ended := w.run.State.Final()
	w.retried = true
	w.apply(policy.Command{Command: record.Command{Verb: record.VerbRetry, Nodes: nodes, Reason: "repaired"}, Actor: "op"})
	if w.rejected != nil || !ended {
		return
	}
	if w.run.State != record.RunPending || w.run.EndTS != nil || w.run.FinishTS != nil || w.run.QueuedTS == nil {
		w.t.Fatalf("after a retry the run is %s, end_ts %v, finish_ts %v", w.run.State, w.run.EndTS, w.run.FinishTS)
	}
	w.members(true)
}

// sinceRetry are the records of stages that share a budget: those since the last retry of the ended run.
func (w *world) sinceRetry() []record.RunStage {
	last := 0
	for _, st := range w.run.Stages {
		if st.Pass == record.PassRetry {
			last = max(last, st.PassNumber)
		}
	}
	at := slices.IndexFunc(w.run.Stages, func(st record.RunStage) bool { return st.Pass == record.PassRetry && st.PassNumber == last })
	return w.run.Stages[max(0, at):]
}

// TestRetriesLeadToTheEnd retries whatever is not done, after anything has happened, until the run is DONE: each step is done once on each node.
func TestRetriesLeadToTheEnd(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t, rapid.IntRange(1, 5).Draw(t, "nodes"), anySpec(t)).withCommits(rapid.SampledFrom([]int{0, 1, 2000}).Draw(t, "commit"))
		for name := range w.known {
			w.known[name] = healthy(w, name)
		}
		w.members(true)
		w.admit()
		for range rapid.IntRange(0, 30).Draw(t, "happenings") {
			happen(t, w)
		}
		for name := range w.known {
			w.known[name] = healthy(w, name)
			w.free(name)
		}
		w.members(true)
		w.approves = true
		for i := range 300 {
			w.admit()
			w.work()
			switch {
			case w.run.State == record.RunPaused:
				w.apply(command(record.VerbResume))
			case w.cannotPick() && i > 20:
				return // and it never can
			case w.run.State == record.RunFailed || w.run.State == record.RunCancelled:
				for name := range w.orders { // what is unsettled ends
					w.end(name, record.ActionDone, "")
				}
				w.retry()
				if w.rejected != nil {
					return // nothing is left that a retry is for
				}
			}
			if w.run.State == record.RunDone {
				w.doneOnce()
				return
			}
		}
		t.Fatalf("the run does not end: %s, waiting %+v\n%s", w.run.State, w.run.Waiting, w.story())
	})
}

// doneOnce checks that no step was done twice on a node by the passes that are not of newcomers, unless its stage was rolled back in between.
func (w *world) doneOnce() {
	for _, n := range w.nodes {
		done := map[string]bool{}
		for i, a := range n.Actions {
			if a.State != record.ActionDone || a.Pass == record.PassNewcomers || a.Pass == record.PassRollback || a.Pass == record.PassCleanup || n.Newcomer ||
				undoneLater(n, i) {
				continue
			}
			if key := a.Stage + "/" + a.Step; done[key] {
				w.t.Fatalf("%s has done %s twice", n.Node, key)
			} else {
				done[key] = true
			}
		}
	}
}

// undoneLater reports whether a rollback after the i-th action of a node was for its stage, or for one before it.
func undoneLater(n record.RunNode, i int) bool {
	at := slices.IndexFunc(n.Stages, func(e record.NodeStage) bool {
		return e.Name == n.Actions[i].Stage && e.Pass == n.Actions[i].Pass && e.PassNumber == n.Actions[i].PassNumber
	})
	return slices.ContainsFunc(n.Stages[at+1:], func(e record.NodeStage) bool {
		return e.Pass == record.PassRollback && e.State != record.NodeStageNotReached && e.State != record.NodeStageSkipped && e.Name <= n.Actions[i].Stage
	})
}
