package controller

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"github.com/replicante-io/playbooks/record"
	"github.com/replicante-io/playbooks/store"
)

// landed is a run as its last commit left it: what is shown while the store cannot be asked. What a plan has decided and
// nobody has stored is never in it. A node's record in it does not change, it is replaced.
type landed struct {
	mu    sync.Mutex
	run   record.Run
	nodes []record.RunNode // by name
	stuck time.Time        // since when the next commit does not land; zero: none waits
	why   error
}

// newLanded takes over nodes, which are by name.
func newLanded(run *record.Run, nodes []record.RunNode) *landed {
	for i := range nodes {
		nodes[i] = apart(nodes[i])
	}
	return &landed{run: snapshot(*run), nodes: nodes}
}

// apart is a record that shares nothing with the plan that a plan changes: a history is only added to.
func apart(n record.RunNode) record.RunNode {
	n.Stages, n.Actions, n.History = slices.Clone(n.Stages), slices.Clone(n.Actions), slices.Clip(n.History)
	return n
}

func byName(n record.RunNode, name string) int { return cmp.Compare(n.Node, name) }

// take notes a commit that has landed.
func (l *landed) take(commit *record.Commit) {
	run := snapshot(commit.Run)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.run, l.stuck, l.why = run, time.Time{}, nil
	for i := range commit.Nodes {
		at, found := slices.BinarySearchFunc(l.nodes, commit.Nodes[i].Node, byName)
		if !found {
			l.nodes = slices.Insert(l.nodes, at, record.RunNode{})
		}
		l.nodes[at] = apart(commit.Nodes[i])
	}
}

// waits notes that the next commit did not land yet.
func (l *landed) waits(why error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stuck.IsZero() {
		l.stuck = time.Now()
	}
	l.why = why
}

// head is the run, and, while its next commit waits for the store, since when and why.
func (l *landed) head() (record.Run, time.Time, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return snapshot(l.run), l.stuck, l.why
}

func (l *landed) state() record.RunState {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.run.State
}

func (l *landed) records() []record.RunNode {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.nodes)
}

// Recall is a run of this leader as its last commit left it. waits is true while the store keeps it waiting, which the
// run's WaitsFor then says. It asks nobody.
func (c *Controller) Recall(runID string) (run record.Run, waits, ok bool) {
	r := c.owner(runID)
	if r == nil {
		return record.Run{}, false, false
	}
	run, waits = c.recall(r)
	return run, waits, true
}

// owner is the runner of a run; nil if there is none, or this controller does not lead.
func (c *Controller) owner(runID string) *runner {
	l, err := c.leading()
	if err != nil {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.runners[runID]
}

func (c *Controller) recall(r *runner) (record.Run, bool) {
	run, since, why := r.landed.head()
	if since.IsZero() && c.config.Away != nil {
		since, why = c.config.Away()
	}
	if since.IsZero() {
		return run, false
	}
	if run.FinishTS == nil {
		run.WaitsFor = store.OutageMessage(since, why)
	}
	return run, true
}

// RecallNodes is the node records of a run, as Recall is of the run, by name.
func (c *Controller) RecallNodes(runID string) ([]record.RunNode, bool) {
	r := c.owner(runID)
	if r == nil {
		return nil, false
	}
	return r.landed.records(), true
}

// RecallRuns is what Recall knows of all unfinished runs, without their playbooks' specs, newest first.
func (c *Controller) RecallRuns() []record.Run {
	l, err := c.leading()
	if err != nil {
		return nil
	}
	l.mu.Lock()
	runners := make([]*runner, 0, len(l.runners))
	for _, r := range l.runners {
		runners = append(runners, r)
	}
	l.mu.Unlock()
	var runs []record.Run
	for _, r := range runners {
		if run, _ := c.recall(r); run.FinishTS == nil {
			run.Playbook.Spec = nil
			runs = append(runs, run)
		}
	}
	slices.SortFunc(runs, func(a, b record.Run) int {
		return cmp.Or(b.CreatedTS.Compare(a.CreatedTS), cmp.Compare(b.ID, a.ID))
	})
	return runs
}

// Stuck is how many runs have a commit that the store does not take, and why the last of them says so.
func (c *Controller) Stuck() (runs int, why error) {
	l, err := c.leading()
	if err != nil {
		return 0, nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range l.runners {
		if _, since, because := r.landed.head(); !since.IsZero() {
			runs, why = runs+1, because
		}
	}
	return runs, why
}
