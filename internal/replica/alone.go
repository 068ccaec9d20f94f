package replica

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/replicante-io/playbooks/record"
	"github.com/replicante-io/playbooks/store"
)

var (
	errNotAccepted = errors.New("the primary store cannot be taken")
	// errNotAlone means that another process leads with the store of a replica that has to be alone.
	errNotAlone = errors.New("another process has begun to lead with the primary store: end it, or give one of the two another store")
)

// laterTermEvery is how often a replica that has to be alone looks for a later term.
const laterTermEvery = time.Second

// accept fails for a store that a replica that is alone must not lead with.
func (r *Replica) accept(term record.Term) error {
	if r.config.Alone == nil {
		return nil
	}
	if err := r.config.Alone.Accept(term); err != nil {
		return fmt.Errorf("%w: %s: %w", errNotAccepted, r.config.Store, err)
	}
	return nil
}

// stepDownForLaterTerm calls stepDown once another process has begun a later term. It returns when ctx ends.
func (r *Replica) stepDownForLaterTerm(ctx context.Context, own int64, stepDown context.CancelCauseFunc) {
	if r.config.Alone == nil {
		return
	}
	ticker := time.NewTicker(laterTermEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		if term, err := r.store.Term(ctx); err == nil && term.Term > own {
			stepDown(fmt.Errorf("%w: term %d is over, term %d has begun", errNotAlone, own, term.Term))
			return
		}
	}
}

// notAlone is err, or errNotAlone where err shows that another process leads with the store of a replica that has to be alone.
func (r *Replica) notAlone(err error) error {
	if r.config.Alone != nil && errors.Is(err, store.ErrStaleTerm) {
		return fmt.Errorf("%w: %w", errNotAlone, err)
	}
	return err
}
