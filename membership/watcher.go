package membership

import (
	"context"

	"github.com/hashicorp/go-hclog"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/replicante-io/playbooks/internal/etcd"
)

// Change is one node that has appeared or changed, or is gone. Of a node that is gone only the ids are known.
type Change struct {
	Node Node
	Gone bool
	// Unreadable is why the value of the node's key cannot be read; the node counts as gone.
	Unreadable error
}

// Update is a set of changes, in order. When it is Complete they are all nodes that have a key at Revision: every other
// node is gone.
type Update struct {
	Complete bool
	Changes  []Change
	Revision int64
}

// WatcherConfig is what a Watcher needs.
type WatcherConfig struct {
	Client *clientv3.Client
	Prefix string // of the installation
	Log    hclog.Logger
}

// Watcher watches the nodes of all clusters.
type Watcher struct {
	client     *clientv3.Client
	prefix     string
	log        hclog.Logger
	unreadable map[string]bool // keys that are no node's, or whose value cannot be read, which is logged once
}

// NewWatcher returns a Watcher that does not watch yet.
func NewWatcher(c WatcherConfig) *Watcher {
	return &Watcher{client: c.Client, prefix: c.Prefix, log: c.Log.Named("membership"), unreadable: map[string]bool{}}
}

// Run delivers a complete update, then what changes, until ctx ends (nil) or deliver fails (its error). After any loss
// of continuity it delivers a complete update again, so that no change is missed; its Revision may be lower than the
// one before, when etcd was restored. A key whose value cannot be read counts as absent. deliver is never called
// concurrently; while it blocks, changes wait. A Watcher runs once.
func (w *Watcher) Run(ctx context.Context, deliver func(Update) error) error {
	follower := etcd.Follower{Client: w.client, Key: keysPrefix(w.prefix), Prefix: true, Log: w.log}
	return follower.Run(ctx, func(b etcd.Batch) error {
		update := Update{Complete: b.Complete, Revision: b.Revision, Changes: make([]Change, 0, len(b.Events))}
		logged := w.unreadable
		if b.Complete {
			w.unreadable = map[string]bool{}
		}
		for _, e := range b.Events {
			change, ok := w.change(e, logged)
			if !ok || b.Complete && change.Gone && change.Unreadable == nil {
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

// change returns false for a key that is not a node's. logged are the keys that were already reported.
func (w *Watcher) change(e *clientv3.Event, logged map[string]bool) (Change, bool) {
	key := string(e.Kv.Key)
	cluster, node, err := ids(w.prefix, key)
	if err != nil {
		if e.Type == clientv3.EventTypeDelete {
			delete(w.unreadable, key)
			return Change{}, false
		}
		if !logged[key] {
			w.log.Warn("a key among those of nodes is ignored: it is not that of a node", "key", key, "error", err)
		}
		w.unreadable[key] = true
		return Change{}, false
	}
	gone := Change{Node: Node{ClusterID: cluster, NodeID: node}, Gone: true}
	if e.Type == clientv3.EventTypeDelete {
		delete(w.unreadable, key)
		return gone, true
	}
	n, err := decode(cluster, node, e.Kv.Value)
	if err != nil {
		if !logged[key] {
			w.log.Warn("the value of a node's key cannot be read; the node counts as absent until it is corrected", "key", key, "error", err)
		}
		w.unreadable[key] = true
		gone.Unreadable = err
		return gone, true
	}
	delete(w.unreadable, key)
	return Change{Node: n}, true
}
