package cluster

import (
	"slices"
	"time"
)

// lock is a node that a run has for a batch, or as long as an action on it may still be running.
type lock struct {
	runID string
	// unsettled is true when the run has nothing more to do on the node, and only an action that may still be running holds it.
	unsettled bool
}

// waiter is a run that could not lock its nodes. Earlier ones come first: nobody takes a node that an earlier one wants. One that waits for
// fewer nodes to be out wants none before others.
type waiter struct {
	runID string
	nodes []string
	run   run
	// unsettled are nodes that an action of another run keeps from it. It has other nodes meanwhile, and is told when one of these is free.
	unsettled []string
}

// Holder is a run that has a node locked, or wants it before others. Unsettled is true when only an action that may still be running
// holds the node.
type Holder struct {
	RunID     string
	Unsettled bool
}

// Request asks for the nodes of a batch, in the order in which the batch prefers them: for all of them or, with a limit, for as many, from the
// first, as it allows.
type Request struct {
	Nodes []string
	Limit *Limit
}

// Answer is what came of a Request: the nodes that are locked, or why none is.
type Answer struct {
	Locked []string
	// Holders of the nodes that other runs have or want before it.
	Holders map[string]Holder
	// Out are the nodes that are out, where those are too many.
	Out []Out
	// Outdated is true when it was too long ago that nodes were observed: a newer observation may be within the limit.
	Outdated bool
}

// Lock locks nodes for a run. Where it does not, the run is told by Unlocked when it is worth another try.
func (c *Capacity) Lock(cluster, runID string, request Request, by run) Answer {
	c.mu.Lock()
	defer c.mu.Unlock()
	one := c.of(cluster)
	defer c.tidy(cluster)
	nodes := request.Nodes
	if request.Limit != nil {
		fit, outdated := one.fit(nodes, request.Limit)
		if fit == 0 {
			one.wait(&waiter{runID: runID, run: by}, nil)
			return Answer{Out: one.listOut(request.Limit), Outdated: outdated}
		}
		nodes = nodes[:fit]
	}
	if holders := one.holders(runID, nodes); len(holders) > 0 {
		one.wait(&waiter{runID: runID, nodes: nodes, run: by}, holders)
		return Answer{Holders: holders}
	}
	for _, node := range nodes {
		one.lock(node, runID)
	}
	if at := one.waiting(runID); at >= 0 {
		w := one.waiters[at]
		dropped := without(w.nodes, nodes)
		w.nodes = nil
		w.unsettled = slices.DeleteFunc(w.unsettled, func(node string) bool { return one.locks[node] == nil || one.locks[node].runID == runID })
		if len(w.unsettled) == 0 {
			one.waiters = slices.Delete(one.waiters, at, at+1)
		}
		tell(one.waiters[at:], dropped)
	}
	return Answer{Locked: nodes}
}

// waiting is the place of a run among those that wait; -1 where it does not.
func (one *capacity) waiting(runID string) int {
	return slices.IndexFunc(one.waiters, func(w *waiter) bool { return w.runID == runID })
}

// without are the nodes that are not among others.
func without(nodes, others []string) []string {
	return slices.DeleteFunc(slices.Clone(nodes), func(node string) bool { return slices.Contains(others, node) })
}

// holders are the other runs that have nodes locked, or want them before this one.
func (one *capacity) holders(runID string, nodes []string) map[string]Holder {
	holders := map[string]Holder{}
	for _, w := range one.waiters {
		if w.runID == runID {
			break
		}
		for _, node := range w.nodes {
			if one.locks[node] == nil && slices.Contains(nodes, node) {
				holders[node] = Holder{RunID: w.runID}
			}
		}
	}
	for _, node := range nodes {
		if held := one.locks[node]; held != nil && held.runID != runID {
			holders[node] = Holder{held.runID, held.unsettled}
		}
	}
	return holders
}

// wait keeps the run's place among those that wait. One that is kept by unsettled actions alone has none: it can wait for so long
// that it must not keep others.
func (one *capacity) wait(w *waiter, holders map[string]Holder) {
	at := one.waiting(w.runID)
	if at < 0 {
		one.waiters = append(one.waiters, w)
		at = len(one.waiters) - 1
	}
	before := one.waiters[at].nodes
	w.unsettled = one.waiters[at].unsettled
	one.waiters[at] = w
	busy := false
	for node, holder := range holders {
		if !holder.Unsettled {
			busy = true
		} else if !slices.Contains(w.unsettled, node) {
			w.unsettled = append(w.unsettled, node)
		}
	}
	if !busy {
		w.nodes = nil
	}
	tell(one.waiters[at+1:], without(before, w.nodes)) // it wants them no longer
}

func (one *capacity) lock(node, runID string) {
	if one.locks[node] == nil {
		one.locks[node] = &lock{runID: runID}
	}
}

// Unlock gives nodes back, and tells those who wait for them.
func (c *Capacity) Unlock(cluster, runID string, nodes []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	one := c.of(cluster)
	for _, node := range nodes {
		one.unlock(node, runID, c.clock.Now())
	}
	c.tidy(cluster)
}

func (one *capacity) unlock(node, runID string, now time.Time) {
	held := one.locks[node]
	if held == nil || held.runID != runID {
		return
	}
	delete(one.locks, node)
	one.freed[node] = now
	tell(one.waiters, []string{node})
}

// tell tells those who wait, in their order, that nodes are worth another try.
func tell(waiters []*waiter, nodes []string) {
	for _, w := range waiters {
		for _, node := range nodes {
			w.run.Unlocked(node)
		}
	}
}

// Withdraw takes back what a run waits for: it is paused or ends.
func (c *Capacity) Withdraw(cluster, runID string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	one := c.of(cluster)
	one.withdraw(runID)
	c.tidy(cluster)
}

func (one *capacity) withdraw(runID string) {
	at := one.waiting(runID)
	if at < 0 {
		return
	}
	nodes := one.waiters[at].nodes
	one.waiters = slices.Delete(one.waiters, at, at+1)
	tell(one.waiters[at:], nodes)
}

// RestoreLocks makes the nodes that a claimed run has locked exactly those that its records need. Unsettled are those of them that only
// an action holds which may still be running. What an earlier runner of the run waited for is taken back.
func (c *Capacity) RestoreLocks(cluster, runID string, busy, unsettled []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	one := c.of(cluster)
	one.withdraw(runID)
	keep := make(map[string]bool, len(busy))
	for _, node := range busy {
		keep[node] = true
		one.lock(node, runID)
	}
	for node, held := range one.locks {
		if held.runID == runID && !keep[node] {
			one.unlock(node, runID, c.clock.Now())
		}
	}
	one.markUnsettled(runID, unsettled)
	c.tidy(cluster)
}

// MarkUnsettled says that a run has nothing more to do on nodes, and only actions that may still be running hold them.
func (c *Capacity) MarkUnsettled(cluster, runID string, nodes []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.of(cluster).markUnsettled(runID, nodes)
	c.tidy(cluster)
}

func (one *capacity) markUnsettled(runID string, nodes []string) {
	for _, node := range nodes {
		if held := one.locks[node]; held != nil && held.runID == runID && !held.unsettled {
			held.unsettled = true
			tell(one.waiters, []string{node})
		}
	}
}

// lockedBy are the nodes that a run has locked. The caller holds mu.
func (one *capacity) lockedBy(runID string) []string {
	var nodes []string
	for node, held := range one.locks {
		if held.runID == runID {
			nodes = append(nodes, node)
		}
	}
	return nodes
}

// Ended gives up what an ended run waits for: what it has locked is held only by unsettled actions.
func (c *Capacity) Ended(cluster, runID string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	one := c.of(cluster)
	one.withdraw(runID)
	one.markUnsettled(runID, one.lockedBy(runID))
	c.tidy(cluster)
}
