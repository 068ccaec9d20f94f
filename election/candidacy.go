package election

import (
	"context"
	"errors"
	"fmt"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// ErrKeyLost is why a leadership ended whose election key is gone: its lease was revoked, or somebody deleted it.
var ErrKeyLost = errors.New("the election key is gone")

// candidacy is one key in the queue, on a lease, created at a revision. The key with the lowest such revision leads.
type candidacy struct {
	client  *clientv3.Client
	queue   *queue
	prefix  string
	key     string
	lease   clientv3.LeaseID
	created int64
	pause   time.Duration // between reads of etcd when no watch reports anything
}

// position is where a candidacy is in the queue.
type position int

const (
	positionGone position = iota
	positionWaiting
	positionFirst
)

// position asks etcd, linearizably.
func (c *candidacy) position(ctx context.Context) (position, error) {
	ctx, cancel := context.WithTimeout(ctx, c.pause)
	defer cancel()
	answer, err := c.client.Txn(ctx).
		If(c.exists()).
		Then(clientv3.OpGet(c.prefix, clientv3.WithFirstCreate()...)).
		Commit()
	if err != nil {
		return positionGone, fmt.Errorf("read the election: %w", err)
	}
	if !answer.Succeeded {
		return positionGone, nil
	}
	if kvs := answer.Responses[0].GetResponseRange().Kvs; len(kvs) == 1 && string(kvs[0].Key) == c.key {
		return positionFirst, nil
	}
	return positionWaiting, nil
}

// exists is true in etcd while the key is still the one that was created.
func (c *candidacy) exists() clientv3.Cmp {
	return clientv3.Compare(clientv3.CreateRevision(c.key), "=", c.created)
}

// waitUntilFirst returns nil once the candidacy is the first of the queue. It reads etcd at every change of the queue
// that the watch reports, and, because a watch can be silent, from time to time.
func (c *candidacy) waitUntilFirst(ctx context.Context) error {
	for {
		changed := c.queue.next()
		at, err := c.position(ctx)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err == nil && at == positionGone:
			return ErrKeyLost
		case err == nil && at == positionFirst:
			return nil
		}
		c.waitForChange(ctx, changed)
	}
}

// waitForChange waits for the queue to change, at most for the pause.
func (c *candidacy) waitForChange(ctx context.Context, changed <-chan struct{}) {
	timer := time.NewTimer(c.pause)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-changed:
	case <-timer.C:
	}
}
