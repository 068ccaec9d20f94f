package etcd

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
)

const length = 9 * time.Second

// leases is an etcd that knows one lease. answer is what it answers to each renewal; an error that is errHangs means that
// the renewal is never answered.
type leases struct {
	pb.LeaseClient
	answer  func(streams, renewals int) (ttl int64, err error)
	streams int
	sent    []time.Time // of each renewal
}

var errHangs = errors.New("never answered")

func (l *leases) LeaseKeepAlive(ctx context.Context, _ ...grpc.CallOption) (pb.Lease_LeaseKeepAliveClient, error) {
	l.streams++
	return &renewals{ctx: ctx, leases: l, stream: l.streams}, nil
}

type renewals struct {
	pb.Lease_LeaseKeepAliveClient
	ctx    context.Context
	leases *leases
	stream int
}

func (r *renewals) Send(*pb.LeaseKeepAliveRequest) error {
	r.leases.sent = append(r.leases.sent, time.Now())
	return nil
}

func (r *renewals) Recv() (*pb.LeaseKeepAliveResponse, error) {
	ttl, err := r.leases.answer(r.stream, len(r.leases.sent))
	if errors.Is(err, errHangs) {
		<-r.ctx.Done()
		return nil, r.ctx.Err()
	}
	return &pb.LeaseKeepAliveResponse{TTL: ttl}, err
}

func renewed() (int64, error) { return int64(length / time.Second), nil }

// held is how the context of held work ended.
type held struct {
	after time.Duration
	cause error
	gone  bool
}

// hold holds a lease whose grant was requested now, until the context of its work ends.
func hold(ctx context.Context, l *leases) held {
	granted := time.Now()
	k := &keeper{client: l, length: length, sent: granted}
	var h held
	_ = k.hold(ctx, func(ctx context.Context, _ clientv3.LeaseID) error {
		<-ctx.Done()
		h.after, h.cause = time.Since(granted), context.Cause(ctx)
		return nil
	})
	h.gone = k.gone
	return h
}

func TestHeldWorkEndsAMarginBeforeALeaseThatCannotBeRenewed(t *testing.T) {
	for name, answers := range map[string]int{"NeverRenewed": 0, "RenewedOnce": 1, "RenewedFiveTimes": 5} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := &leases{answer: func(_, renewals int) (int64, error) {
					if renewals > answers {
						return 0, errHangs
					}
					return renewed()
				}}
				granted := time.Now()
				h := hold(t.Context(), l)
				last := granted
				if answers > 0 {
					last = l.sent[answers-1]
				}
				if want := last.Add(length - Margin(length)).Sub(granted); h.after != want || !errors.Is(h.cause, ErrLeaseLost) || h.gone {
					t.Errorf("the context ended after %s with %v (gone: %t), want %s", h.after, h.cause, h.gone, want)
				}
			})
		})
	}
}

func TestHeldWorkEndsWhenEtcdReportsThatTheLeaseIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &leases{answer: func(_, renewals int) (int64, error) {
			if renewals == 3 {
				return 0, nil
			}
			return renewed()
		}}
		if h := hold(t.Context(), l); !errors.Is(h.cause, ErrLeaseLost) || !h.gone || h.after != length {
			t.Errorf("the context ended after %s with %v (gone: %t)", h.after, h.cause, h.gone)
		}
	})
}

func TestAMemberThatHangsCostsOneRenewalAndNotTheLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &leases{answer: func(stream, _ int) (int64, error) {
			if stream%2 == 1 {
				return 0, errHangs
			}
			return renewed()
		}}
		ctx, cancel := context.WithTimeout(t.Context(), 20*length)
		defer cancel()
		if h := hold(ctx, l); !errors.Is(h.cause, context.DeadlineExceeded) {
			t.Errorf("the context ended after %s with %v", h.after, h.cause)
		}
		if l.streams != 2 {
			t.Errorf("%d streams were opened, want 2", l.streams)
		}
	})
}

func TestALeaseIsRenewedUntilTheWorkHasReturned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &leases{answer: func(_, _ int) (int64, error) { return renewed() }}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		k := &keeper{client: l, length: length, sent: time.Now()}
		_ = k.hold(ctx, func(ctx context.Context, _ clientv3.LeaseID) error {
			time.Sleep(4 * length)
			return nil
		})
		if n := len(l.sent); n < 11 {
			t.Errorf("the lease was renewed %d times in four of its lengths", n)
		}
	})
}
