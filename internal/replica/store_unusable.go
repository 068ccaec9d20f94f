package replica

import (
	"context"
	"errors"
	"time"

	"github.com/replicante-io/playbooks/store"
)

// storeUsableEvery is how often a leader that may have nothing to write finds out whether its store can be used.
const storeUsableEvery = 2 * time.Second

// stepDownForUnusableStore calls stepDown once the store answers that it can no longer be used: its file was removed, a right
// was taken away. It returns when ctx ends.
func (r *Replica) stepDownForUnusableStore(ctx context.Context, stepDown context.CancelCauseFunc) {
	ticker := time.NewTicker(storeUsableEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		if err := r.store.Ping(ctx); errors.Is(err, store.ErrUnusable) {
			stepDown(err)
			return
		}
	}
}
