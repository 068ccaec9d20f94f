package run

import (
	"cmp"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/replicante-io/playbooks/record"
)

// committed is a run as its last commit left it: what is shown while the store cannot be asked. What a plan has decided and
// is not stored is never in it. A node's record in it does not change, it is replaced.
type committed struct {
	mu      sync.Mutex
	run     record.Run
	nodes   []record.RunNode // by name
	waiting time.Time        // since when the next commit waits for the store; zero: none waits
	reason  error
}

func newCommitted(run record.Run, nodes []record.RunNode) *committed {
	return &committed{run: Snapshot(run), nodes: separateAll(nodes)}
}

// whole is the run and its node records, to be changed by a plan.
func (c *committed) whole() (record.Run, []record.RunNode) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return Snapshot(c.run), separateAll(c.nodes)
}

// take notes a commit that is stored.
func (c *committed) take(commit *record.Commit) {
	run := Snapshot(commit.Run)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.run, c.waiting, c.reason = run, time.Time{}, nil
	for i := range commit.Nodes {
		at, found := slices.BinarySearchFunc(c.nodes, commit.Nodes[i].Node, byName)
		if !found {
			c.nodes = slices.Insert(c.nodes, at, record.RunNode{})
		}
		c.nodes[at] = separate(commit.Nodes[i])
	}
}

// delayed notes that the next commit is not stored yet.
func (c *committed) delayed(reason error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.waiting.IsZero() {
		c.waiting = time.Now()
	}
	c.reason = reason
}

// Committed is the run as its last commit left it.
func (r *Runner) Committed() record.Run {
	r.committed.mu.Lock()
	defer r.committed.mu.Unlock()
	return Snapshot(r.committed.run)
}

// Counted is what metrics count of that run: its state, and how many of its actions are unsettled.
func (r *Runner) Counted() (state record.RunState, unsettled int) {
	r.committed.mu.Lock()
	defer r.committed.mu.Unlock()
	return r.committed.run.State, r.committed.run.Unsettled
}

// Nodes are the run's node records as its last commit left them, by name. They must not be changed.
func (r *Runner) Nodes() []record.RunNode {
	r.committed.mu.Lock()
	defer r.committed.mu.Unlock()
	return slices.Clone(r.committed.nodes)
}

// Unsettled reports whether an action of the run may still be running on a node although its end is not known, as the last commit
// left it.
func (r *Runner) Unsettled(node string) bool {
	r.committed.mu.Lock()
	defer r.committed.mu.Unlock()
	at, found := slices.BinarySearchFunc(r.committed.nodes, node, byName)
	return found && r.committed.nodes[at].Unsettled()
}

// Delayed is since when the run's next commit waits for the store, zero when none does, and why.
func (r *Runner) Delayed() (since time.Time, reason error) {
	r.committed.mu.Lock()
	defer r.committed.mu.Unlock()
	return r.committed.waiting, r.committed.reason
}

// Snapshot is a copy of what a plan continues to change.
func Snapshot(run record.Run) record.Run {
	run.Counts = maps.Clone(run.Counts)
	run.Stages = slices.Clone(run.Stages)
	for i := range run.Stages {
		run.Stages[i].Counts = maps.Clone(run.Stages[i].Counts)
		run.Stages[i].Groups = slices.Clone(run.Stages[i].Groups)
	}
	return run
}

func separateAll(nodes []record.RunNode) []record.RunNode {
	out := make([]record.RunNode, len(nodes))
	for i := range nodes {
		out[i] = separate(nodes[i])
	}
	return out
}

// separate is a record that shares nothing with the plan that the plan changes: a history is only added to.
func separate(n record.RunNode) record.RunNode {
	n.Stages, n.Actions, n.History = slices.Clone(n.Stages), slices.Clone(n.Actions), slices.Clip(n.History)
	return n
}

func byName(n record.RunNode, name string) int { return cmp.Compare(n.Node, name) }
