package replica

import (
	"context"
	"fmt"

	"github.com/replicante-io/playbooks/election"
)

// leader returns who leads. An elected replica that has not begun its term does not lead yet.
func (r *Replica) leader() (election.Leader, bool) {
	leader, known := r.candidate.Leader()
	return leader, known && leader.Term > 0
}

// followLeaders logs when another replica leads, and remembers the latest leader, until ctx ends. It checks the store that
// the other has prepared, so that this replica need not prepare it during a takeover.
func (r *Replica) followLeaders(ctx context.Context) error {
	var last election.Leader
	for {
		changed := r.candidate.Changed()
		if leader, known := r.leader(); known && leader != last {
			last = leader
			r.history.previous.Store(&leader)
			if leader.Instance != r.instance {
				r.history.follows(leader)
				r.storePrepared.Store(r.checkStore(ctx))
				_ = r.checkInstallation(ctx) // logs what is wrong, and /readyz says it
			}
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil
		}
	}
}

// checkStore reports whether the store is prepared for this version.
func (r *Replica) checkStore(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, beginAttempt)
	defer cancel()
	problems, err := r.store.Check(ctx)
	return err == nil && len(problems) == 0
}

// maintainStore does what the store needs done regularly, until ctx ends.
func (r *Replica) maintainStore(ctx context.Context) error {
	if err := r.store.Maintain(ctx); err != nil && ctx.Err() == nil {
		return fmt.Errorf("maintain the primary store: %w", err)
	}
	return nil
}
