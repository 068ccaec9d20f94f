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
	pageSize              = 1000
	maxMerged             = 5000
	defaultSilenceTimeout = 5 * time.Second
)

var (
	errStreamBroken      = errors.New("the watch stream broke")
	errStreamSilent      = errors.New("the watch stream does not answer")
	errRevisionDecreased = errors.New("etcd's revision decreased: its data was restored or replaced")
	errOtherCluster      = errors.New("another etcd cluster answers")
)

// Batch is what happened to the followed keys. Complete means that Events hold, as puts, every key that exists at
// Revision: a key that was known before and is not among them is gone.
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
	// SilenceTimeout is how long a watch may be silent before etcd is asked whether the stream still works, and how long
	// etcd may take to answer one call; 0: 5s.
	SilenceTimeout time.Duration
}

// Run delivers a complete batch, then every change in order, until ctx ends (nil) or deliver fails (its error). After
// every loss of continuity (a lost connection, a restart, a compaction, a restored etcd) it delivers a complete batch
// again. deliver is never called concurrently.
//
// The client library would resume a broken watch by itself, from the revision it had reached; when etcd was restored
// from an older snapshot in between, that revision lies in the future of another history, and changes are missed
// silently. So each watch here has one stream only, begins before the listing instead of at the listing's revision,
// and is replaced, with a new listing, when its stream ends.
func (f *Follower) Run(ctx context.Context, deliver func(Batch) error) error {
	var deliverErr error
	var last int64
	outage := OutageLog{Log: f.Log.With("key", f.Key), Down: "cannot watch etcd; trying again", Up: "watching etcd again"}
	backoff := NewBackoff()
	for {
		err := f.session(ctx, func(b Batch) error {
			if b.Complete {
				outage.Succeeded()
				backoff.Reset()
				if b.Revision < last {
					f.Log.Warn("etcd's revision decreased: its data was restored or replaced; all keys were read again", "key", f.Key,
						"before", last, "now", b.Revision)
				}
			}
			last = b.Revision
			deliverErr = deliver(b)
			return deliverErr
		})
		if deliverErr != nil {
			return deliverErr
		}
		if ctx.Err() != nil {
			return nil
		}
		outage.Failed(err)
		if !backoff.Wait(ctx) {
			return nil
		}
	}
}

// session lists the keys and watches them on one stream. It ends with an error, never nil.
func (f *Follower) session(ctx context.Context, deliver func(Batch) error) error {
	// Without WithRequireLeader a member that lost its cluster would keep the stream open and send nothing.
	ctx, cancel := context.WithCancelCause(clientv3.WithRequireLeader(ctx))
	stub := &singleStream{WatchClient: pb.NewWatchClient(f.Client.ActiveConnection())}
	watcher := clientv3.NewWatchFromWatchClient(stub, f.Client)
	defer func() {
		cancel(nil)
		_ = watcher.Close()
	}()

	late := time.AfterFunc(f.silenceTimeout(), func() { cancel(errStreamSilent) })
	responses := watcher.Watch(ctx, f.Key, append(f.rangeOptions(), clientv3.WithCreatedNotify())...)
	created, ok := <-responses
	late.Stop()
	if err := watchError(ctx, created, ok); err != nil {
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

	silence := time.NewTimer(f.silenceTimeout())
	defer silence.Stop()
	asked := false // for a sign that the stream works
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-silence.C:
			if asked {
				return fmt.Errorf("watch %s: %w", f.Key, errStreamSilent)
			}
			if err := f.requestProgress(ctx, watcher); err != nil {
				return fmt.Errorf("watch %s: request progress: %w", f.Key, err)
			}
			asked = true
		case r, ok := <-responses:
			batch, err := s.merge(ctx, r, ok, responses)
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
		silence.Reset(f.silenceTimeout())
	}
}

func (f *Follower) silenceTimeout() time.Duration {
	if f.SilenceTimeout > 0 {
		return f.SilenceTimeout
	}
	return defaultSilenceTimeout
}

func (f *Follower) requestProgress(ctx context.Context, watcher clientv3.Watcher) error {
	ctx, cancel := context.WithTimeout(ctx, f.silenceTimeout())
	defer cancel()
	return watcher.RequestProgress(ctx)
}

func (f *Follower) rangeOptions() []clientv3.OpOption {
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
			return Batch{}, errOtherCluster
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
	ctx, cancel := context.WithTimeout(ctx, f.silenceTimeout())
	defer cancel()
	return f.Client.Get(ctx, from, opts...)
}

// stream is the progress of one watch stream.
type stream struct {
	cluster uint64
	listed  int64 // revision of the listing: events up to it are in it
	seen    int64 // revision of the newest event received
}

// merge makes one batch of a response and those already queued behind it. The batch is valid even beside an error.
func (s *stream) merge(ctx context.Context, r clientv3.WatchResponse, ok bool, more clientv3.WatchChan) (Batch, error) {
	var batch Batch
	for {
		if err := watchError(ctx, r, ok); err != nil {
			return batch, err
		}
		if r.Header.ClusterId != s.cluster {
			return batch, errOtherCluster
		}
		if r.IsProgressNotify() && r.Header.Revision < max(s.listed, s.seen) {
			return batch, errRevisionDecreased
		}
		for _, e := range r.Events {
			if e.Kv.ModRevision < s.seen {
				return batch, errRevisionDecreased
			}
			s.seen = e.Kv.ModRevision
			if s.seen > s.listed {
				batch.Events = append(batch.Events, e)
				batch.Revision = s.seen
			}
		}
		if len(batch.Events) >= maxMerged {
			return batch, nil
		}
		select {
		case r, ok = <-more:
		default:
			return batch, nil
		}
	}
}

func watchError(ctx context.Context, r clientv3.WatchResponse, ok bool) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	if !ok {
		return errStreamBroken
	}
	return r.Err()
}

// singleStream opens one stream and no second one: the library then closes the watch instead of resuming it.
type singleStream struct {
	pb.WatchClient
	opened bool
}

func (s *singleStream) Watch(ctx context.Context, opts ...grpc.CallOption) (pb.Watch_WatchClient, error) {
	if s.opened {
		return nil, errStreamBroken
	}
	s.opened = true
	return s.WatchClient.Watch(ctx, opts...)
}
