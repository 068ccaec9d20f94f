package etcd

import (
	"context"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/hashicorp/go-hclog"
)

// Retry paces attempts at something that fails: from 50 ms to 2 s, with jitter.
type Retry struct{ pace *backoff.ExponentialBackOff }

// NewRetry returns a Retry at its beginning.
func NewRetry() *Retry {
	pace := backoff.NewExponentialBackOff()
	pace.InitialInterval = 50 * time.Millisecond
	pace.Multiplier = 2
	pace.MaxInterval = 2 * time.Second
	return &Retry{pace: pace}
}

// Wait waits before the next attempt. It returns false if ctx ended.
func (r *Retry) Wait(ctx context.Context) bool { return sleep(ctx, r.pace.NextBackOff()) }

// Reset is called when an attempt succeeded.
func (r *Retry) Reset() { r.pace.Reset() }

func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// Outage logs once when something begins to fail and once when it works again.
type Outage struct {
	Log      hclog.Logger
	Down, Up string // what is said
	since    time.Time
}

// Began is called at every failure.
func (o *Outage) Began(err error) {
	if o.since.IsZero() {
		o.since = time.Now()
		o.Log.Warn(o.Down, "error", err)
	}
}

// Ended is called at every success.
func (o *Outage) Ended() {
	if !o.since.IsZero() {
		o.Log.Info(o.Up, "after", time.Since(o.since).Round(time.Millisecond).String())
		o.since = time.Time{}
	}
}
