package replica

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/replicante-io/playbooks/controller"
	"github.com/replicante-io/playbooks/election"
	"github.com/replicante-io/playbooks/internal/failpoint"
	"github.com/replicante-io/playbooks/record"
	"github.com/replicante-io/playbooks/store"
)

const (
	// beginTimeout bounds the time from the election to the begin of a term. An elected replica that cannot reach the store
	// for so long lets another one try.
	beginTimeout = 30 * time.Second
	// beginAttempt bounds one attempt.
	beginAttempt = 10 * time.Second
)

// beginTerm begins the term of an elected replica, trying again while the store is unavailable.
func (r *Replica) beginTerm(ctx context.Context, l *election.Leadership) (record.Term, error) {
	ctx, cancel := context.WithTimeout(ctx, beginTimeout)
	defer cancel()
	backoff := store.Backoff()
	for {
		term, err := r.tryBeginTerm(ctx, l)
		if err == nil || !errors.Is(err, store.ErrUnavailable) {
			return term, err
		}
		r.cannotLead(err)
		if !backoff.Wait(ctx) {
			return record.Term{}, err
		}
	}
}

// tryBeginTerm begins a term. Only what comes after it may read what is unfinished.
func (r *Replica) tryBeginTerm(ctx context.Context, l *election.Leadership) (record.Term, error) {
	ctx, cancel := context.WithTimeout(ctx, beginAttempt)
	defer cancel()
	if !r.storePrepared.Swap(false) {
		if err := r.store.Init(ctx); err != nil {
			return record.Term{}, fmt.Errorf("prepare the primary store: %w", err)
		}
	}
	before, err := r.store.Term(ctx)
	if err != nil {
		return record.Term{}, fmt.Errorf("read the term: %w", err)
	}
	if err := r.accept(before); err != nil {
		return record.Term{}, err
	}
	r.reportTTL(before)
	r.installation.Store(&before.Installation)
	if err := bindInstallation(ctx, r.etcd, r.config.Etcd.Prefix, before, r.config.Alone != nil); err != nil {
		return record.Term{}, err
	}
	term, err := r.store.BeginTerm(ctx, r.termFloor.Load())
	if errors.Is(err, store.ErrTermOutOfRange) {
		r.termFloor.Store(0) // the store's terms have gone back since: an agent that knows a later one reports it again
	}
	if err != nil {
		return record.Term{}, fmt.Errorf("begin a term: %w", err)
	}
	failpoint.Point(failpoint.Elected)
	// A later leader may have begun its term already: its term is then higher, and this one must not claim anything.
	if err := l.Confirm(ctx); err != nil {
		return record.Term{}, fmt.Errorf("begin term %d: %w", term.Term, err)
	}
	if err := l.Announce(ctx, term.Term); err != nil {
		return record.Term{}, err
	}
	return term, nil
}

// raiseTerm makes the next term, whoever begins it, later than the one that an agent knows. Another replica would count on from
// the store's term, and could begin that very term a second time.
func (r *Replica) raiseTerm(ctx context.Context, higher *controller.HigherTermError) {
	r.raisedTerm[higher.Node] = true
	r.termFloor.Store(max(r.termFloor.Load(), higher.Term)) // if the store is unavailable now
	ctx, cancel := context.WithTimeout(ctx, beginAttempt)
	defer cancel()
	if _, err := r.store.BeginTerm(ctx, higher.Term); err != nil && ctx.Err() == nil {
		r.log.Warn("cannot raise the store's term above the one that an agent knows", "term", higher.Term, "error", err)
	}
}
