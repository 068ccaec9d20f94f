package controller

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/replicante-io/playbooks/controller/policy"
	"github.com/replicante-io/playbooks/controller/run"
	"github.com/replicante-io/playbooks/internal/failpoint"
	"github.com/replicante-io/playbooks/record"
	"github.com/replicante-io/playbooks/store"
)

// maxClaims bounds how many runs are claimed at one time: one that takes long keeps no other.
const maxClaims = 16

// takeOver claims all open runs before any of them continues: what is in flight on a node keeps other runs from it. None continues
// before it is known which nodes have a live key.
func (t *term) takeOver(ctx context.Context, ready func(open int)) error {
	if err := t.loadDocuments(ctx); err != nil {
		return err
	}
	var open []record.Run
	err := retryUnavailable(ctx, func() (err error) {
		open, err = t.shared.Store.OpenRuns(ctx)
		return err
	})
	if err != nil {
		return fmt.Errorf("list the open runs: %w", err)
	}
	t.reportClock(open)
	runners := make([]*run.Runner, len(open))
	claims, claimsCtx := errgroup.WithContext(ctx)
	claims.SetLimit(maxClaims)
	for i := range open {
		claims.Go(func() (err error) {
			runners[i], err = t.takeOverRun(claimsCtx, &open[i])
			return err
		})
	}
	if err := claims.Wait(); err != nil {
		return err
	}
	runners = slices.DeleteFunc(runners, func(r *run.Runner) bool { return r == nil })
	failpoint.Point(failpoint.Claimed)
	select {
	case <-t.shared.Inventory.Ready():
	case <-ctx.Done():
		return nil
	}
	for _, r := range runners {
		t.own(r)
	}
	ready(len(runners))
	return nil
}

// takeOverRun claims an open run and makes its runner; nil for one that is left alone, or has expired.
func (t *term) takeOverRun(ctx context.Context, head *record.Run) (*run.Runner, error) {
	left, err := t.leaveUnknown(ctx, head.ID)
	if left || errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	c, readable, err := t.claimOrLeave(ctx, head.ID)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if readable {
		head = &c.run
	}
	if !head.State.Final() && head.State != record.RunPendingApprove { // what is unsettled of an ended one keeps its node, and no place in the queue
		t.shared.Capacity.Restore(head)
	}
	if !readable {
		return nil, nil
	}
	return t.runner(c, policy.Refused{}), nil
}

// reportedSkew is from when on the difference of two leaders' clocks is logged.
const reportedSkew = time.Second

// reportClock logs that this replica's clock is behind that of the leader before, by what that one has recorded of open runs. A
// clock that is ahead cannot be told from time in which nobody led.
func (t *term) reportClock(open []record.Run) {
	now := t.shared.Clock.Now()
	var behind time.Duration
	var by string
	for i := range open {
		if ahead := open[i].UpdateTS.Sub(now); ahead > behind {
			behind, by = ahead, open[i].ID
		}
	}
	if behind >= reportedSkew {
		t.log.Warn("the clock of this replica is behind that of the leader before; runs continue with that one's times; "+
			"see that time is synchronised on both machines", "behind", behind.Round(time.Millisecond).String(), "run", by)
	}
}
