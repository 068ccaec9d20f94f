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
	ActionsInfo(ctx context.Context, agentURL string) (wire.ActionsInfo, error)
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

	mu         sync.Mutex
	nodes      map[string]map[string]*record.Node // by cluster, by node
	unreadable map[record.NodeKey]string          // nodes whose keys cannot be read, with why
	kinds      []string                           // of the node that appeared last: most nodes have the same
	took       map[record.NodeKey]time.Duration   // for how long a look waits for an agent whose last answer was unusual
	dirty      map[record.NodeKey]struct{}
	save       chan struct{} // holds one signal
	ready      chan struct{} // closed by the first complete snapshot
	once       sync.Once
}

// NewInventory makes an inventory that knows no node yet.
func NewInventory(config InventoryConfig) *Inventory {
	return &Inventory{
		InventoryConfig: config, limiter: NewLimiter(config.Concurrency),
		nodes: map[string]map[string]*record.Node{}, unreadable: map[record.NodeKey]string{}, dirty: map[record.NodeKey]struct{}{}, took: map[record.NodeKey]time.Duration{},
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
		known, unreadable := nodeOf(&change.Node), change.Unreadable
		if unreadable == nil && !change.Gone {
			unreadable = checkAddress(&known)
		}
		switch {
		case unreadable != nil:
			seen[key] = true
			v.setAside(key, unreadable, now)
			gone[key.Cluster] = append(gone[key.Cluster], key.Node)
		case change.Gone:
			v.vanish(key, now)
			gone[key.Cluster] = append(gone[key.Cluster], key.Node)
		default:
			seen[key] = true
			present[key.Cluster] = append(present[key.Cluster], *v.appear(known, now))
		}
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
	delete(v.unreadable, key)
	delete(v.took, key)
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
