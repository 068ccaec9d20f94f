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
	t.mu.Lock()
	r, left := t.runners[runID], t.left[runID]
	t.mu.Unlock()
	if left != nil {
		return record.Run{}, left
	}
	if r != nil {
		return r.Command(ctx, command)
	}
	ended, err := t.shared.Store.Run(ctx, runID)
	if err != nil {
		return record.Run{}, fmt.Errorf("read run %s: %w", runID, err)
	}
	if ended.FinishTS == nil {
		return record.Run{}, fmt.Errorf("run %s is being taken over: %w", runID, store.ErrUnavailable)
	}
	c, err := t.claim(ctx, runID)
	if err != nil {
		return record.Run{}, err
	}
	r = t.runner(c)
	wait := r.Post(ctx, command)
	if !t.own(r) {
		r.Close() // another command has made one meanwhile, or the term is over
	}
	return wait(ctx)
}

// forget removes a node that has no live key.
func (t *term) forget(ctx context.Context, node record.NodeKey, key *record.IdempotencyRecord) error {
	if t.shared.Inventory.Present(node) {
		return &record.RejectedError{Code: record.CodeNodePresent, Data: record.Document{"cluster": node.Cluster, "node": node.Node}}
	}
	if err := t.shared.Store.ForgetNode(ctx, t.shared.Term.Term, node, key); err != nil {
		return fmt.Errorf("forget node %s of cluster %s: %w", node.Node, node.Cluster, err)
	}
	t.shared.Inventory.Forget(node)
	return nil
}
