package cluster

import "maps"

// lock is a node that a run has for a batch, or as long as an action on it may still be running.
type lock struct {
	runID string
	// ended is true when the run has ended: then only an unsettled action holds the node.
	ended   bool
	waiting map[string]run // by run: they could not lock it
}

// Holder is a run that has a node locked. Unsettled is true when it has ended, and only an action that may still be running holds
// the node.
type Holder struct {
	RunID     string
	Unsettled bool
}

// Lock locks all of nodes for a run, or none: then it returns the holders of those that other runs have, and the run is told by Unlocked
// when it is worth another try.
func (c *Capacity) Lock(cluster, runID string, nodes []string, by run) map[string]Holder {
	c.mu.Lock()
	defer c.mu.Unlock()
	one := c.of(cluster)
	defer c.tidy(cluster)
	holders := map[string]Holder{}
	for _, node := range nodes {
		if held := one.locks[node]; held != nil && held.runID != runID {
			holders[node] = Holder{held.runID, held.ended}
		}
	}
	if len(holders) > 0 {
		for node := range holders {
			one.locks[node].waiting[runID] = by
		}
		return holders
	}
	for _, node := range nodes {
		one.lock(node, runID)
	}
	return nil
}

func (one *capacity) lock(node, runID string) {
	if one.locks[node] == nil {
		one.locks[node] = &lock{runID: runID, waiting: map[string]run{}}
	}
}

// Unlock gives nodes back, and tells those who wait for them.
func (c *Capacity) Unlock(cluster, runID string, nodes []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	one := c.of(cluster)
	for _, node := range nodes {
		one.unlock(node, runID)
	}
	c.tidy(cluster)
}

func (one *capacity) unlock(node, runID string) {
	held := one.locks[node]
	if held == nil || held.runID != runID {
		return
	}
	delete(one.locks, node)
	for _, waiting := range held.waiting {
		waiting.Unlocked(node)
	}
}

// RestoreLocks makes the nodes that a claimed run has locked exactly those that its records need.
func (c *Capacity) RestoreLocks(cluster, runID string, busy []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	one := c.of(cluster)
	keep := make(map[string]bool, len(busy))
	for _, node := range busy {
		keep[node] = true
		one.lock(node, runID)
	}
	for node := range maps.Clone(one.locks) {
		if !keep[node] {
			one.unlock(node, runID)
		}
	}
	c.tidy(cluster)
}

// Ended tells those who wait for nodes of an ended run that only unsettled actions hold them.
func (c *Capacity) Ended(cluster, runID string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	one := c.of(cluster)
	for node, held := range one.locks {
		if held.runID != runID {
			continue
		}
		held.ended = true
		waiting := held.waiting
		held.waiting = map[string]run{}
		for _, other := range waiting {
			other.Unlocked(node)
		}
	}
	c.tidy(cluster)
}
