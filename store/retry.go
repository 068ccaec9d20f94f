package store

import (
	"context"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// Retrier spaces the repetitions of what a store could not be asked.
type Retrier struct{ policy *backoff.ExponentialBackOff }

// Retry starts at 50 ms and doubles up to a second, with jitter.
func Retry() *Retrier {
	policy := backoff.NewExponentialBackOff()
	policy.InitialInterval, policy.Multiplier, policy.MaxInterval = 50*time.Millisecond, 2, time.Second
	return &Retrier{policy}
}

// Wait waits before the next try. It is false when ctx ended.
func (r *Retrier) Wait(ctx context.Context) bool {
	timer := time.NewTimer(r.policy.NextBackOff())
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// Reset starts anew after a success.
func (r *Retrier) Reset() { r.policy.Reset() }
