package store

import (
	"time"

	"github.com/replicante-io/playbooks/internal/retry"
)

// Backoff spaces the tries of a call that failed with ErrUnavailable.
func Backoff() *retry.Backoff { return retry.New(50*time.Millisecond, time.Second) }
