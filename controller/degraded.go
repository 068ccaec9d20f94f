package controller

import (
	"cmp"
	"slices"
	"time"

	"github.com/replicante-io/playbooks/controller/run"
	"github.com/replicante-io/playbooks/record"
)

// Reads from memory, while the store does not answer.

// CommittedRun is a run of this leader as its last commit left it, from memory. waiting is true while the store delays the run, which
// its Waiting then says.
func (c *Controller) CommittedRun(runID string) (r record.Run, waiting, ok bool) {
	owner := c.owner(runID)
	if owner == nil {
		return record.Run{}, false, false
	}
	r, waiting = c.committed(owner)
	return r, waiting, true
}

// CommittedNodes are the node records of such a run, by name.
func (c *Controller) CommittedNodes(runID string) ([]record.RunNode, bool) {
	owner := c.owner(runID)
	if owner == nil {
		return nil, false
	}
	return owner.Nodes(), true
}

// CommittedRuns are all such runs that are not finished, without their playbooks' specs, newest first.
func (c *Controller) CommittedRuns() []record.Run {
	t, err := c.current()
	if err != nil {
		return nil
	}
	var runs []record.Run
	for _, owner := range t.all() {
		if r, _ := c.committed(owner); r.FinishTS == nil {
			r.Playbook.Spec = nil
			runs = append(runs, r)
		}
	}
	slices.SortFunc(runs, func(a, b record.Run) int {
		return cmp.Or(b.CreatedTS.Compare(a.CreatedTS), cmp.Compare(b.ID, a.ID))
	})
	return runs
}

// owner is the runner of a run; nil if there is none, or this controller does not lead.
func (c *Controller) owner(runID string) *run.Runner {
	t, err := c.current()
	if err != nil {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.runners[runID]
}

func (c *Controller) committed(owner *run.Runner) (record.Run, bool) {
	r := owner.Committed()
	since, reason := owner.Delayed()
	if since.IsZero() && c.config.StoreUnavailable != nil {
		since, reason = c.config.StoreUnavailable()
	}
	if since.IsZero() {
		return r, false
	}
	if !r.State.Final() {
		r.Waiting = StoreWait(since, reason)
	}
	return r, true
}

// StoreWait is the wait of what waits for the primary store.
func StoreWait(since time.Time, reason error) *record.Wait {
	wait := &record.Wait{For: record.WaitStore, Since: record.Time(since)}
	if reason != nil {
		wait.Data = record.Document{"error": reason.Error()}
	}
	return wait
}
