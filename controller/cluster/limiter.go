package cluster

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
)

const (
	// share is how many times as many calls as could still be made at once a cluster may have in progress: one cluster alone has three
	// quarters of the limit, and the more clusters have calls in progress, the less each may have. The rule is that of dynamic
	// thresholds for shared memory switches (Choudhury and Hahne, 1998).
	share = 3
	// floors is how many times a cluster's floor is in the limit: so many calls it may have in progress whatever others have,
	// until all together have mostLimits times the limit.
	floors     = 32
	mostLimits = 4
)

// Limiter bounds how many short calls to agents are made at one time, those of one cluster in the order in which they came. A cluster
// whose agents do not answer, so that each call takes until its timeout, keeps no other waiting. A call that waits costs no goroutine:
// thousands may, when a large batch starts.
type Limiter struct {
	limit int
	floor int

	mu       sync.Mutex
	busy     int
	workers  sync.WaitGroup
	clusters map[string]*calls
	waiting  []*calls // those of which calls wait
}

// calls are those of one cluster.
type calls struct {
	cluster string
	busy    int
	waiting []func()
}

// NewLimiter makes a limiter of so many calls at one time, and a few more for clusters that could else make none.
func NewLimiter(limit int) *Limiter {
	return &Limiter{limit: limit, floor: max(1, limit/floors), clusters: map[string]*calls{}}
}

// Len is how many calls wait.
func (l *Limiter) Len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	count := 0
	for _, c := range l.waiting {
		count += len(c.waiting)
	}
	return count
}

// Do has call made when there is room for it, or never called where ctx ends before. It does not block.
func (l *Limiter) Do(ctx context.Context, cluster string, call, never func()) {
	var taken atomic.Bool
	stop := context.AfterFunc(ctx, func() {
		if taken.CompareAndSwap(false, true) {
			never()
		}
	})
	l.add(cluster, func() {
		if taken.CompareAndSwap(false, true) {
			stop()
			call()
		}
	})
}

func (l *Limiter) add(cluster string, call func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.clusters[cluster]
	if c == nil {
		c = &calls{cluster: cluster}
		l.clusters[cluster] = c
	}
	if len(c.waiting) == 0 {
		l.waiting = append(l.waiting, c)
	}
	c.waiting = append(c.waiting, call)
	l.start()
}

// Wait makes call when there is room for it and returns when it is over, or when ctx has ended before.
func (l *Limiter) Wait(ctx context.Context, cluster string, call func()) {
	over := make(chan struct{})
	l.Do(ctx, cluster, func() {
		defer close(over)
		call()
	}, func() { close(over) })
	<-over
}

// Finish waits until no call is being made and none waits. Nothing may be added meanwhile.
func (l *Limiter) Finish() { l.workers.Wait() }

// start makes the calls for which there is room. The caller holds mu.
func (l *Limiter) start() {
	for {
		c, call := l.next()
		if call == nil {
			return
		}
		l.workers.Go(func() { l.work(c, call) })
	}
}

// work makes call, and then other calls, of any cluster.
func (l *Limiter) work(c *calls, call func()) {
	for call != nil {
		call()
		l.mu.Lock()
		l.over(c)
		c, call = l.next()
		l.start()
		l.mu.Unlock()
	}
}

// over gives back what a call of c had. The caller holds mu.
func (l *Limiter) over(c *calls) {
	l.busy--
	c.busy--
	if c.busy == 0 && len(c.waiting) == 0 {
		delete(l.clusters, c.cluster)
	}
}

// next takes the call that waits longest of the cluster that has the fewest in progress; nil when none may be made now. The caller
// holds mu.
func (l *Limiter) next() (*calls, func()) {
	at := -1
	for i, c := range l.waiting {
		if at < 0 || c.busy < l.waiting[at].busy {
			at = i
		}
	}
	if at < 0 || !l.room(l.waiting[at]) {
		return nil, nil
	}
	c := l.waiting[at]
	call := c.waiting[0]
	c.waiting[0] = nil
	if c.waiting = c.waiting[1:]; len(c.waiting) == 0 {
		c.waiting = nil
		l.waiting = slices.Delete(l.waiting, at, at+1)
	}
	l.busy++
	c.busy++
	return c, call
}

// room reports whether a cluster may have one more call in progress. Where it may not, one with more may not either.
func (l *Limiter) room(c *calls) bool {
	if c.busy < l.floor {
		return l.busy < mostLimits*l.limit
	}
	return c.busy < share*(l.limit-l.busy-1)
}
