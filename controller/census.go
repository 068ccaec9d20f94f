package controller

import "github.com/replicante-io/playbooks/record"

// Census counts what a leader looks after.
type Census struct {
	Runs    map[record.RunState]int          // unfinished, as their last commits left them
	Nodes   map[string]map[record.Status]int // known, by cluster and status
	Present map[string]int                   // of them with a live key, by cluster
}

// Census counts now, from memory. False while this controller does not lead.
func (c *Controller) Census() (Census, bool) {
	l, err := c.leading()
	if err != nil {
		return Census{}, false
	}
	census := Census{Runs: map[record.RunState]int{}}
	l.mu.Lock()
	for _, r := range l.runners {
		if state := r.landed.state(); !state.Final() {
			census.Runs[state]++
		}
	}
	l.mu.Unlock()
	census.Nodes, census.Present = l.inventory.Count()
	return census, true
}

// Count counts the known nodes by cluster and status, and those with a live key by cluster.
func (v *inventory) Count() (statuses map[string]map[record.Status]int, present map[string]int) {
	statuses, present = map[string]map[record.Status]int{}, map[string]int{}
	v.mu.Lock()
	defer v.mu.Unlock()
	for cluster, nodes := range v.nodes {
		counts, here := map[record.Status]int{}, 0
		for _, known := range nodes {
			counts[known.Status]++
			if known.Present {
				here++
			}
		}
		statuses[cluster], present[cluster] = counts, here
	}
	return statuses, present
}
