package election

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/replicante-io/playbooks/internal/etcd"
	"github.com/replicante-io/playbooks/internal/failpoint"
)

const (
	// presenceTime is how long a peer may take to say who it is.
	presenceTime = 2 * time.Second
	// shortHold is a hold that ended so soon that the next one must not follow at once.
	shortHold = time.Second
	// declaredMost is for how many instances a false alarm is remembered.
	declaredMost = 100
)

// deathwatch lets a waiting candidate revoke the lease of one ahead of it whose process has died, instead of waiting for
// the lease to end.
//
// It holds an answer of each peer ahead open (see Presence); the kernel ends that when the process dies. A peer is dead
// when, after such a hold, the very address that it was held at refuses connections, or another instance answers there;
// and when it has our name and we ourselves answer at its address: it is an earlier life of this replica. Everything else is no evidence and left to the lease: a peer that is stopped or hangs, a machine that is gone, a
// network that drops, an address that never was the peer's (a loopback one reaches whoever asks).
//
// Revoking is safe by terms, not by time: a leader that lives is deposed as soon as etcd tells it that its key is gone,
// and until then the store and the agents refuse what it writes and sends, because the next leader has a later term. So
// a false alarm costs one election and nothing else. A peer that stops in order refuses connections too while it still
// has its lease, but a leader closes its port only after its work has ended: revoking is what it is about to do itself.
//
// An instance is declared dead once. If it stands again the network lied, and from then on its lease alone counts: a
// network that goes on lying must not make elections without end.
type deathwatch struct {
	client *clientv3.Client
	log    hclog.Logger

	name, instance string // our own

	mu       sync.Mutex
	declared []string // instances, the latest last
}

// peer is a candidate ahead.
type peer struct {
	Leader
	lease clientv3.LeaseID
}

// watch watches everyone ahead of the stand until ctx ends.
func (d *deathwatch) watch(ctx context.Context, s *stand) {
	var watching sync.WaitGroup
	defer watching.Wait()
	watched := map[string]context.CancelFunc{} // by key
	for ctx.Err() == nil {
		changed := s.queue.changed()
		ahead := s.queue.ahead(s.created)
		for key, stop := range watched {
			if _, stands := ahead[key]; !stands {
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
				d.follow(ctx, p)
			})
		}
		select {
		case <-changed:
		case <-ctx.Done():
		}
	}
}

// follow holds on to one peer until it is dead, which it declares, or ctx ends.
func (d *deathwatch) follow(ctx context.Context, p peer) {
	h := hold{peer: p, own: d.instance}
	retry := etcd.NewRetry()
	for ctx.Err() == nil {
		began := time.Now()
		proven := h.address != ""
		switch found := h.hold(ctx); {
		case ctx.Err() != nil:
			return
		case proven && (found == refused || found == another || found == ourselves), found == ourselves && p.Name == d.name:
			d.declare(ctx, p, found)
			return
		case found == itself && time.Since(began) > shortHold:
			retry.Reset()
			continue
		}
		retry.Wait(ctx)
	}
}

// declare takes a dead peer out of the queue. A lease that cannot be revoked ends by itself.
func (d *deathwatch) declare(ctx context.Context, p peer, why finding) {
	d.mu.Lock()
	d.declared = append(d.declared, p.Instance)
	d.declared = d.declared[max(0, len(d.declared)-declaredMost):]
	d.mu.Unlock()
	d.log.Warn("a candidate ahead has died; revoking its lease", "name", p.Name, "instance", p.Instance,
		"advertise", p.Advertise, "reason", string(why))
	etcd.Revoke(ctx, d.client, p.lease)
}

func (d *deathwatch) wasDeclared(instance string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Contains(d.declared, instance)
}

// finding is what came of asking a peer who it is.
type finding string

const (
	nothing finding = "no evidence"
	itself  finding = "it answers"
	refused finding = "its port refuses connections"
	another finding = "another instance answers at its address"
	// A loopback address reaches whoever asks.
	ourselves finding = "this process answers at its address"
)

// hold asks one peer.
type hold struct {
	peer    peer
	own     string // our instance
	address string // at which the peer proved to be itself; from then on no other is asked
}

// hold asks the peer who it is and, if it is the one, returns when its answer has ended.
func (h *hold) hold(ctx context.Context) finding {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	late := time.AfterFunc(presenceTime, cancel)
	var address string
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(c httptrace.GotConnInfo) { address = c.Conn.RemoteAddr().String() },
	})
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, h.peer.Advertise+PresencePath, nil)
	if err != nil {
		return nothing
	}
	answer, err := asker(h.address).Do(request)
	if errors.Is(err, syscall.ECONNREFUSED) {
		return refused
	}
	if err != nil {
		return nothing
	}
	defer func() { _ = answer.Body.Close() }()
	var who presence
	if answer.StatusCode != http.StatusOK || json.NewDecoder(io.LimitReader(answer.Body, 1<<10)).Decode(&who) != nil ||
		who.Instance == "" {
		return nothing
	}
	if who.Instance == h.own {
		return ourselves
	}
	if who.Instance != h.peer.Instance {
		return another
	}
	if !late.Stop() {
		return nothing
	}
	h.address = address
	_, _ = io.Copy(io.Discard, answer.Body)
	return itself
}

// asker is a client for one request, to the given address whatever its URL says, if one is given. It uses no proxy, which
// would answer in the peer's place.
func asker(address string) *http.Client {
	dialer := &net.Dialer{Timeout: presenceTime}
	return &http.Client{
		Transport: &http.Transport{
			DialContext: func(ctx context.Context, network, named string) (net.Conn, error) {
				return failpoint.Dial(failpoint.Replica, dialer.DialContext)(ctx, network, cmp.Or(address, named))
			},
			DisableKeepAlives: true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}
