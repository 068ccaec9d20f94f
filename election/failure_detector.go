package election

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/replicante-io/playbooks/internal/etcd"
)

const (
	// stableCall is how long a presence call must have lasted for the next one to follow at once.
	stableCall = time.Second
	// maxDeclared is for how many instances it is remembered that they were declared dead.
	maxDeclared = 100
)

// failureDetector lets a waiting candidate revoke the lease of one ahead of it whose process has died, instead of
// waiting for the lease to end.
//
// It holds a presence call to each peer ahead (see Presence); the kernel ends that when the process dies. A peer is dead
// when, after such a call, the very address that it was reached at refuses connections, or another instance answers
// there; and when it has our name and we ourselves answer at its address: it is an earlier process of this replica.
// Nothing else is evidence, and the lease decides: a peer that is suspended or hangs, a machine that is gone, a network
// that drops packets, an address that never was the peer's (a loopback one reaches whoever calls).
//
// Revoking is safe by terms, not by time: a leader that lives loses the leadership as soon as etcd reports that its key
// is gone, and until then the store and the agents refuse what it writes and sends, because the next leader has a later
// term. So a false alarm costs one election and nothing else. A peer that stops in order refuses connections too while
// it still has its lease, but a leader closes its port only after its work has ended: revoking is what it is about to do
// itself.
//
// An instance is declared dead once. If it campaigns again the network misled us, and from then on its lease alone
// counts: a network that keeps doing so must not cause elections without end.
type failureDetector struct {
	client *clientv3.Client
	log    hclog.Logger

	name, instance string // our own

	mu       sync.Mutex // no other lock is taken under it
	declared []string   // instances, the latest last
}

// peer is a candidate ahead of ours.
type peer struct {
	Leader
	lease clientv3.LeaseID
}

// watch watches everyone ahead of the candidacy until ctx ends.
func (d *failureDetector) watch(ctx context.Context, own *candidacy) {
	var watching sync.WaitGroup
	defer watching.Wait()
	watched := map[string]context.CancelFunc{} // by key
	for ctx.Err() == nil {
		changed := own.queue.next()
		ahead := own.queue.ahead(own.created)
		for key, stop := range watched {
			if _, exists := ahead[key]; !exists {
				stop()
				delete(watched, key)
			}
		}
		for key, p := range ahead {
			if watched[key] != nil || d.wasDeclared(p.Instance) {
				continue
			}
			ctx, stop := context.WithCancel(ctx)
			watched[key] = stop
			watching.Go(func() {
				defer stop()
				d.watchPeer(ctx, p)
			})
		}
		select {
		case <-changed:
		case <-ctx.Done():
		}
	}
}

// watchPeer calls one peer until it is dead, which it declares, or ctx ends.
func (d *failureDetector) watchPeer(ctx context.Context, p peer) {
	c := caller{peer: p, own: d.instance}
	backoff := etcd.NewBackoff()
	for ctx.Err() == nil {
		began := time.Now()
		reached := c.address != ""
		found := c.call(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case reached && (found == portRefuses || found == otherAnswers || found == selfAnswers), found == selfAnswers && p.Name == d.name:
			d.declareDead(ctx, p, found)
			return
		case found == peerAnswered && time.Since(began) > stableCall:
			backoff.Reset()
			continue
		}
		backoff.Wait(ctx)
	}
}

// declareDead takes a dead peer out of the queue. A lease that cannot be revoked expires.
func (d *failureDetector) declareDead(ctx context.Context, p peer, why evidence) {
	d.mu.Lock()
	d.declared = append(d.declared, p.Instance)
	d.declared = d.declared[max(0, len(d.declared)-maxDeclared):]
	d.mu.Unlock()
	d.log.Warn("a candidate ahead has died; revoking its lease", "name", p.Name, "instance", p.Instance,
		"advertise", p.Advertise, "reason", string(why))
	etcd.Revoke(ctx, d.client, p.lease)
}

func (d *failureDetector) wasDeclared(instance string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Contains(d.declared, instance)
}
