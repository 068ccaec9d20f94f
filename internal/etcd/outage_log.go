package etcd

import (
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/replicante-io/playbooks/internal/retry"
)

// NewBackoff spaces the tries of something that etcd did not carry out.
func NewBackoff() *retry.Backoff { return retry.New(50*time.Millisecond, 2*time.Second) }

// OutageLog logs one line when something begins to fail and one when it works again. It is not safe for concurrent use.
type OutageLog struct {
	Log      hclog.Logger
	Down, Up string // the two messages
	since    time.Time
}

// Failed is called after every failure.
func (o *OutageLog) Failed(err error) {
	if o.since.IsZero() {
		o.since = time.Now()
		o.Log.Warn(o.Down, "error", err)
	}
}

// Succeeded is called after every success.
func (o *OutageLog) Succeeded() {
	if !o.since.IsZero() {
		o.Log.Info(o.Up, "outage", time.Since(o.since).Round(time.Millisecond).String())
		o.since = time.Time{}
	}
}
