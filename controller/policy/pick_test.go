package policy_test

import (
	"testing"
	"time"

	"github.com/replicante-io/playbooks/controller/policy"
	"github.com/replicante-io/playbooks/playbook"
	"github.com/replicante-io/playbooks/record"
)

// lastIn is the node's last entry in a stage by which it took part in it, or waits to; nil for none.
func lastIn(n record.RunNode, stage string) *record.NodeStage {
	for i := len(n.Stages) - 1; i >= 0; i-- {
		if e := &n.Stages[i]; e.Name == stage && e.State != record.NodeStageSkipped && e.State != record.NodeStageNotReached {
			if e.Pass == record.PassRollback { // what it did there is undone
				return nil
			}
			return e
		}
	}
	return nil
}

// checkPicks judges a commit by the records of the nodes before and after it: no batch takes more than a stage may still pick, a stage ends
// neither too early nor too late, and what it leaves is untouched.
func (w *world) checkPicks(before record.Run, changed []record.RunNode) {
	w.t.Helper()
	for i := range w.spec.Stages {
		spec := &w.spec.Stages[i]
		if spec.Pick == nil {
			continue
		}
		done, working, entered := 0, 0, false
		for name, n := range committedNodes(w.nodes, record.Commit{Nodes: changed}) {
			old, e := lastIn(w.nodes[name], spec.Name), lastIn(n, spec.Name)
			done += one(e != nil && e.State == record.NodeStageDone)
			working += one(e != nil && e.State.InBatch())
			entered = entered || e != nil && e.State.InBatch() && (old == nil || !old.State.InBatch())
		}
		if entered && done+working > spec.Pick.Count {
			w.t.Fatalf("stage %s picks %d, and %d nodes are done with it and %d at work\n%s", spec.Name, spec.Pick.Count, done, working, w.story())
		}
		w.checkPickStage(spec, before, changed, done)
	}
}

func one(b bool) int {
	if b {
		return 1
	}
	return 0
}

// checkPickStage judges how the stage ends, if it does by this commit.
func (w *world) checkPickStage(spec *playbook.Stage, before record.Run, changed []record.RunNode, done int) {
	w.t.Helper()
	for _, st := range w.run.Stages {
		was := record.StagePending
		for _, old := range before.Stages {
			if old.Name == st.Name && old.Pass == st.Pass && old.PassNumber == st.PassNumber {
				was = old.State
			}
		}
		if st.Name != spec.Name || st.State != record.StageDone || was == record.StageDone {
			continue
		}
		after := committedNodes(w.nodes, record.Commit{Nodes: changed})
		entries, pending := 0, 0
		for _, n := range after {
			for _, e := range n.Stages {
				if e.Name == st.Name && e.Pass == st.Pass && e.PassNumber == st.PassNumber {
					entries++
					pending += one(e.State == record.NodeStagePending)
				}
			}
			for _, a := range n.Actions {
				if a.Stage == spec.Name && lastIn(n, spec.Name) == nil && !hasEntry(n, spec.Name) {
					w.t.Fatalf("%s has an action of stage %s, and no entry", n.Node, spec.Name)
				}
			}
		}
		switch {
		case entries != st.Total || pending > 0:
			w.t.Fatalf("stage %s is DONE with %d nodes; %d have an entry, of which %d are PENDING\n%s", spec.Name, st.Total, entries, pending, w.story())
		case st.Total > 0 && done < spec.Pick.AtLeast:
			w.t.Fatalf("stage %s is DONE, and has picked %d nodes of at least %d\n%s", spec.Name, done, spec.Pick.AtLeast, w.story())
		}
		for _, n := range after { // its candidates have run out, if it picked fewer
			if e := lastIn(n, spec.Name); done < spec.Pick.Count && spec.Targets == nil && st.Pass == record.PassMain && e == nil && !n.Newcomer &&
				(n.State == record.NodePending || n.State == record.NodeWaiting) && !hasEntry(n, spec.Name) {
				w.t.Fatalf("stage %s is DONE, has picked %d nodes of %d, and %s was left\n%s", spec.Name, done, spec.Pick.Count, n.Node, w.story())
			}
		}
	}
}

func hasEntry(n record.RunNode, stage string) bool {
	for _, e := range n.Stages {
		if e.Name == stage {
			return true
		}
	}
	return false
}

// checkPicksAtRest checks that a stage which cannot pick enough nodes any longer does not go on, and how a run with failed nodes ends.
func (w *world) checkPicksAtRest() {
	w.t.Helper()
	if err := w.run.Error; w.run.State == record.RunFailed && err != nil && err.Code == record.CodePickTooFew && !w.resolved {
		var failed []record.RunStage
		for _, st := range w.run.Stages {
			if st.Error != nil && st.Error.Code == record.CodePickTooFew {
				failed = append(failed, st)
			}
		}
		if len(failed) == 0 {
			w.t.Fatalf("no stage failed because it picked too few\n%s", w.story())
		}
		if st := failed[len(failed)-1]; w.pickable(st) >= w.stageSpec(st.Name).Pick.AtLeast {
			w.t.Fatalf("stage %s failed, and could have picked %d nodes; %s\n%s", st.Name, w.pickable(st), err.Code, w.story())
		}
	}
	if w.run.State.Final() {
		if w.run.State == record.RunDone {
			for _, n := range w.nodes {
				if (n.State == record.NodeFailed || n.State == record.NodeUnknown) && !w.resolved && !w.wasReplaced(n) {
					w.t.Fatalf("the run is DONE and %s is %s\n%s", n.Node, n.State, w.story())
				}
			}
		}
		return
	}
	if w.run.State != record.RunRunning || w.run.Outcome != "" || len(w.run.PutBack) > 0 {
		return
	}
	for _, st := range w.run.Stages {
		if spec := w.stageSpec(st.Name); spec.Pick != nil && st.State == record.StageRunning && st.Total > 0 && w.pickable(st) < spec.Pick.AtLeast {
			w.t.Fatalf("stage %s goes on with %d nodes; it has to pick %d\n%s", st.Name, w.pickable(st), spec.Pick.AtLeast, w.story())
		}
	}
}

// pickable is how many nodes a stage can pick in all, those that it has picked before included.
func (w *world) pickable(st record.RunStage) int {
	nodes := st.Total
	for _, n := range w.nodes {
		for _, e := range n.Stages {
			if e.Name == st.Name && e.Pass == st.Pass && e.PassNumber == st.PassNumber {
				nodes -= one(e.State == record.NodeStageFailed || e.State == record.NodeStageUnknown || e.State == record.NodeStageSkipped)
			}
		}
		e := lastIn(n, st.Name)
		nodes += one(e != nil && e.State == record.NodeStageDone && (e.Pass != st.Pass || e.PassNumber != st.PassNumber))
	}
	return nodes
}

// cannotPick reports whether the run ended because a stage could not pick enough nodes.
func (w *world) cannotPick() bool {
	return w.run.State.Final() && w.run.Error != nil && w.run.Error.Code == record.CodePickTooFew
}

// wasReplaced reports whether the node failed in a stage that picked as many nodes as it was to.
func (w *world) wasReplaced(n record.RunNode) bool {
	for i := len(n.Stages) - 1; i >= 0; i-- {
		e := n.Stages[i]
		if e.State != record.NodeStageFailed && e.State != record.NodeStageUnknown {
			continue
		}
		spec, done := w.stageSpec(e.Name), 0
		for _, other := range w.nodes {
			last := lastIn(other, e.Name)
			done += one(last != nil && last.State == record.NodeStageDone)
		}
		return spec.Pick != nil && done >= spec.Pick.Count
	}
	return false
}

const backup = `  stages:
    - name: backup
      targets: 'node.role == "SECONDARY"'
      order_by: 'node.attributes.lag'
      pick: 1
      max_failures: 1
      health: none
      steps: [{name: backup, action: x/backup}]
    - name: report
      targets: 'node.role == "SECONDARY"'
      batch: "100%"
      health: none
      steps: [{name: report, action: x/report}]
`

// lags gives nodes a lag each; node-1 is the primary, and has none.
func (w *world) lags(lags map[string]int) {
	for name, n := range w.known {
		n.Role, n.Attributes = "SECONDARY", record.Document{"lag": int64(lags[name])}
		if name == "node-1" {
			n.Role = "PRIMARY"
		}
		w.known[name] = n
	}
	w.members(true)
}

func TestAPickThatFailsIsReplacedAndTheOthersAreLeftToLaterStages(t *testing.T) {
	w := newWorld(t, 4, backup)
	w.lags(map[string]int{"node-2": 7, "node-3": 1, "node-4": 3})
	w.apply(policy.Admit{})
	w.observe()
	w.observe()
	w.end("node-3", record.ActionFailed, "exit")
	w.lags(map[string]int{"node-2": 2, "node-3": 1, "node-4": 3})
	w.observe()
	w.end("node-2", record.ActionDone, "")
	if st := w.run.Stages[0]; st.State != record.StageDone || st.Total != 2 || st.Counts[record.NodeDone] != 1 || st.Counts[record.NodeFailed] != 1 || st.Batches != 2 {
		t.Errorf("%+v", st)
	}
	if n := w.nodes["node-4"]; len(n.Stages) != 0 || len(n.Actions) != 0 || n.State != record.NodePending {
		t.Errorf("%+v", n)
	}
	w.work()
	w.ended(record.RunDone)
	for name, state := range map[string]record.NodeState{"node-1": record.NodeSkipped, "node-2": record.NodeDone, "node-3": record.NodeFailed, "node-4": record.NodeDone} {
		w.want(name, state)
	}
}

func TestAStageThatCannotPickEnoughFails(t *testing.T) {
	for name, c := range map[string]struct {
		pick  string
		fail  int
		state record.RunState
		code  string
	}{
		"as many as there are":         {"3", 0, record.RunDone, ""},
		"more than there are":          {"4", 0, record.RunFailed, record.CodePickTooFew},
		"one too few is left":          {"3", 1, record.RunFailed, record.CodePickTooFew},
		"candidates run out":           {"{count: 3, at_least: 1}", 1, record.RunFailed, record.CodeNodesFailed},
		"candidates run out, and more": {"{count: 9, at_least: 3}", 0, record.RunDone, ""},
		"enough":                       {"{count: 2, at_least: 1}", 1, record.RunDone, ""},
		"too many fail":                {"1", 3, record.RunFailed, record.CodeMaxFailures},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 3, "  stages: [{name: a, pick: "+c.pick+", max_failures: 2, health: none, steps: [{name: one, action: x}]}]\n")
			w.apply(policy.Admit{})
			for failed := 0; len(w.orders) > 0; failed++ {
				for node := range w.orders {
					if failed < c.fail {
						w.end(node, record.ActionFailed, "exit")
					} else {
						w.end(node, record.ActionDone, "")
					}
				}
			}
			w.ended(c.state)
			if c.code != "" && w.run.Error.Code != c.code || c.code == "" && w.run.Error != nil {
				t.Errorf("%+v, want %q", w.run.Error, c.code)
			}
		})
	}
}

func TestARetriedPickWantsOnlyWhatIsMissing(t *testing.T) {
	w := newWorld(t, 4, `  stages: [{name: a, pick: 2, health: none, steps: [{name: one, action: x}]}, {name: b, health: none, batch: 4, steps: [{name: two, action: x}]}]
`)
	w.apply(policy.Admit{})
	w.end("node-1", record.ActionDone, "")
	w.end("node-2", record.ActionFailed, "exit")
	w.ended(record.RunFailed)
	w.retry()
	w.apply(policy.Admit{})
	w.end("node-2", record.ActionDone, "")
	w.work()
	w.ended(record.RunDone)
	for name, stages := range map[string]int{"node-1": 2, "node-2": 3, "node-3": 1, "node-4": 1} {
		if n := w.nodes[name]; n.State != record.NodeDone || len(n.Stages) != stages {
			t.Errorf("%s: %s, %+v", name, n.State, n.Stages)
		}
	}
}

func TestGroupsSideBySidePickNoMoreThanTheStage(t *testing.T) {
	w := newWorld(t, 6, `  stages: [{name: a, pick: 2, batch: 2, max_failures: 6, groups: {by: node.attributes.zone, at_once: "100%"}, health: none, steps: [{name: one, action: x}]}]
`)
	w.apply(policy.Admit{})
	w.observe()
	if len(w.orders) != 2 {
		t.Fatalf("%d nodes at work", len(w.orders))
	}
	for node := range w.orders {
		w.end(node, record.ActionFailed, "exit")
		break
	}
	if len(w.orders) != 2 {
		t.Fatalf("%d nodes at work after one has failed", len(w.orders))
	}
	w.work()
	w.ended(record.RunDone)
	if w.run.Counts[record.NodeSkipped] != 3 {
		t.Errorf("%v", w.run.Counts)
	}
}

func TestANodeThatIsLockedKeepsNoPickFromItsEnd(t *testing.T) {
	w := newWorld(t, 4, `  stages: [{name: a, pick: 1, groups: {by: node.attributes.zone, at_once: "100%"}, health: none, steps: [{name: one, action: x}]}]
`)
	w.others["node-3"] = policy.Holder{RunID: "run-2"} // zone a
	w.apply(policy.Admit{})
	w.observe()
	w.pass(time.Second)
	w.work()
	w.ended(record.RunDone)
	w.want("node-3", record.NodeSkipped)
}
