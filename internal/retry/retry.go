// Package retry is the one place that waits between the tries of something that may work later.
package retry

import (
	"context"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// Backoff spaces tries: each wait is about twice as long as the one before, with jitter, up to a longest one. It is not
// safe for concurrent use.
type Backoff struct{ policy *backoff.ExponentialBackOff }

// New makes a Backoff whose first wait is about first and whose later ones are at most about most.
func New(first, most time.Duration) *Backoff {
	policy := backoff.NewExponentialBackOff()
	policy.InitialInterval, policy.Multiplier, policy.MaxInterval = first, 2, most
	return &Backoff{policy}
}

// Next is how long to wait before the next try, for callers that wait for something else at the same time.
func (b *Backoff) Next() time.Duration { return b.policy.NextBackOff() }

// Wait waits before the next try. It returns false when ctx ended first.
func (b *Backoff) Wait(ctx context.Context) bool { return Sleep(ctx, b.Next()) }

// Reset makes the next wait short again, after a success.
func (b *Backoff) Reset() { b.policy.Reset() }

// Sleep waits for d. It returns false when ctx ended first.
func Sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
