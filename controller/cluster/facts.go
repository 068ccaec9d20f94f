package cluster

import (
	"context"
	"errors"
	"maps"
	"reflect"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/replicante-io/playbooks/agent/wire"
	"github.com/replicante-io/playbooks/internal/retry"
	"github.com/replicante-io/playbooks/record"
)

const (
	// askTimeout bounds asking one node for its facts, with all tries: a probe may take 10 s where its agent does not say otherwise.
	askTimeout = 15 * time.Second
	// refusedPatience is for how long an agent that refuses connections is tried again.
	refusedPatience = 2 * time.Second
	// keepEvery is how often unchanged facts are saved with a new observed_ts.
	keepEvery = 30 * time.Second
)

// Ask asks the agents of nodes of a cluster what they are like now. A node whose agent does not
// answer is UNREACHABLE. It returns early, with nothing, when ctx ends.
func (v *Inventory) Ask(ctx context.Context, cluster string, names []string) []record.Node {
	var asked []record.Node
	v.mu.Lock()
	for _, name := range names {
		if known := v.nodes[cluster][name]; known != nil {
			asked = append(asked, *known)
		} else {
			asked = append(asked, record.Node{NodeID: name, ClusterID: cluster})
		}
	}
	v.mu.Unlock()
	var group errgroup.Group
	for i := range asked {
		select {
		case v.slots <- struct{}{}:
		case <-ctx.Done():
			_ = group.Wait()
			return nil
		}
		group.Go(func() error {
			defer func() { <-v.slots }()
			v.askNode(ctx, &asked[i])
			return nil
		})
	}
	_ = group.Wait()
	if ctx.Err() != nil {
		return nil
	}
	v.keep(asked)
	return asked
}

// askNode fills in what the node's agent says now.
func (v *Inventory) askNode(ctx context.Context, n *record.Node) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	info, err := v.nodeInfo(ctx, n.AgentURL)
	now := record.Now()
	n.ObservedTS = &now
	n.Role, n.Shards = "", nil
	if err != nil || info.NodeID != "" && info.NodeID != n.NodeID {
		n.Status = record.StatusUnreachable
		return
	}
	status, _ := wire.ParseStatus(info.NodeStatus)
	n.Status = record.Status(status)
	n.StoreID, n.StoreVersion = info.StoreID, info.StoreVersion.Number
	attributes := map[string]any{}
	maps.Copy(attributes, info.Attributes)
	if n.Status != record.StatusUnavailable {
		if extras, err := v.Agents.StoreInfo(ctx, n.AgentURL); err == nil {
			maps.Copy(attributes, extras.Attributes)
		}
		if shards, err := v.Agents.ShardsInfo(ctx, n.AgentURL); err == nil {
			n.Role = wire.NodeRole(shards.Shards)
			for _, shard := range shards.Shards {
				s := record.Shard{ID: shard.ID, Role: wire.ParseRole(shard.Role)}
				if shard.Lag != nil {
					s.Lag = &record.Lag{Value: shard.Lag.Value, Unit: wire.ParseUnit(shard.Lag.Unit)}
				}
				n.Shards = append(n.Shards, s)
			}
		}
	}
	if info.Role != "" {
		n.Role = strings.ToUpper(info.Role)
	}
	n.Attributes = document(attributes)
}

// nodeInfo tries again while nothing is listening: an agent that restarts is back within a second.
func (v *Inventory) nodeInfo(ctx context.Context, url string) (wire.NodeInfo, error) {
	backoff := retry.New(200*time.Millisecond, time.Second)
	for begun := time.Now(); ; {
		info, err := v.Agents.NodeInfo(ctx, url)
		if err == nil || !errors.Is(err, wire.ErrNotSent) || time.Since(begun) > refusedPatience || !backoff.Wait(ctx) {
			return info, err
		}
	}
}

// keep takes over the facts that agents gave.
func (v *Inventory) keep(answers []record.Node) {
	v.mu.Lock()
	defer v.mu.Unlock()
	changed := false
	for _, n := range answers {
		known := v.nodes[n.ClusterID][n.NodeID]
		if known == nil {
			continue
		}
		fresh := *known
		fresh.Status, fresh.Role, fresh.Shards = n.Status, n.Role, n.Shards
		fresh.StoreID, fresh.StoreVersion, fresh.Attributes = n.StoreID, n.StoreVersion, n.Attributes
		old := known.ObservedTS == nil || n.ObservedTS.Sub(*known.ObservedTS) > keepEvery
		if old || !reflect.DeepEqual(fresh, *known) {
			fresh.ObservedTS = n.ObservedTS
			*known = fresh
			v.dirty[known.Key()] = struct{}{}
			changed = true
		}
	}
	if changed {
		v.wakeSaver()
	}
}
