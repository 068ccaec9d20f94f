package controller

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/replicante-io/playbooks/controller/policy"
	"github.com/replicante-io/playbooks/controller/run"
	"github.com/replicante-io/playbooks/internal/retry"
	"github.com/replicante-io/playbooks/record"
	"github.com/replicante-io/playbooks/store"
)

// handoverPause is how long a command waits that finds a run's runner being replaced.
const handoverPause = 20 * time.Millisecond

// command passes an operator's command to the run's runner and waits for its answer.
func (t *term) command(ctx context.Context, actor, runID string, command record.Command, key *record.IdempotencyRecord) (record.Run, error) {
	if key != nil {
		key.RunID = runID
	}
	for {
		answer, err := t.tryCommand(ctx, runID, policy.Command{Command: command, Actor: actor, Idempotency: key})
		if !errors.Is(err, run.ErrClosed) {
			return answer, err
		}
		if !retry.Sleep(ctx, handoverPause) {
			return record.Run{}, ErrNotLeading
		}
	}
}

// tryCommand gives the command to the run's runner. Where the run had ended and needed none, it makes one; that runs only once it has
// its command: a runner that finds nothing to do ends.
func (t *term) tryCommand(ctx context.Context, runID string, command policy.Command) (record.Run, error) {
	r, err := t.runnerOf(runID)
	if err != nil {
		return record.Run{}, err
	}
	if r != nil {
		return r.Command(ctx, command)
	}
	wait, err := t.revive(ctx, runID, command)
	if err != nil {
		return record.Run{}, err
	}
	return wait(ctx)
}

// runnerOf is the runner of a run, nil where there is none. The error says why this leader leaves the run alone.
func (t *term) runnerOf(runID string) (*run.Runner, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.runners[runID], t.left[runID]
}

// revive makes a runner for a run that has ended, with its first command. It returns what waits for the answer.
func (t *term) revive(ctx context.Context, runID string, command policy.Command) (wait func(ctx context.Context) (record.Run, error), err error) {
	select {
	case t.reviving <- struct{}{}:
		defer func() { <-t.reviving }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if r, err := t.runnerOf(runID); r != nil || err != nil {
		return func(ctx context.Context) (record.Run, error) { return r.Command(ctx, command) }, err
	}
	ended, err := t.shared.Store.Run(ctx, runID)
	if err != nil {
		return nil, fmt.Errorf("read run %s: %w", runID, err)
	}
	if ended.FinishTS == nil { // it has a runner, or is about to have one
		return nil, fmt.Errorf("run %s is being taken over: %w", runID, store.ErrUnavailable)
	}
	c, err := t.claim(ctx, runID)
	if err != nil {
		return nil, err
	}
	r := t.runner(c, policy.Refused{})
	wait = r.Post(ctx, command)
	if !t.own(r) {
		r.Close() // the term is over
	}
	return wait, nil
}

// forget removes a node that has no live key. First, runs write off what may still run on it: nobody could tell them of its end.
func (t *term) forget(ctx context.Context, actor string, node record.NodeKey, key *record.IdempotencyRecord) error {
	if t.shared.Inventory.Present(node) {
		return &record.RejectedError{Code: record.CodeNodePresent, Data: record.Document{"cluster": node.Cluster, "node": node.Node}}
	}
	for _, r := range t.all() {
		if err := t.writeOff(ctx, actor, node, r); err != nil {
			return fmt.Errorf("write off what run %s has on node %s: %w", r.ID(), node.Node, err)
		}
	}
	if err := t.shared.Store.ForgetNode(ctx, t.shared.Term.Term, node, key); err != nil {
		return fmt.Errorf("forget node %s of cluster %s: %w", node.Node, node.Cluster, err)
	}
	t.shared.Inventory.Forget(node)
	return nil
}

// writeOff settles what a run may still have running on a node. A runner that is being replaced is waited for.
func (t *term) writeOff(ctx context.Context, actor string, node record.NodeKey, r *run.Runner) error {
	for r != nil && r.Cluster() == node.Cluster && r.Unsettled(node.Node) {
		err := r.Forget(ctx, node.Node, actor)
		if !errors.Is(err, run.ErrClosed) {
			return err
		}
		if !retry.Sleep(ctx, handoverPause) {
			return ErrNotLeading
		}
		r, _ = t.runnerOf(r.ID())
	}
	return nil
}
