package election

import (
	"context"
	"errors"
	"fmt"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// ErrKeyLost is why a leadership ended whose election key is gone: its lease was revoked, or somebody removed it.
var ErrKeyLost = errors.New("the election key is gone")

// stand is one candidate's place in the queue: a key, on a lease, created at a revision. The lowest such revision
// leads.
type stand struct {
	client  *clientv3.Client
	queue   *queue
	prefix  string
	key     string
	lease   clientv3.LeaseID
	created int64
	pace    time.Duration // between looks at etcd when no watch says anything
}

// place is where a stand is in the queue.
type place int

const (
	gone place = iota
	waiting
	first
)

// place asks etcd, linearizably.
func (s *stand) place(ctx context.Context) (place, error) {
	ctx, cancel := context.WithTimeout(ctx, s.pace)
	defer cancel()
	answer, err := s.client.Txn(ctx).
		If(s.stands()).
		Then(clientv3.OpGet(s.prefix, clientv3.WithFirstCreate()...)).
		Commit()
	if err != nil {
		return gone, fmt.Errorf("read the election: %w", err)
	}
	if !answer.Succeeded {
		return gone, nil
	}
	if kvs := answer.Responses[0].GetResponseRange().Kvs; len(kvs) == 1 && string(kvs[0].Key) == s.key {
		return first, nil
	}
	return waiting, nil
}

// stands is true in etcd while the key is still the one that was created.
func (s *stand) stands() clientv3.Cmp {
	return clientv3.Compare(clientv3.CreateRevision(s.key), "=", s.created)
}

// await returns nil once the stand is the first of the queue. It looks at every change of the queue that the watch
// reports, and, because a watch can be silent, from time to time.
func (s *stand) await(ctx context.Context) error {
	for {
		changed := s.queue.changed()
		at, err := s.place(ctx)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err == nil && at == gone:
			return ErrKeyLost
		case err == nil && at == first:
			return nil
		}
		s.pause(ctx, changed)
	}
}

// guard calls depose once the stand is not the first any more, and returns when ctx ends. What the watch says of the
// key is believed at once; as long as etcd cannot be asked only the lease counts.
func (s *stand) guard(ctx context.Context, depose context.CancelCauseFunc) {
	for ctx.Err() == nil {
		changed := s.queue.changed()
		if s.queue.lacks(s.key, s.created) {
			depose(ErrKeyLost)
			return
		}
		if at, err := s.place(ctx); err == nil && at != first {
			depose(ErrKeyLost)
			return
		}
		s.pause(ctx, changed)
	}
}

// pause waits for the queue to change, but not for long.
func (s *stand) pause(ctx context.Context, changed <-chan struct{}) {
	timer := time.NewTimer(s.pace)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-changed:
	case <-timer.C:
	}
}
