package replica

import (
	"time"

	"github.com/replicante-io/playbooks/store"
)

// NewOn makes a replica on a store that the test has opened.
func NewOn(config Config, s store.Store) *Replica {
	r := New(config)
	r.open = func() (store.Store, error) { return s, nil }
	return r
}

// YieldAfter changes how long a leader is patient with a store that only it does not reach.
func (r *Replica) YieldAfter(patience time.Duration) { r.yieldAfter = patience }
