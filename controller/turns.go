package controller

import (
	"context"
	"sync"
	"sync/atomic"
)

// turns has short calls made, so many at a time and in the order in which they came. One that waits its turn costs no
// goroutine: thousands may, when a large batch starts.
type turns struct {
	width int

	mu      sync.Mutex
	busy    int
	waiting []func()
}

// Do has call made when its turn comes, or, if ctx ends before that, never. It does not block.
func (t *turns) Do(ctx context.Context, call, never func()) {
	var taken atomic.Bool
	stop := context.AfterFunc(ctx, func() {
		if taken.CompareAndSwap(false, true) {
			never()
		}
	})
	t.add(func() {
		if taken.CompareAndSwap(false, true) {
			stop()
			call()
		}
	})
}

func (t *turns) add(call func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.busy == t.width {
		t.waiting = append(t.waiting, call)
		return
	}
	t.busy++
	go t.work(call)
}

// Wait makes call in its turn and returns when it is over, or when ctx has ended before.
func (t *turns) Wait(ctx context.Context, call func()) {
	over := make(chan struct{})
	t.Do(ctx, func() {
		defer close(over)
		call()
	}, func() { close(over) })
	<-over
}

func (t *turns) work(call func()) {
	for call != nil {
		call()
		call = t.next()
	}
}

// next is the call that waits longest; nil when none does, and this worker is over.
func (t *turns) next() func() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.waiting) == 0 {
		t.busy--
		t.waiting = nil
		return nil
	}
	call := t.waiting[0]
	t.waiting[0] = nil
	t.waiting = t.waiting[1:]
	return call
}
