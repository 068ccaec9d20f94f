package controller

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/replicante-io/playbooks/membership"
	"github.com/replicante-io/playbooks/record"
	"github.com/replicante-io/playbooks/store"
)

const (
	// observeTimeout bounds asking one node for its facts, with all tries.
	observeTimeout = 5 * time.Second
	// observedEvery is how often unchanged facts are saved with a new observed_ts.
	observedEvery = 30 * time.Second
	// saveEvery is how often known nodes are saved at most; saveMax how many by one write.
	saveEvery = 100 * time.Millisecond
	saveMax   = 1000
	// forgetEvery is how often nodes that stayed away are looked for.
	forgetEvery = time.Minute
)

// inventory is the one maker of what is known of a node: from its key, and from its agent's answers.
type inventory struct {
	store       store.Store
	agents      agents
	term        int64
	forgetAfter time.Duration
	log         hclog.Logger
	slots       chan struct{}                                                             // bounds the nodes asked at once
	tell        func(cluster string, complete bool, present []record.Node, gone []string) // who is there

	mu    sync.Mutex
	nodes map[string]map[string]*record.Node // by cluster, by node
	dirty map[record.NodeKey]struct{}
	save  chan struct{} // holds one signal
	ready chan struct{} // closed by the first complete snapshot
	once  sync.Once
}

// Load reads the nodes that were known before.
func (v *inventory) Load(ctx context.Context) error {
	known, _, err := v.store.Nodes(ctx, "", store.Page{})
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
func (v *inventory) cluster(id string) map[string]*record.Node {
	nodes := v.nodes[id]
	if nodes == nil {
		nodes = map[string]*record.Node{}
		v.nodes[id] = nodes
	}
	return nodes
}

// Known is the nodes of a cluster, by id.
func (v *inventory) Known(cluster string) []record.Node {
	v.mu.Lock()
	defer v.mu.Unlock()
	known := make([]record.Node, 0, len(v.nodes[cluster]))
	for _, id := range slices.Sorted(maps.Keys(v.nodes[cluster])) {
		known = append(known, *v.nodes[cluster][id])
	}
	return known
}

// Introduce tells who of a cluster has a live key, in step with what Deliver tells: nobody is missed between the two.
func (v *inventory) Introduce(cluster string, tell func(present []record.Node)) {
	v.mu.Lock()
	defer v.mu.Unlock()
	present := make([]record.Node, 0, len(v.nodes[cluster]))
	for _, known := range v.nodes[cluster] {
		if known.Present {
			present = append(present, *known)
		}
	}
	tell(present)
}

// Deliver takes in what membership saw. What it tells must not block.
func (v *inventory) Deliver(update membership.Update) error {
	now := record.Now()
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
		v.tell(cluster, update.Complete, present[cluster], gone[cluster])
	}
	if update.Complete {
		v.once.Do(func() { close(v.ready) })
	}
	return nil
}

// appear takes in a live key. The caller holds mu.
func (v *inventory) appear(n *membership.Node, now time.Time) *record.Node {
	known := v.cluster(n.ClusterID)[n.NodeID]
	if known == nil {
		known = &record.Node{NodeID: n.NodeID, ClusterID: n.ClusterID, Status: record.StatusUnknown}
		v.nodes[n.ClusterID][n.NodeID] = known
	}
	if known.Status == record.StatusUnreachable {
		known.Status = record.StatusUnknown
	}
	known.AgentURL, known.JournalID = n.AgentURL, n.JournalID
	known.AgentVersion, known.StoreID, known.StoreVersion = n.AgentVersion, n.StoreID, n.StoreVersion
	known.Attributes = document(n.Attributes)
	known.Present, known.GoneTS = true, nil
	if n.Status != "" {
		known.Status = record.Status(n.Status)
		known.ObservedTS = &now
	}
	known.Role, known.Shards = n.Role, nil
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
func (v *inventory) vanish(key record.NodeKey, now time.Time) {
	known := v.nodes[key.Cluster][key.Node]
	if known == nil || !known.Present && known.GoneTS != nil {
		return
	}
	known.Present, known.GoneTS = false, &now
	known.Status, known.Role, known.Shards = record.StatusUnreachable, "", nil
	v.dirty[key] = struct{}{}
}

// Forget removes a node from what is known, once it is gone from the store.
func (v *inventory) Forget(key record.NodeKey) {
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.nodes[key.Cluster], key.Node)
	if len(v.nodes[key.Cluster]) == 0 {
		delete(v.nodes, key.Cluster)
	}
	delete(v.dirty, key)
}

// Present tells whether a node has a live key.
func (v *inventory) Present(key record.NodeKey) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	known := v.nodes[key.Cluster][key.Node]
	return known != nil && known.Present
}

func (v *inventory) wakeSaver() {
	select {
	case v.save <- struct{}{}:
	default:
	}
}

// Save writes known nodes as they change, many by one write, until ctx ends. A store that cannot be reached is tried
// again; it returns what makes leading pointless.
func (v *inventory) Save(ctx context.Context) error {
	retry := store.Backoff()
	failing := false
	for {
		select {
		case <-v.save:
		case <-ctx.Done():
			return nil
		}
		for {
			batch := v.takeDirty()
			if len(batch) == 0 {
				break
			}
			err := v.store.SaveNodes(ctx, v.term, batch)
			if err == nil {
				retry.Reset()
				failing = false
				continue
			}
			if ctx.Err() != nil {
				return nil
			}
			if errors.Is(err, store.ErrStaleTerm) {
				return fmt.Errorf("save known nodes: %w", err)
			}
			if !failing {
				v.log.Warn("cannot save known nodes; trying until it works", "error", err)
			}
			failing = true
			v.putBack(batch)
			if !retry.Wait(ctx) {
				return nil
			}
		}
		select {
		case <-time.After(saveEvery):
		case <-ctx.Done():
			return nil
		}
	}
}

func (v *inventory) takeDirty() []record.Node {
	v.mu.Lock()
	defer v.mu.Unlock()
	var batch []record.Node
	for key := range v.dirty {
		if len(batch) == saveMax {
			break
		}
		delete(v.dirty, key)
		if known := v.nodes[key.Cluster][key.Node]; known != nil {
			batch = append(batch, *known)
		}
	}
	return batch
}

func (v *inventory) putBack(batch []record.Node) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for i := range batch {
		v.dirty[batch[i].Key()] = struct{}{}
	}
}

// Expire forgets nodes that have stayed away for too long, until ctx ends.
func (v *inventory) Expire(ctx context.Context) error {
	ticker := time.NewTicker(forgetEvery)
	defer ticker.Stop()
	for {
		for _, key := range v.longGone(record.Now()) {
			err := v.store.ForgetNode(ctx, v.term, key, nil)
			switch {
			case err == nil, errors.Is(err, store.ErrNotFound):
				v.Forget(key)
				v.log.Info("forgot a node that stayed away", "cluster", key.Cluster, "node", key.Node)
			case ctx.Err() != nil:
				return nil
			case errors.Is(err, store.ErrStaleTerm):
				return fmt.Errorf("forget node %s: %w", key.Node, err)
			}
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return nil
		}
	}
}

func (v *inventory) longGone(now time.Time) []record.NodeKey {
	v.mu.Lock()
	defer v.mu.Unlock()
	var keys []record.NodeKey
	for _, nodes := range v.nodes {
		for _, known := range nodes {
			if !known.Present && known.GoneTS != nil && now.Sub(*known.GoneTS) > v.forgetAfter {
				keys = append(keys, known.Key())
			}
		}
	}
	return keys
}
