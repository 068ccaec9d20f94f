// Package etcd holds what the election and the membership both need of etcd: following keys without missing a change,
// and holding a lease whose end is known without asking.
package etcd

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/go-hclog"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
)

const (
	pageSize  = 1000
	mostMerge = 5000
	// defaultQuiet is a Follower's, unless it says otherwise.
	defaultQuiet = 5 * time.Second
)

var (
	errOneStream = errors.New("the watch stream broke")
	errSilent    = errors.New("the watch stream does not answer")
	errBackwards = errors.New("etcd's revision went back")
	errOther     = errors.New("another etcd cluster answers")
)

// Batch is what happened to the keys that are followed. Complete means that Events hold, as puts, every key that
// exists at Revision: whatever was known before and is not among them is gone.
type Batch struct {
	Complete bool
	Revision int64
	Events   []*clientv3.Event
}

// Follower follows one key, or all keys under a prefix.
type Follower struct {
	Client *clientv3.Client
	Key    string
	Prefix bool
	Log    hclog.Logger
	// Quiet is how long a watch may be silent before it must prove that it lives, and how long etcd may take to answer
	// a single question; 0: 5s.
	Quiet time.Duration
}

// Run delivers a complete batch, then every change in order, until ctx ends (nil) or deliver fails (its error). After
// every loss of continuity (a lost connection, a restart, a compaction, a restored etcd) it delivers a complete batch
// again. deliver is never called concurrently.
//
// The client library would resume a broken watch by itself, from the revision it had reached; when etcd was restored
// from an older snapshot in between, that revision lies in the future of another history, and changes are missed
// without a word. So each watch here has one stream only, begins before the listing instead of at the listing's
// revision, and is made anew, with a new listing, when its stream ends.
func (f *Follower) Run(ctx context.Context, deliver func(Batch) error) error {
	var refused error
	var last int64
	outage := Outage{Log: f.Log.With("key", f.Key), Down: "etcd cannot be watched", Up: "etcd is watched again"}
	retry := NewRetry()
	for {
		err := f.session(ctx, func(b Batch) error {
			if b.Complete {
				outage.Ended()
				retry.Reset()
				if b.Revision < last {
					f.Log.Warn("etcd has an older revision than before; everything was read again", "key", f.Key,
						"before", last, "now", b.Revision)
				}
			}
			last = b.Revision
			refused = deliver(b)
			return refused
		})
		if refused != nil {
			return refused
		}
		if ctx.Err() != nil {
			return nil
		}
		outage.Began(err)
		if !retry.Wait(ctx) {
			return nil
		}
	}
}

// session is the life of one watch stream. It ends with an error, never nil.
func (f *Follower) session(ctx context.Context, deliver func(Batch) error) error {
	// Without the leader's requirement a member that lost its cluster would keep the stream open and say nothing.
	ctx, cancel := context.WithCancelCause(clientv3.WithRequireLeader(ctx))
	stub := &oneStream{WatchClient: pb.NewWatchClient(f.Client.ActiveConnection())}
	watcher := clientv3.NewWatchFromWatchClient(stub, f.Client)
	defer func() {
		cancel(nil)
		_ = watcher.Close()
	}()

	late := time.AfterFunc(f.quiet(), func() { cancel(errSilent) })
	responses := watcher.Watch(ctx, f.Key, append(f.keys(), clientv3.WithCreatedNotify())...)
	created, ok := <-responses
	late.Stop()
	if err := failure(ctx, created, ok); err != nil {
		return fmt.Errorf("watch %s: %w", f.Key, err)
	}

	s := &stream{cluster: created.Header.ClusterId}
	all, err := f.list(ctx, s)
	if err != nil {
		return fmt.Errorf("list %s: %w", f.Key, err)
	}
	if err := deliver(all); err != nil {
		return err
	}

	quiet := time.NewTimer(f.quiet())
	defer quiet.Stop()
	asked := false
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-quiet.C:
			if asked {
				return fmt.Errorf("watch %s: %w", f.Key, errSilent)
			}
			if err := f.ask(ctx, watcher); err != nil {
				return fmt.Errorf("watch %s: ask for progress: %w", f.Key, err)
			}
			asked = true
		case r, ok := <-responses:
			batch, err := s.take(ctx, r, ok, responses)
			if len(batch.Events) > 0 {
				if err := deliver(batch); err != nil {
					return err
				}
			}
			if err != nil {
				return fmt.Errorf("watch %s: %w", f.Key, err)
			}
			asked = false
		}
		quiet.Reset(f.quiet())
	}
}

func (f *Follower) quiet() time.Duration {
	if f.Quiet > 0 {
		return f.Quiet
	}
	return defaultQuiet
}

func (f *Follower) ask(ctx context.Context, watcher clientv3.Watcher) error {
	ctx, cancel := context.WithTimeout(ctx, f.quiet())
	defer cancel()
	return watcher.RequestProgress(ctx)
}

func (f *Follower) keys() []clientv3.OpOption {
	if f.Prefix {
		return []clientv3.OpOption{clientv3.WithPrefix()}
	}
	return nil
}

// list reads all keys at one revision, page by page.
func (f *Follower) list(ctx context.Context, s *stream) (Batch, error) {
	batch := Batch{Complete: true}
	from := f.Key
	opts := []clientv3.OpOption{clientv3.WithLimit(pageSize)}
	if f.Prefix {
		opts = append(opts, clientv3.WithRange(clientv3.GetPrefixRangeEnd(f.Key)))
	}
	for {
		page, err := f.get(ctx, from, opts)
		if err != nil {
			return Batch{}, err
		}
		if page.Header.ClusterId != s.cluster {
			return Batch{}, errOther
		}
		if batch.Revision == 0 {
			batch.Revision = page.Header.Revision
			opts = append(opts, clientv3.WithRev(batch.Revision))
		}
		for _, kv := range page.Kvs {
			batch.Events = append(batch.Events, &clientv3.Event{Type: mvccpb.Event_PUT, Kv: kv})
		}
		if !page.More {
			s.listed = batch.Revision
			return batch, nil
		}
		from = string(page.Kvs[len(page.Kvs)-1].Key) + "\x00"
	}
}

func (f *Follower) get(ctx context.Context, from string, opts []clientv3.OpOption) (*clientv3.GetResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, f.quiet())
	defer cancel()
	return f.Client.Get(ctx, from, opts...)
}

// stream is how far one watch stream has come.
type stream struct {
	cluster uint64
	listed  int64 // events up to here are in the listing
	seen    int64 // the revision of the newest event that came
}

// take makes one batch of a response and those that already wait behind it. The batch is good also beside an error.
func (s *stream) take(ctx context.Context, r clientv3.WatchResponse, ok bool, more clientv3.WatchChan) (Batch, error) {
	var batch Batch
	for {
		if err := failure(ctx, r, ok); err != nil {
			return batch, err
		}
		if r.Header.ClusterId != s.cluster {
			return batch, errOther
		}
		if r.IsProgressNotify() && r.Header.Revision < max(s.listed, s.seen) {
			return batch, errBackwards
		}
		for _, e := range r.Events {
			if e.Kv.ModRevision < s.seen {
				return batch, errBackwards
			}
			s.seen = e.Kv.ModRevision
			if s.seen > s.listed {
				batch.Events = append(batch.Events, e)
				batch.Revision = s.seen
			}
		}
		if len(batch.Events) >= mostMerge {
			return batch, nil
		}
		select {
		case r, ok = <-more:
		default:
			return batch, nil
		}
	}
}

func failure(ctx context.Context, r clientv3.WatchResponse, ok bool) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	if !ok {
		return errOneStream
	}
	return r.Err()
}

// oneStream opens one stream and no second: the library then closes the watch instead of resuming it.
type oneStream struct {
	pb.WatchClient
	opened bool
}

func (o *oneStream) Watch(ctx context.Context, opts ...grpc.CallOption) (pb.Watch_WatchClient, error) {
	if o.opened {
		return nil, errOneStream
	}
	o.opened = true
	return o.WatchClient.Watch(ctx, opts...)
}
