package controller

import (
	"context"
	"errors"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/replicante-io/playbooks/agent/wire"
	"github.com/replicante-io/playbooks/record"
)

// Observe asks the agents of a cluster's nodes (nil: all known) what they are like now. A node whose agent does not
// answer is UNREACHABLE. It returns early, with nothing, when ctx ends.
func (v *inventory) Observe(ctx context.Context, cluster string, names []string) []record.Node {
	var asked []record.Node
	v.mu.Lock()
	if names == nil {
		names = slices.Sorted(maps.Keys(v.nodes[cluster]))
	}
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
			v.ask(ctx, &asked[i])
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

// ask fills in what the node's agent says now.
func (v *inventory) ask(ctx context.Context, n *record.Node) {
	ctx, cancel := context.WithTimeout(ctx, observeTimeout)
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
		if extras, err := v.agents.StoreInfo(ctx, n.AgentURL); err == nil {
			maps.Copy(attributes, extras.Attributes)
		}
		if shards, err := v.agents.ShardsInfo(ctx, n.AgentURL); err == nil {
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
func (v *inventory) nodeInfo(ctx context.Context, url string) (wire.NodeInfo, error) {
	for wait := 200 * time.Millisecond; ; wait *= 2 {
		info, err := v.agents.NodeInfo(ctx, url)
		if err == nil || !errors.Is(err, wire.ErrNotSent) || wait > 2*time.Second {
			return info, err
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return info, err
		}
	}
}

// keep takes over the facts that were observed.
func (v *inventory) keep(observed []record.Node) {
	v.mu.Lock()
	defer v.mu.Unlock()
	changed := false
	for _, n := range observed {
		known := v.nodes[n.ClusterID][n.NodeID]
		if known == nil {
			continue
		}
		fresh := *known
		fresh.Status, fresh.Role, fresh.Shards = n.Status, n.Role, n.Shards
		fresh.StoreID, fresh.StoreVersion, fresh.Attributes = n.StoreID, n.StoreVersion, n.Attributes
		old := known.ObservedTS == nil || n.ObservedTS.Sub(*known.ObservedTS) > observedEvery
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
