package policy_test

import (
	"slices"

	"github.com/replicante-io/playbooks/playbook"
	"github.com/replicante-io/playbooks/record"
)

// afterOutcome reports whether a run is in a pass that runs although its outcome is decided.
func afterOutcome(run record.Run) bool {
	return run.Pass == record.PassRollback || run.Pass == record.PassCleanup
}

// movedAfterOutcome checks an action that a rollback or a cleanup starts on a node.
func (w *world) movedAfterOutcome(before record.Run, n record.RunNode, a record.Action) {
	w.t.Helper()
	if w.started[a.ID] {
		w.t.Fatalf("action %s is started again", a.ID)
	}
	if before.Kill && before.Pass == w.run.Pass {
		w.t.Fatalf("%s starts step %s of a %s that is killed", n.Node, a.Step, w.run.Pass)
	}
	spec := w.stageSpec(a.Stage)
	if a.Pass == record.PassCleanup != spec.Always || a.Pass == record.PassRollback && before.Outcome != record.RunFailed {
		w.t.Fatalf("%s starts step %s in pass %s (outcome %s)", n.Node, a.Step, a.Pass, before.Outcome)
	}
	if a.Pass == record.PassRollback {
		w.rollsBack(n, a)
	}
}

// rollsBack checks the start of a step of a rollback: its node was touched, and no node of a newer batch, or of a later stage, has still to be
// rolled back.
func (w *world) rollsBack(n record.RunNode, a record.Action) {
	w.t.Helper()
	mine := forwardOf(n, a.Stage)
	if mine == nil {
		w.t.Fatalf("%s is rolled back in stage %s, which has not touched it", n.Node, a.Stage)
	}
	for _, other := range w.nodes {
		if other.Node == n.Node || other.State == record.NodeRollbackFailed || other.State == record.NodeRolledBack || other.Unsettled() ||
			other.Membership == record.MemberRemoved {
			continue
		}
		theirs := forwardOf(other, a.Stage)
		if theirs == nil || mine.Pass != theirs.Pass || mine.PassNumber != theirs.PassNumber || mine.Batch == 0 || theirs.Batch <= mine.Batch {
			continue
		}
		if e := entryOf(other, a.Stage, record.PassRollback); e == nil || e.State == record.NodeStagePending || e.State.InBatch() {
			w.t.Fatalf("%s of batch %d is rolled back before %s of batch %d\n%s", n.Node, mine.Batch, other.Node, theirs.Batch, w.story())
		}
	}
}

// forwardOf is the entry by which a stage touched a node; nil when it did not.
func forwardOf(n record.RunNode, stage string) *record.NodeStage {
	if !slices.ContainsFunc(n.Actions, func(a record.Action) bool { return a.Stage == stage && a.Pass != record.PassRollback }) {
		return nil
	}
	var last *record.NodeStage
	for i := range n.Stages {
		if e := &n.Stages[i]; e.Name == stage && e.Pass != record.PassRollback {
			last = e
		}
	}
	return last
}

func entryOf(n record.RunNode, stage string, pass record.PassKind) *record.NodeStage {
	for i := range n.Stages {
		if e := &n.Stages[i]; e.Name == stage && e.Pass == pass {
			return e
		}
	}
	return nil
}

// checkRollback is what must hold of the rollback of a run that has ended: exactly the nodes that were touched are rolled back, or could not be.
func (w *world) checkRollback() {
	w.t.Helper()
	r := w.run.Rollback
	if r != nil && (r.State == record.RollbackPending && len(w.refused.Run) == 0 || r.State == record.RollbackRunning) {
		w.t.Fatalf("the run has ended with its rollback %s", r.State)
	}
	back, failed := 0, 0
	for _, n := range w.nodes {
		touched := false
		if r != nil && len(r.Stages) > 0 {
			touched = slices.ContainsFunc(r.Stages, func(stage string) bool { return forwardOf(n, stage) != nil })
		}
		if is := n.State == record.NodeRolledBack || n.State == record.NodeRollbackFailed; is != touched && !w.retried {
			w.t.Fatalf("%s is %s; touched by what is rolled back: %t (%+v)\n%s", n.Node, n.State, touched, r, w.story())
		}
		switch n.State {
		case record.NodeRolledBack:
			back++
		case record.NodeRollbackFailed:
			failed++
		}
		if n.Before != nil {
			w.t.Fatalf("the run has ended and %s was %s before", n.Node, n.Before.State)
		}
	}
	if r != nil && (!w.retried && (back != r.RolledBack || failed != r.Failed) || back < r.RolledBack || failed < r.Failed || r.State == record.RollbackDone && failed > 0) {
		w.t.Fatalf("the rollback counts %+v; %d nodes are rolled back, %d are not", r, back, failed)
	}
}

// checkCleanup is what must hold of the stages with always of a run that has ended: each ran exactly once for each node that is there, whatever happened,
// and once again with a retry.
func (w *world) checkCleanup() {
	w.t.Helper()
	killed := w.run.Kill && w.run.Pass == record.PassCleanup
	for _, spec := range w.spec.Stages {
		if !spec.Always || w.run.StartTS == nil || killed {
			continue
		}
		for _, n := range w.nodes {
			entries, ran := 0, map[int]int{}
			for _, e := range n.Stages {
				if e.Name == spec.Name {
					ran[e.PassNumber]++
					entries = max(entries, ran[e.PassNumber])
				}
			}
			out := n.Membership == record.MemberRemoved || w.unsettled[n.Node] || n.State == record.NodeRemoved || n.State == record.NodeSkipped ||
				n.Newcomer || w.resolved || spec.OnFailure != playbook.FailureContinue || spec.Targets != nil || n.GoneTS != nil
			if entries > 1 || entries == 0 && !out {
				w.t.Fatalf("stage %s ran %d times on %s, which is %s\n%s", spec.Name, entries, n.Node, n.State, w.story())
			}
		}
	}
}
