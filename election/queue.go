package election

import (
	"encoding/json"
	"sync"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/replicante-io/playbooks/internal/etcd"
)

// queue is the election as the watch last showed it: every candidate's key, the one created first leads.
type queue struct {
	mu       sync.Mutex // no other lock is taken under it
	entries  map[string]entry
	revision int64
	changed  chan struct{} // closed at the next change
}

type entry struct {
	created int64
	lease   clientv3.LeaseID
	leader  Leader
	valid   bool // the value could be read
}

func newQueue() *queue { return &queue{changed: make(chan struct{})} }

// apply takes what a follower delivers. It never fails.
func (q *queue) apply(b etcd.Batch) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if b.Complete {
		q.entries = make(map[string]entry, len(b.Events))
	}
	for _, e := range b.Events {
		if e.Type == clientv3.EventTypeDelete {
			delete(q.entries, string(e.Kv.Key))
			continue
		}
		entry := entry{created: e.Kv.CreateRevision, lease: clientv3.LeaseID(e.Kv.Lease)}
		entry.valid = json.Unmarshal(e.Kv.Value, &entry.leader) == nil
		q.entries[string(e.Kv.Key)] = entry
	}
	q.revision = b.Revision
	close(q.changed)
	q.changed = make(chan struct{})
	return nil
}

// next returns a channel that is closed at the next change.
func (q *queue) next() <-chan struct{} {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.changed
}

// leader returns the first of the queue, unless another program put that key.
func (q *queue) leader() (Leader, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	var first entry
	for _, e := range q.entries {
		if first.created == 0 || e.created < first.created {
			first = e
		}
	}
	if !first.valid {
		return Leader{}, false
	}
	return first.leader, true
}

// ahead returns, by key, the replicas before the key that was created at this revision.
func (q *queue) ahead(created int64) map[string]peer {
	q.mu.Lock()
	defer q.mu.Unlock()
	ahead := map[string]peer{}
	for key, e := range q.entries {
		if e.created < created && e.valid && e.lease != clientv3.NoLease && e.leader.Instance != "" {
			ahead[key] = peer{Leader: e.leader, lease: e.lease}
		}
	}
	return ahead
}

// others returns the candidates beside the one with this instance, in any order.
func (q *queue) others(instance string) []Leader {
	q.mu.Lock()
	defer q.mu.Unlock()
	var others []Leader
	for _, e := range q.entries {
		if e.valid && e.leader.Instance != instance {
			others = append(others, e.leader)
		}
	}
	return others
}

// seenGone reports whether the watch has shown that the key, created at this revision, no longer exists.
func (q *queue) seenGone(key string, created int64) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.revision >= created && q.entries[key].created != created
}
