package replica

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/replicante-io/playbooks/store"
)

// patience is how long a part may take to answer before it counts as away.
const patience = 3 * time.Second

// Missing says what this replica lacks to serve, each in a sentence; nothing when it is ready.
func (r *Replica) Missing(ctx context.Context) []string {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var asking sync.WaitGroup
	var ofStore, ofEtcd string
	asking.Go(func() {
		switch _, err := r.store.Term(ctx); {
		case errors.Is(err, store.ErrNotFound):
			ofStore = "the primary store has not been prepared yet: the leader does that"
		case err != nil:
			ofStore = "the primary store: " + err.Error()
		default:
			if o := r.owner.Load(); o != nil {
				if runs, why := o.controller.Stuck(); runs > 0 {
					ofStore = fmt.Sprintf("the primary store: it does not take the commits of %d runs: %s", runs, why)
				}
			}
		}
	})
	asking.Go(func() {
		if _, err := boundInstallation(ctx, r.etcd, r.config.Etcd.Prefix); err != nil {
			ofEtcd = "etcd: " + err.Error()
		}
	})
	asking.Wait()
	var missing []string
	for _, lack := range []string{ofStore, ofEtcd} {
		if lack != "" {
			missing = append(missing, lack)
		}
	}
	if _, known := r.leader(); known {
		return missing
	}
	if fault := r.fault.Load(); fault != nil {
		return append(missing, "a leader: this replica was elected but cannot lead: "+*fault)
	}
	return append(missing, "a leader: none is known")
}
