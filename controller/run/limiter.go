package run

import (
	"context"
	"sync"
	"sync/atomic"
)

// Limiter bounds how many short calls are made at one time, in the order in which they came. A call that waits costs no goroutine:
// thousands may, when a large batch starts.
type Limiter struct {
	limit int

	mu      sync.Mutex
	busy    int
	workers sync.WaitGroup
	waiting []func()
}

// NewLimiter makes a limiter of so many calls at one time.
func NewLimiter(limit int) *Limiter { return &Limiter{limit: limit} }

// Len is how many calls wait.
func (l *Limiter) Len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.waiting)
}

// Do has call made when there is room for it, or never called where ctx ends before. It does not block.
func (l *Limiter) Do(ctx context.Context, call, never func()) {
	var taken atomic.Bool
	stop := context.AfterFunc(ctx, func() {
		if taken.CompareAndSwap(false, true) {
			never()
		}
	})
	l.add(func() {
		if taken.CompareAndSwap(false, true) {
			stop()
			call()
		}
	})
}

func (l *Limiter) add(call func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.busy == l.limit {
		l.waiting = append(l.waiting, call)
		return
	}
	l.busy++
	l.workers.Go(func() { l.work(call) })
}

// Wait makes call when there is room for it and returns when it is over, or when ctx has ended before.
func (l *Limiter) Wait(ctx context.Context, call func()) {
	over := make(chan struct{})
	l.Do(ctx, func() {
		defer close(over)
		call()
	}, func() { close(over) })
	<-over
}

// Finish waits until no call is being made and none waits. Nothing may be added meanwhile.
func (l *Limiter) Finish() { l.workers.Wait() }

func (l *Limiter) work(call func()) {
	for call != nil {
		call()
		call = l.next()
	}
}

// next is the call that waits longest; nil when none does, and this worker ends.
func (l *Limiter) next() func() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.waiting) == 0 {
		l.busy--
		l.waiting = nil
		return nil
	}
	call := l.waiting[0]
	l.waiting[0] = nil
	l.waiting = l.waiting[1:]
	return call
}
