package replica

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/replicante-io/playbooks/controller"
	"github.com/replicante-io/playbooks/election"
	"github.com/replicante-io/playbooks/internal/etcd"
	"github.com/replicante-io/playbooks/store"
)

// leadershipLog logs who leads, and counts it: one line when this replica begins to lead, one when it stops, one when
// another replica leads.
type leadershipLog struct {
	log      hclog.Logger
	metrics  *metrics
	previous atomic.Pointer[election.Leader] // the latest leader that was seen
	declined string                          // why this replica last did not lead although it was elected; for entries only
}

// follows logs that another replica leads.
func (l *leadershipLog) follows(leader election.Leader) {
	l.log.Info("leadership changed", "leadership", "followed", "leader", leader.Name, "url", leader.Advertise, "term", leader.Term)
}

// elected begins the entry of one time of being elected. There is one entry at a time.
func (l *leadershipLog) elected() *leadershipEntry {
	return &leadershipEntry{leadershipLog: l, after: l.previous.Load(), electedAt: time.Now()}
}

// leadershipEntry is one time of being elected. Its methods are called in this order: termBegan, gained, ended. Only ended
// always is.
type leadershipEntry struct {
	*leadershipLog
	after       *election.Leader // nil: it is not known who led before
	electedAt   time.Time
	termBeganAt time.Time
	term        int64     // 0 until it has begun
	gainedAt    time.Time // zero: this replica has not led
}

func (e *leadershipEntry) termBegan(term int64) {
	e.termBeganAt, e.term = time.Now(), term
	e.metrics.takeoverPhases.WithLabelValues("term").Observe(e.termBeganAt.Sub(e.electedAt).Seconds())
	e.metrics.term.Set(float64(term))
}

// gained logs that this replica leads: all open runs continue.
func (e *leadershipEntry) gained(openRuns int) {
	e.gainedAt = time.Now()
	e.declined = ""
	took := e.gainedAt.Sub(e.electedAt)
	e.metrics.takeoverPhases.WithLabelValues("runs").Observe(e.gainedAt.Sub(e.termBeganAt).Seconds())
	e.metrics.takeover.Observe(took.Seconds())
	e.metrics.takeovers.Inc()
	e.metrics.leading.Set(1)
	fields := []any{"leadership", "gained", "term", e.term, "took", took.Round(time.Millisecond).String(), "open_runs", openRuns}
	if e.after != nil {
		fields = append(fields, "after", e.after.Name, "after_term", e.after.Term)
	}
	e.log.Info("leadership gained", fields...)
}

// ended logs why this replica no longer leads, or has not led. cause is why it had to stop, nil if it did not have to; err
// is why it could not continue.
func (e *leadershipEntry) ended(cause, err error) {
	e.metrics.leading.Set(0)
	reason, why := leadershipEnd(cause, err)
	fields := []any{"reason", reason}
	if e.term > 0 {
		fields = append(fields, "term", e.term)
	}
	if why != nil {
		fields = append(fields, "error", why)
	}
	if e.gainedAt.IsZero() { // it is elected again and again: logged when the reason changes
		if declined := fmt.Sprint(reason, why); declined != e.declined {
			e.declined = declined
			e.log.Warn("leadership not taken", append([]any{"leadership", "declined"}, fields...)...)
		}
		return
	}
	e.metrics.losses.WithLabelValues(reason).Inc()
	fields = append([]any{"leadership", "lost", "led_for", time.Since(e.gainedAt).Round(time.Millisecond).String()}, fields...)
	if reason == reasonStopped {
		e.log.Info("leadership lost", fields...)
	} else {
		e.log.Warn("leadership lost", fields...)
	}
}

// reasonStopped is the only reason that is no fault.
const reasonStopped = "stopped"

// leadershipEnd returns why leading ended: a stable reason for programs, and an error for people. What ended the leadership from outside
// comes before what failed under it.
func leadershipEnd(cause, err error) (reason string, why error) {
	switch {
	case errors.Is(cause, etcd.ErrLeaseLost):
		return "lease_lost", cause
	case errors.Is(cause, election.ErrKeyLost):
		return "key_lost", cause
	case cause != nil:
		return reasonStopped, nil
	case errors.Is(err, errStoreElsewhere):
		return "store_elsewhere", err
	case errors.As(err, new(*controller.HigherTermError)):
		return "agent_term", err
	case errors.Is(err, store.ErrStaleTerm), errors.Is(err, errNotAlone):
		return "later_term", err
	case errors.Is(err, ErrOtherInstallation):
		return "other_installation", err
	case errors.Is(err, store.ErrUnusable):
		return "store_unusable", err
	case errors.Is(err, store.ErrUnavailable):
		return "store_unavailable", err
	case errors.Is(err, election.ErrNotLeader):
		return "key_lost", err
	}
	return "failed", err
}
