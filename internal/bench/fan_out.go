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

// fanOut sends every node one action and waits for its end, without a control plane: one POST and one GET per node, for width
// nodes at a time.
func fanOut(ctx context.Context, agents *agentclient.Client, fleet Fleet, width int) (time.Duration, error) {
	work, ctx := errgroup.WithContext(ctx)
	var next atomic.Int64
	begin := time.Now()
	for range width {
		work.Go(func() error {
			for i := int(next.Add(1)) - 1; i < fleet.Nodes && ctx.Err() == nil; i = int(next.Add(1)) - 1 {
				if err := act(ctx, agents, agentURL(fleet.URL, i)); err != nil {
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
func act(ctx context.Context, agents *agentclient.Client, url string) error {
	id := uuid.NewString()
	_, err := agents.Post(ctx, url, wire.ActionRequest{
		ID: id, Kind: wire.KindSuccess, Args: json.RawMessage("{}"), CreatedTime: time.Now().UTC(),
	}, 0)
	if err != nil {
		return err
	}
	action, err := agents.Get(ctx, url, id, actionTimeout)
	if err == nil && action.State.Phase != wire.PhaseDone {
		err = fmt.Errorf("action %s on %s is %s", id, url, action.State.Phase)
	}
	return err
}
