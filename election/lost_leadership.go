package election

import (
	"context"
	"sync"
)

// Leading ends when ctx does: because the lease of the election key is lost or cannot be renewed in time (internal/etcd.Hold), because the
// key is gone or another one is first, or because this replica stops. In each case lead ends its work first, and only then the
// candidate gives the leadership back.

// lead calls the callback under a context that also ends when the election key is lost.
func (c *Candidate) lead(ctx context.Context, own *candidacy, lead func(ctx context.Context, l *Leadership) error) {
	c.log.Debug("elected", "key", own.key)
	ctx, lose := context.WithCancelCause(ctx)
	var checking sync.WaitGroup
	checking.Go(func() { own.checkStillFirst(ctx, lose) })
	_ = lead(ctx, &Leadership{candidacy: own, self: c.self, ended: ctx.Done()}) // lead logs it
	lose(nil)
	checking.Wait()
}

// checkStillFirst calls lose once the candidacy is no longer the first, and returns when ctx ends. What the watch
// reports of the key counts at once; as long as etcd cannot be asked only the lease counts.
func (c *candidacy) checkStillFirst(ctx context.Context, lose context.CancelCauseFunc) {
	for ctx.Err() == nil {
		changed := c.queue.next()
		if c.queue.seenGone(c.key, c.created) {
			lose(ErrKeyLost)
			return
		}
		if at, err := c.position(ctx); err == nil && at != positionFirst {
			lose(ErrKeyLost)
			return
		}
		c.waitForChange(ctx, changed)
	}
}
