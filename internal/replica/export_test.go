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

// StoreElsewhereAfter changes how long the store must have been unavailable before a leader asks the other replicas.
func (r *Replica) StoreElsewhereAfter(after time.Duration) { r.storeElsewhereAfter = after }
