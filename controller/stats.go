package controller

import (
	"github.com/replicante-io/playbooks/controller/cluster"
	"github.com/replicante-io/playbooks/controller/run"
	"github.com/replicante-io/playbooks/record"
)

// Stats counts what a leader works on.
type Stats struct {
	Runs     map[record.RunState]int  // that have not ended, as their last commits left them
	Clusters map[string]cluster.Stats // of known nodes
	// Unsettled counts actions, of all runs, that may still be running although their ends are not known.
	Unsettled int
	// DelayedRuns have a commit that the store does not take; DelayReason is why the last of them says so.
	DelayedRuns int
	DelayReason error

	Runners         run.Stats // of all runs
	DispatcherQueue int       // calls to agents that wait for the limit of simultaneous ones
}

// Stats counts now, from memory. False while this controller does not lead.
func (c *Controller) Stats() (Stats, bool) {
	t, err := c.current()
	if err != nil {
		return Stats{}, false
	}
	stats := Stats{Runs: map[record.RunState]int{}, DispatcherQueue: t.shared.Limiter.Len()}
	for _, r := range t.all() {
		state, unsettled := r.Counted()
		if !state.Final() {
			stats.Runs[state]++
		}
		stats.Unsettled += unsettled
		if since, reason := r.Delayed(); !since.IsZero() {
			stats.DelayedRuns++
			stats.DelayReason = reason
		}
		of := r.Stats()
		stats.Runners.MailboxInputs += of.MailboxInputs
		stats.Runners.Actions += of.Actions
		stats.Runners.FactRequests += of.FactRequests
	}
	stats.Clusters = t.shared.Inventory.Stats(t.shared.Capacity)
	return stats, true
}
