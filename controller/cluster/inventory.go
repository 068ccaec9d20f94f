// Package cluster holds what the runs of a leader share: the inventory of nodes, which asks agents for facts, and the capacity
// of clusters, which grants who may act on which node and which run may begin.
package cluster

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/replicante-io/playbooks/agent/wire"
	"github.com/replicante-io/playbooks/membership"
	"github.com/replicante-io/playbooks/record"
	"github.com/replicante-io/playbooks/store"
)

// agents is what is asked of agents about their nodes; agent/client does it. Its errors are those of agent/wire.
type agents interface {
	NodeInfo(ctx context.Context, agentURL string) (wire.NodeInfo, error)
	StoreInfo(ctx context.Context, agentURL string) (wire.StoreInfo, error)
	ShardsInfo(ctx context.Context, agentURL string) (wire.ShardsInfo, error)
}

// InventoryConfig is what an inventory works with.
type InventoryConfig struct {
	Store       store.Store
	Agents      agents
	Term        int64
	Clock       record.Clock  // of the term
	ForgetAfter time.Duration // how long a known node may have no key
	Concurrency int           // bounds the nodes that are asked for facts at one time
	Log         hclog.Logger
	// Changed is told which nodes of a cluster have a live key; with complete, all of them. It must not block.
	Changed func(cluster string, complete bool, present []record.Node, gone []string)
}

// Inventory is the one maker of what is known of nodes: from their keys, and from their agents' answers. It is safe for concurrent
// use.
type Inventory struct {
	InventoryConfig
	limiter *Limiter // of nodes that are asked

	mu    sync.Mutex
	nodes map[string]map[string]*record.Node // by cluster, by node
	dirty map[record.NodeKey]struct{}
	save  chan struct{} // holds one signal
	ready chan struct{} // closed by the first complete snapshot
	once  sync.Once
}

// NewInventory makes an inventory that knows no node yet.
func NewInventory(config InventoryConfig) *Inventory {
	return &Inventory{
		InventoryConfig: config, limiter: NewLimiter(config.Concurrency),
		nodes: map[string]map[string]*record.Node{}, dirty: map[record.NodeKey]struct{}{},
		save: make(chan struct{}, 1), ready: make(chan struct{}),
	}
}

// Ready is closed once it is known which nodes have a live key.
func (v *Inventory) Ready() <-chan struct{} { return v.ready }

// Load reads the nodes that earlier leaders knew.
func (v *Inventory) Load(ctx context.Context) error {
	known, _, err := v.Store.Nodes(ctx, "", store.Page{})
	if err != nil {
		return fmt.Errorf("read the known nodes: %w", err)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	for i := range known {
		v.cluster(known[i].ClusterID)[known[i].NodeID] = &known[i]
	}
	return nil
}

// cluster is the nodes of a cluster. The caller holds mu.
func (v *Inventory) cluster(id string) map[string]*record.Node {
	nodes := v.nodes[id]
	if nodes == nil {
		nodes = map[string]*record.Node{}
		v.nodes[id] = nodes
	}
	return nodes
}

// Known is the nodes of a cluster, by id.
func (v *Inventory) Known(cluster string) []record.Node {
	v.mu.Lock()
	defer v.mu.Unlock()
	known := make([]record.Node, 0, len(v.nodes[cluster]))
	for _, id := range slices.Sorted(maps.Keys(v.nodes[cluster])) {
		known = append(known, *v.nodes[cluster][id])
	}
	return known
}

// WithPresent calls do with the nodes of a cluster that have a live key. Changed is not called meanwhile, so that no change is
// missed between the two.
func (v *Inventory) WithPresent(cluster string, do func(present []record.Node)) {
	v.mu.Lock()
	defer v.mu.Unlock()
	present := make([]record.Node, 0, len(v.nodes[cluster]))
	for _, known := range v.nodes[cluster] {
		if known.Present {
			present = append(present, *known)
		}
	}
	do(present)
}

// Deliver takes in what membership saw.
func (v *Inventory) Deliver(update membership.Update) error {
	now := v.Clock.Now()
	present := map[string][]record.Node{}
	gone := map[string][]string{}
	seen := map[record.NodeKey]bool{}
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, change := range update.Changes {
		key := record.NodeKey{Cluster: change.Node.ClusterID, Node: change.Node.NodeID}
		if change.Gone {
			v.vanish(key, now)
			gone[key.Cluster] = append(gone[key.Cluster], key.Node)
			continue
		}
		seen[key] = true
		present[key.Cluster] = append(present[key.Cluster], *v.appear(&change.Node, now))
	}
	if update.Complete {
		for cluster, nodes := range v.nodes {
			if present[cluster] == nil {
				present[cluster] = []record.Node{}
			}
			for id := range nodes {
				if key := (record.NodeKey{Cluster: cluster, Node: id}); !seen[key] {
					v.vanish(key, now)
				}
			}
		}
	}
	v.wakeSaver()
	clusters := map[string]bool{}
	for cluster := range present {
		clusters[cluster] = true
	}
	for cluster := range gone {
		clusters[cluster] = true
	}
	for cluster := range clusters {
		v.Changed(cluster, update.Complete, present[cluster], gone[cluster])
	}
	if update.Complete {
		v.once.Do(func() { close(v.ready) })
	}
	return nil
}

// appear takes in a live key. The caller holds mu.
func (v *Inventory) appear(n *membership.Node, now time.Time) *record.Node {
	known := v.cluster(n.ClusterID)[n.NodeID]
	if known == nil {
		known = &record.Node{NodeID: n.NodeID, ClusterID: n.ClusterID, Status: record.StatusUnknown}
		v.nodes[n.ClusterID][n.NodeID] = known
	}
	if known.Status == record.StatusUnreachable {
		known.Status, known.StatusReason = record.StatusUnknown, ""
	}
	known.AgentURL, known.JournalID = n.AgentURL, n.JournalID
	known.ProbeTimeout = n.ProbeTimeout
	known.AgentVersion, known.StoreID, known.StoreVersion = n.AgentVersion, n.StoreID, n.StoreVersion
	known.Attributes = document(n.Attributes)
	known.Present, known.GoneTS = true, nil
	if n.Status != "" {
		known.Status = record.Status(n.Status)
		known.ObservedTS = &now
	}
	known.Role, known.StatusReason, known.Shards = n.Role, n.StatusReason, nil
	if n.Shards != nil {
		known.Shards = []record.Shard{}
	}
	for _, shard := range n.Shards {
		s := record.Shard{ID: shard.ID, Role: shard.Role}
		if shard.Lag != nil {
			s.Lag = &record.Lag{Value: shard.Lag.Value, Unit: shard.Lag.Unit}
		}
		known.Shards = append(known.Shards, s)
	}
	if !n.StartTS.IsZero() {
		started := record.Time(n.StartTS)
		known.StartTS = &started
	}
	v.dirty[known.Key()] = struct{}{}
	return known
}

func document(values map[string]any) record.Document {
	normal, err := record.Normalize(values)
	if err != nil {
		return nil
	}
	object, _ := normal.(map[string]any)
	return object
}

// vanish notes that a node's key is gone. The caller holds mu.
func (v *Inventory) vanish(key record.NodeKey, now time.Time) {
	known := v.nodes[key.Cluster][key.Node]
	if known == nil || !known.Present && known.GoneTS != nil {
		return
	}
	known.Present, known.GoneTS = false, &now
	known.Status, known.StatusReason = record.StatusUnreachable, "the node has no key in etcd: its agent has stopped or cannot reach etcd"
	known.Role, known.Shards = "", nil
	v.dirty[key] = struct{}{}
}

// Forget removes a node from what is known, once it is gone from the store. One that has a live key again meanwhile stays known, and
// is saved again.
func (v *Inventory) Forget(key record.NodeKey) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if known := v.nodes[key.Cluster][key.Node]; known != nil && known.Present {
		v.dirty[key] = struct{}{}
		v.wakeSaver()
		return
	}
	delete(v.nodes[key.Cluster], key.Node)
	if len(v.nodes[key.Cluster]) == 0 {
		delete(v.nodes, key.Cluster)
	}
	delete(v.dirty, key)
}

// Present reports whether a node has a live key.
func (v *Inventory) Present(key record.NodeKey) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	known := v.nodes[key.Cluster][key.Node]
	return known != nil && known.Present
}

// Names are the ids of a cluster's known nodes, sorted.
func (v *Inventory) Names(cluster string) []string {
	v.mu.Lock()
	defer v.mu.Unlock()
	return slices.Sorted(maps.Keys(v.nodes[cluster]))
}
