package cluster

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"strings"
	"sync/atomic"
	"time"

	"github.com/replicante-io/playbooks/agent/wire"
	"github.com/replicante-io/playbooks/internal/retry"
	"github.com/replicante-io/playbooks/record"
)

const (
	// askTimeout bounds one question to an agent that does not report how long its probe may take, maxAskTimeout one to any agent.
	askTimeout    = 15 * time.Second
	maxAskTimeout = 10 * time.Minute
	// callMargin is what a question takes beside the probe.
	callMargin = 5 * time.Second
	// refusedPatience is for how long an agent that refuses connections is tried again.
	refusedPatience = 2 * time.Second
	// keepEvery is how often unchanged facts are saved with a new observed_ts.
	keepEvery = 30 * time.Second
)

// askNode fills in what the node's agent says now. What could not be had is absent. Called is since when the agent is being called;
// nil while this process cannot call any.
func (v *Inventory) askNode(ctx context.Context, n *record.Node, called *atomic.Pointer[time.Time]) {
	timeout, now := timeoutOf(n), v.Clock.Now() // the facts are not older than the question
	info, err := v.nodeInfo(ctx, n.AgentURL, timeout, called)
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	n.ObservedTS = &now
	n.Role, n.Shards, n.StatusReason = "", nil, ""
	if err == nil && info.NodeID != "" && info.NodeID != n.NodeID {
		err = fmt.Errorf("the agent at %s is that of node %q", n.AgentURL, info.NodeID)
	}
	if err != nil {
		n.Status, n.StatusReason = record.StatusUnreachable, record.CleanText(err.Error(), record.MaxReason)
		return
	}
	status, reason := wire.ParseStatus(info.NodeStatus)
	if info.StatusReason != "" {
		reason = info.StatusReason
	}
	n.Status, n.StatusReason = record.Status(status), record.CleanText(reason, record.MaxReason)
	n.StoreID, n.StoreVersion = info.StoreID, info.StoreVersion.Number
	attributes := map[string]any{}
	maps.Copy(attributes, info.Attributes)
	if info.OneProbe {
		n.Shards = shards(info.Shards)
	} else if n.Status != record.StatusUnavailable {
		v.askRest(ctx, n, attributes)
	}
	if info.Role != "" {
		n.Role = info.Role
	}
	if err := takeFacts(n, attributes); err != nil {
		n.DropFacts("the answer of the agent at " + n.AgentURL + " cannot be used: " + err.Error())
	}
}

// timeoutOf bounds one question to a node's agent. It may have to wait for a probe that runs already before it starts another one.
func timeoutOf(n *record.Node) time.Duration {
	probe, err := time.ParseDuration(n.ProbeTimeout)
	if err != nil {
		return askTimeout
	}
	return max(askTimeout, 2*min(probe, maxAskTimeout/2)+callMargin)
}

// askRest asks an agent that does not answer with everything at once for the facts of its store and for its shards.
func (v *Inventory) askRest(ctx context.Context, n *record.Node, attributes map[string]any) {
	missing := func(what string, err error) {
		reason := "the agent does not report " + what + ": " + err.Error()
		if n.StatusReason != "" {
			reason = n.StatusReason + "; " + reason
		}
		n.StatusReason = record.CleanText(reason, record.MaxReason)
	}
	if extras, err := v.Agents.StoreInfo(ctx, n.AgentURL); err != nil {
		missing("the facts of its store", err)
	} else {
		maps.Copy(attributes, extras.Attributes)
	}
	if answer, err := v.Agents.ShardsInfo(ctx, n.AgentURL); err != nil {
		missing("its shards", err)
	} else {
		n.Role = wire.NodeRole(answer.Shards)
		n.Shards = shards(answer.Shards)
	}
}

// shards is nil where they are not known.
func shards(published []wire.Shard) []record.Shard {
	if published == nil {
		return nil
	}
	shards := make([]record.Shard, len(published))
	for i, shard := range published {
		shards[i] = record.Shard{ID: shard.ID, Role: wire.ParseRole(shard.Role)}
		if shard.Lag != nil {
			shards[i].Lag = &record.Lag{Value: shard.Lag.Value, Unit: wire.ParseUnit(shard.Lag.Unit)}
		}
	}
	return shards
}

// nodeInfo tries again while nothing is listening: an agent that restarts is back within a second; and for as long as this process
// cannot call any agent, which says nothing about this one.
func (v *Inventory) nodeInfo(ctx context.Context, url string, timeout time.Duration, called *atomic.Pointer[time.Time]) (wire.NodeInfo, error) {
	backoff := retry.New(200*time.Millisecond, time.Second)
	for begun := time.Now(); ; {
		now := time.Now()
		called.CompareAndSwap(nil, &now)
		call, cancel := context.WithTimeout(ctx, timeout)
		info, err := v.Agents.NodeInfo(call, url)
		cancel()
		if errors.Is(err, wire.ErrCannotCall) {
			if called.Store(nil); backoff.Wait(ctx) {
				begun = time.Now()
				continue
			}
		}
		if err == nil || !errors.Is(err, wire.ErrNotSent) || errors.Is(err, wire.ErrBadURL) || time.Since(begun) > refusedPatience || !backoff.Wait(ctx) {
			return info, err
		}
	}
}

// keep takes over the facts that agents gave. A node whose key cannot be read stays one without a key, whatever its agent says: its
// answer says why too.
func (v *Inventory) keep(answers []*record.Node) {
	v.mu.Lock()
	defer v.mu.Unlock()
	changed := false
	for _, n := range answers {
		if unreadable := v.unreadable[n.Key()]; unreadable != "" {
			n.StatusReason = record.CleanText(strings.TrimSuffix(unreadable+"; "+n.StatusReason, "; "), record.MaxReason)
			continue
		}
		known := v.nodes[n.ClusterID][n.NodeID]
		if known == nil {
			continue
		}
		fresh := *known
		fresh.Status, fresh.StatusReason, fresh.Role, fresh.Shards = n.Status, n.StatusReason, n.Role, n.Shards
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
