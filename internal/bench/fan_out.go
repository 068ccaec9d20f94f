package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	agentclient "github.com/replicante-io/playbooks/agent/client"
	"github.com/replicante-io/playbooks/agent/wire"
)

// fanOut sends every node one action and waits for its end, without a control plane, for width nodes at a time: one POST and one
// GET per node, or with a wait one POST that is answered when the action has ended.
func fanOut(ctx context.Context, agents *agentclient.Client, fleet Fleet, width int, wait time.Duration) (time.Duration, error) {
	work, ctx := errgroup.WithContext(ctx)
	var next atomic.Int64
	begin := time.Now()
	for range width {
		work.Go(func() error {
			for i := int(next.Add(1)) - 1; i < fleet.Nodes && ctx.Err() == nil; i = int(next.Add(1)) - 1 {
				if err := act(ctx, agents, agentURL(fleet.URL, i), wait); err != nil {
					return fmt.Errorf("bare fan-out: %w", err)
				}
			}
			return nil
		})
	}
	err := work.Wait()
	return time.Since(begin), err
}

// act executes one action on one node.
func act(ctx context.Context, agents *agentclient.Client, url string, wait time.Duration) error {
	id := uuid.NewString()
	action, err := agents.Post(ctx, url, wire.ActionRequest{
		ID: id, Kind: wire.KindSuccess, Args: json.RawMessage("{}"), CreatedTime: time.Now().UTC(),
	}, wait)
	if err == nil && action.State.Phase == "" {
		action, err = agents.Get(ctx, url, id, actionTimeout)
	}
	if err == nil && action.State.Phase != wire.PhaseDone {
		err = fmt.Errorf("action %s on %s is %s", id, url, action.State.Phase)
	}
	return err
}
