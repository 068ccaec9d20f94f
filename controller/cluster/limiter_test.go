package cluster

import (
	"context"
	"fmt"
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
			limiter.Do(t.Context(), "c", func() {
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
		limiter.Do(t.Context(), "c", func() { <-busy }, func() {})
		ctx, cancel := context.WithCancel(t.Context())
		nevers := 0
		limiter.Do(ctx, "c", func() { t.Error("it was made") }, func() { nevers++ })
		cancel()
		limiter.Wait(ctx, "c", func() { t.Error("it was made") })
		synctest.Wait()
		if nevers != 1 {
			t.Errorf("called back %d times", nevers)
		}
		close(busy)
		made := false
		limiter.Wait(t.Context(), "c", func() { made = true })
		if !made {
			t.Error("the call after it was not made")
		}
	})
}

// TestAClusterThatDoesNotAnswerDelaysNoOther: its calls take until their timeouts.
func TestAClusterThatDoesNotAnswerDelaysNoOther(t *testing.T) {
	for _, silent := range []int{1, 5, 50} {
		synctest.Test(t, func(t *testing.T) {
			limiter := NewLimiter(256)
			var all sync.WaitGroup
			for c := range silent {
				for range 4000 / silent {
					all.Add(1)
					limiter.Do(t.Context(), fmt.Sprint("silent-", c), func() {
						defer all.Done()
						time.Sleep(15 * time.Second)
					}, func() {})
				}
			}
			synctest.Wait()
			begun := time.Now()
			for step := range 5 { // of a run over three nodes, at any time while the others wait
				time.Sleep(time.Duration(7*step) * time.Second)
				at := time.Now()
				var three sync.WaitGroup
				for range 3 {
					three.Add(1)
					limiter.Do(t.Context(), "answers", func() {
						defer three.Done()
						time.Sleep(time.Millisecond)
					}, func() {})
				}
				three.Wait()
				if took := time.Since(at); took > 3*time.Millisecond {
					t.Errorf("beside %d silent clusters, after %s, three calls took %s", silent, at.Sub(begun), took)
				}
			}
			all.Wait()
			limiter.Finish()
			if len(limiter.clusters) > 0 || limiter.busy > 0 || limiter.Len() > 0 {
				t.Errorf("left over: %d clusters, %d busy, %d waiting", len(limiter.clusters), limiter.busy, limiter.Len())
			}
		})
	}
}

func TestClustersThatAllHaveMuchToDoShareTheCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		limiter := NewLimiter(64)
		made := map[string]*atomic.Int32{"a": {}, "b": {}, "c": {}}
		var at, most atomic.Int32
		for _, cluster := range []string{"a", "b", "c"} {
			for range 1000 {
				limiter.Do(t.Context(), cluster, func() {
					if now := at.Add(1); now > most.Load() {
						most.Store(now)
					}
					time.Sleep(time.Second)
					at.Add(-1)
					made[cluster].Add(1)
				}, func() {})
			}
		}
		time.Sleep(30500 * time.Millisecond)
		for cluster, count := range made {
			if count.Load() < 350 {
				t.Errorf("%s: %d calls", cluster, count.Load())
			}
		}
		limiter.Finish()
		if most.Load() > 64 || most.Load() < 48 {
			t.Errorf("%d calls at one time", most.Load())
		}
	})
}
