package controller

import (
	"context"
	"errors"
	"fmt"

	"github.com/replicante-io/playbooks/controller/policy"
	"github.com/replicante-io/playbooks/playbook"
	"github.com/replicante-io/playbooks/record"
	"github.com/replicante-io/playbooks/store"
)

// unknownFeature is the rejection of what a playbook needs that this version does not know; nil where err is another error.
func unknownFeature(err error, about record.Document) error {
	var problems record.Problems
	if !errors.As(err, &problems) {
		return nil
	}
	return &record.RejectedError{Code: record.CodeUnknownFeature, Data: about, Problems: problems}
}

// leaveUnknown leaves a run alone whose playbook this version does not know all of, and reports whether it did. The run is not
// claimed: nothing of its records changes but what it waits for. Until a later leader knows it, its nodes stay locked where it may have begun something on
// them; and if it has begun, it keeps its place among the runs of its cluster.
func (t *term) leaveUnknown(ctx context.Context, id string) (bool, error) {
	var run record.Run
	err := retryUnavailable(ctx, func() (err error) {
		run, err = t.shared.Store.Run(ctx, id)
		return err
	})
	if errors.Is(err, store.ErrNotFound) || ctx.Err() != nil {
		return false, fmt.Errorf("read run %s: %w", id, err)
	}
	if err != nil {
		return false, nil // the claim reports it
	}
	_, unknown := playbook.Load(run.Playbook.Spec)
	rejected := unknownFeature(unknown, record.Document{"run": id})
	if rejected == nil {
		return false, nil // of any other error the runner tells
	}
	var nodes []record.RunNode
	err = retryUnavailable(ctx, func() (err error) {
		nodes, _, err = t.shared.Store.RunNodes(ctx, id, nil, store.Page{})
		return err
	})
	if err != nil {
		return false, fmt.Errorf("read the nodes of run %s: %w", id, err)
	}
	t.shared.Capacity.RestoreLocks(run.Cluster, id, policy.Busy(nodes), policy.Unsettled(nodes))
	if !run.State.Final() && run.State != record.RunPending && run.State != record.RunPendingApprove {
		t.shared.Capacity.Restore(&run)
	}
	t.mu.Lock()
	t.left[id] = rejected
	t.mu.Unlock()
	t.log.Error("this version does not know all that a run needs, and leaves it alone; upgrade this replica, or let another lead",
		"run", id, "cluster", run.Cluster, "error", unknown)
	if w := run.Waiting; w == nil || w.For != record.WaitLeader || w.Data["code"] != record.CodeUnknownFeature { // not since a leader before
		t.recordLeft(ctx, id, record.CodeUnknownFeature, unknown)
	}
	return true, nil
}

// recordLeft records in a run that this leader leaves alone what it waits for, so that every replica shows it. Where that cannot be
// stored, the log alone says it.
func (t *term) recordLeft(ctx context.Context, id, code string, reason error) {
	wait := record.Wait{For: record.WaitLeader, Since: t.shared.Clock.Now(), Data: record.Document{
		"code": code, "error": record.CleanText(reason.Error(), record.MaxReason)}}
	err := retryUnavailable(ctx, func() error { return t.shared.Store.SetWaiting(ctx, t.shared.Term.Term, id, wait) })
	if err != nil && ctx.Err() == nil && !errors.Is(err, store.ErrNotFound) {
		t.log.Warn("cannot record in a run that this leader leaves it alone", "run", id, "error", err)
	}
}
