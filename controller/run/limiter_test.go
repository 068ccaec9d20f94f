package run

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestLimiterMakesSoManyCallsAtATimeInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		limiter := NewLimiter(2)
		order := make(chan int, 100)
		var at atomic.Int32
		var all sync.WaitGroup
		all.Add(100)
		for i := range 100 {
			limiter.Do(t.Context(), func() {
				defer all.Done()
				order <- i
				if now := at.Add(1); now > 2 {
					t.Errorf("%d at a time", now)
				}
				time.Sleep(time.Duration(i+1) * time.Second)
				at.Add(-1)
			}, func() { t.Error("a call was never made") })
		}
		all.Wait()
		for i := range 100 {
			if got := <-order; got != i && i > 1 { // the first two begin together
				t.Fatalf("call %d was made in place %d", got, i)
			}
		}
	})
}

func TestCallWhoseContextEndsWhileItWaitsIsNeverMadeAndHoldsUpNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		limiter := NewLimiter(1)
		busy := make(chan struct{})
		limiter.Do(t.Context(), func() { <-busy }, func() {})
		ctx, cancel := context.WithCancel(t.Context())
		nevers := 0
		limiter.Do(ctx, func() { t.Error("it was made") }, func() { nevers++ })
		cancel()
		limiter.Wait(ctx, func() { t.Error("it was made") })
		synctest.Wait()
		if nevers != 1 {
			t.Errorf("called back %d times", nevers)
		}
		close(busy)
		made := false
		limiter.Wait(t.Context(), func() { made = true })
		if !made {
			t.Error("the call after it was not made")
		}
	})
}
