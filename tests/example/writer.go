//go:build integration

package example

import (
	"context"
	"sync"
	"testing"
	"time"
)

// Writer writes numbered values, one after the other, until it is stopped. A value that was not acknowledged may have been written or not, and is
// not written again.
type Writer struct {
	acknowledged []int
	failed       int
	longest      time.Duration // without an acknowledged write
	stop         context.CancelFunc
	done         sync.WaitGroup
}

// StartWriter starts a writer, which calls write for each value. The test fails if it is never stopped.
func StartWriter(t *testing.T, write func(ctx context.Context, value int) error) *Writer {
	w := &Writer{}
	ctx, stop := context.WithCancel(t.Context())
	w.stop = stop
	w.done.Go(func() {
		last := time.Now()
		for value := 0; ctx.Err() == nil; value++ {
			try, cancel := context.WithTimeout(ctx, 2*time.Second)
			err := write(try, value)
			cancel()
			if err != nil {
				w.failed++
				time.Sleep(20 * time.Millisecond) // nothing to watch: the next server may be there
				continue
			}
			w.longest = max(w.longest, time.Since(last))
			last = time.Now()
			w.acknowledged = append(w.acknowledged, value)
		}
	})
	return w
}

// Stop stops the writer and returns the values that were acknowledged.
func (w *Writer) Stop(t *testing.T) []int {
	t.Helper()
	w.stop()
	w.done.Wait()
	if len(w.acknowledged) == 0 {
		t.Fatal("no write was acknowledged")
	}
	t.Logf("%d writes were acknowledged and %d failed; the longest time without one was %s", len(w.acknowledged), w.failed, w.longest.Round(time.Millisecond))
	return w.acknowledged
}
