package etcd

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/replicante-io/playbooks/internal/retry"
)

// ErrLeaseLost is why the context of held work ended: the lease is gone, or could not be renewed in time.
var ErrLeaseLost = errors.New("the etcd lease is lost")

const (
	// revokeTimeout bounds the attempts to revoke a lease, revokeAttempt one of them; revokePause is between them.
	revokeTimeout = 3 * time.Second
	revokeAttempt = time.Second
	revokePause   = 50 * time.Millisecond
)

// Hold gets a lease and calls work with a context that ends when ctx ends, as soon as etcd reports that the lease is
// gone, and in any case before the lease can expire: at the time of sending its last successful renewal + TTL −
// Margin(TTL), by the monotonic clock, whether or not etcd answers. In the latter two cases its cause is ErrLeaseLost.
//
// The lease is renewed until work has returned, even if the context ended before, and then revoked: the keys on it are
// gone when Hold returns, or, where etcd cannot be reached, a TTL later. Hold returns what work returned, or an error
// without calling it. A lease is counted in whole seconds: ttl is rounded up, and where etcd grants another length,
// that one counts.
func Hold(ctx context.Context, client *clientv3.Client, ttl time.Duration,
	work func(ctx context.Context, id clientv3.LeaseID) error) error {
	granting, cancel := context.WithTimeout(ctx, max(ttl/2, time.Second))
	defer cancel()
	sent := time.Now()
	grant, err := client.Grant(granting, max(1, int64((ttl+time.Second-1)/time.Second)))
	if err != nil {
		return fmt.Errorf("get a lease from etcd at %s: %w", strings.Join(client.Endpoints(), ", "), err)
	}
	k := &keeper{
		client: clientv3.RetryLeaseClient(client), id: grant.ID, length: time.Duration(grant.TTL) * time.Second, sent: sent,
	}
	err = k.hold(ctx, work)
	if !k.gone {
		Revoke(context.WithoutCancel(ctx), client, grant.ID)
	}
	return err
}

// Margin is how long before the end of a lease its holder stops, to allow for late timers and clocks that differ.
func Margin(ttl time.Duration) time.Duration { return max(ttl/5, 300*time.Millisecond) }

// keeper renews one lease.
type keeper struct {
	client pb.LeaseClient
	id     clientv3.LeaseID
	length time.Duration
	sent   time.Time // when the grant was requested

	expiry *time.Timer
	lose   context.CancelCauseFunc
	gone   bool
	stream pb.Lease_LeaseKeepAliveClient // nil: none is open
	end    context.CancelFunc            // of the stream
}

// hold calls work while it renews the lease, and returns what work returned.
func (k *keeper) hold(ctx context.Context, work func(ctx context.Context, id clientv3.LeaseID) error) error {
	held, lose := context.WithCancelCause(ctx)
	defer lose(nil)
	k.lose = lose
	k.expiry = time.AfterFunc(time.Until(k.sent.Add(k.length-Margin(k.length))), func() {
		lose(fmt.Errorf("%w: it could not be renewed in time", ErrLeaseLost))
	})
	defer k.expiry.Stop()
	keeping, stop := context.WithCancel(context.WithoutCancel(ctx))
	var renewing sync.WaitGroup
	renewing.Go(func() { k.keep(keeping) })
	defer renewing.Wait()
	defer stop()
	return work(held, k.id)
}

// keep renews until ctx ends or the lease is gone. Every attempt has its own short time, so that a member that
// hangs costs one attempt and not the lease.
func (k *keeper) keep(ctx context.Context) {
	defer k.closeStream()
	pause := k.length / 3
	for retry.Sleep(ctx, pause) {
		sent := time.Now()
		ttl, err := k.renew(ctx)
		switch {
		case err != nil:
			pause = k.length / 20
		case ttl <= 0:
			k.gone = true
			k.lose(fmt.Errorf("%w: etcd no longer has it", ErrLeaseLost))
			return
		default:
			k.length = time.Duration(ttl) * time.Second
			pause = k.length / 3
			if k.expiry.Stop() { // once it has fired, the lease stays lost
				k.expiry.Reset(time.Until(sent.Add(k.length - Margin(k.length))))
			}
		}
	}
}

// renew asks on the stream of the attempt before, or on a new one, which may go to another member. A stream that did
// not answer in time is not used again: its answer could be taken for that of a later attempt.
func (k *keeper) renew(ctx context.Context) (ttl int64, err error) {
	if k.stream == nil {
		streaming, end := context.WithCancel(ctx)
		k.end = end
		late := time.AfterFunc(k.attemptTimeout(), end)
		stream, err := k.client.LeaseKeepAlive(streaming)
		if !late.Stop() || err != nil {
			end()
			return 0, errors.Join(err, streaming.Err())
		}
		k.stream = stream
	}
	late := time.AfterFunc(k.attemptTimeout(), k.end)
	err = k.stream.Send(&pb.LeaseKeepAliveRequest{ID: int64(k.id)})
	var answer *pb.LeaseKeepAliveResponse
	if err == nil {
		answer, err = k.stream.Recv()
	}
	if !late.Stop() || err != nil {
		k.closeStream()
	}
	return answer.GetTTL(), err
}

func (k *keeper) attemptTimeout() time.Duration { return max(k.length/6, 250*time.Millisecond) }

func (k *keeper) closeStream() {
	if k.stream != nil {
		k.end()
		k.stream = nil
	}
}

// Revoke ends a lease. It gives up after a few seconds: a lease that cannot be revoked expires.
func Revoke(ctx context.Context, client *clientv3.Client, id clientv3.LeaseID) {
	ctx, cancel := context.WithTimeout(ctx, revokeTimeout)
	defer cancel()
	for {
		attempt, end := context.WithTimeout(ctx, revokeAttempt)
		_, err := client.Revoke(attempt, id)
		end()
		if err == nil || errors.Is(err, rpctypes.ErrLeaseNotFound) || !retry.Sleep(ctx, revokePause) {
			return
		}
	}
}
