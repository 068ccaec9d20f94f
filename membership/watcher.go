package membership

import (
	"context"

	"github.com/hashicorp/go-hclog"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/replicante-io/playbooks/internal/etcd"
)

// Change is what became of one node. Of one that is gone only the ids are known.
type Change struct {
	Node Node
	Gone bool
}

// Update is a set of changes, in order. When it is Complete they are all nodes that have a key at Revision: any other
// node is gone.
type Update struct {
	Complete bool
	Changes  []Change
	Revision int64
}

// WatcherConfig says where to watch.
type WatcherConfig struct {
	Client *clientv3.Client
	Prefix string // of the installation
	Log    hclog.Logger
}

// Watcher watches the nodes of all clusters.
type Watcher struct {
	client *clientv3.Client
	prefix string
	log    hclog.Logger
	bad    map[string]bool // keys whose value cannot be read; said once
}

// NewWatcher returns a Watcher that does not watch yet.
func NewWatcher(c WatcherConfig) *Watcher {
	return &Watcher{client: c.Client, prefix: c.Prefix, log: c.Log.Named("membership"), bad: map[string]bool{}}
}

// Run delivers a complete update, then what changes, until ctx ends (nil) or deliver fails (its error). After any loss
// of continuity it delivers a complete update again, so that no change is missed; its Revision may be lower than the
// one before, when etcd was restored. A key whose value cannot be read counts as absent. deliver is never called
// concurrently; while it blocks, changes wait. A Watcher runs once.
func (w *Watcher) Run(ctx context.Context, deliver func(Update) error) error {
	follower := etcd.Follower{Client: w.client, Key: keys(w.prefix), Prefix: true, Log: w.log}
	return follower.Run(ctx, func(b etcd.Batch) error {
		update := Update{Complete: b.Complete, Revision: b.Revision, Changes: make([]Change, 0, len(b.Events))}
		said := w.bad
		if b.Complete {
			w.bad = map[string]bool{}
		}
		for _, e := range b.Events {
			change, ok := w.change(e, said)
			if !ok || (b.Complete && change.Gone) {
				continue
			}
			update.Changes = append(update.Changes, change)
		}
		if !update.Complete && len(update.Changes) == 0 {
			return nil
		}
		return deliver(update)
	})
}

// change is false for a key that is not of a node. said are the keys that need no complaint again.
func (w *Watcher) change(e *clientv3.Event, said map[string]bool) (Change, bool) {
	key := string(e.Kv.Key)
	cluster, node, ok := ids(w.prefix, key)
	if !ok {
		return Change{}, false
	}
	gone := Change{Node: Node{ClusterID: cluster, NodeID: node}, Gone: true}
	if e.Type == clientv3.EventTypeDelete {
		delete(w.bad, key)
		return gone, true
	}
	n, err := decode(cluster, node, e.Kv.Value)
	if err != nil {
		if !said[key] {
			w.log.Warn("the key of a node cannot be read; the node counts as absent", "key", key, "error", err)
		}
		w.bad[key] = true
		return gone, true
	}
	delete(w.bad, key)
	return Change{Node: n}, true
}
