package replica

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/replicante-io/playbooks/controller"
	"github.com/replicante-io/playbooks/election"
	"github.com/replicante-io/playbooks/internal/etcd"
	"github.com/replicante-io/playbooks/store"
)

// reign is one time of having won the election, as log and metrics tell it: one line when this replica leads, one when
// it does not any more. Its methods are called by lead alone, but for leads.
type reign struct {
	*Replica
	after *election.Leader // who led before, if that was seen
	won   time.Time
	began time.Time // its term
	term  int64     // 0 until it began
	led   time.Time // since when it leads; zero: not yet
}

func (r *Replica) wins() *reign {
	return &reign{Replica: r, after: r.lastLeader.Load(), won: time.Now()}
}

// begins notes that the term has begun.
func (r *reign) begins(term int64) {
	r.began, r.term = time.Now(), term
	r.metrics.takeoverPhases.WithLabelValues("term").Observe(r.began.Sub(r.won).Seconds())
	r.metrics.term.Set(float64(term))
}

// leads notes that the runs go on. It is called at most once, before lead ends.
func (r *reign) leads(openRuns int) {
	r.led = time.Now()
	r.declined = ""
	took := r.led.Sub(r.won)
	r.metrics.takeoverPhases.WithLabelValues("runs").Observe(r.led.Sub(r.began).Seconds())
	r.metrics.takeover.Observe(took.Seconds())
	r.metrics.takeovers.Inc()
	r.metrics.leading.Set(1)
	fields := []any{"leadership", "gained", "term", r.term, "took", took.Round(time.Millisecond).String(), "open_runs", openRuns}
	if r.after != nil {
		fields = append(fields, "after", r.after.Name, "after_term", r.after.Term)
	}
	r.log.Info("leadership gained", fields...)
}

// ends notes why it is over. The cause of ctx is why this replica must not lead any more, err is why it cannot.
func (r *reign) ends(ctx context.Context, err error) {
	r.metrics.leading.Set(0)
	reason, why := reasonOf(context.Cause(ctx), err)
	fields := []any{"reason", reason}
	if r.term > 0 {
		fields = append(fields, "term", r.term)
	}
	if why != nil {
		fields = append(fields, "error", why)
	}
	if r.led.IsZero() { // tried again and again: said when it changes
		if declined := fmt.Sprint(reason, why); declined != r.declined {
			r.declined = declined
			r.log.Warn("leadership not taken", append([]any{"leadership", "declined"}, fields...)...)
		}
		return
	}
	r.metrics.losses.WithLabelValues(reason).Inc()
	fields = append([]any{"leadership", "lost", "led_for", time.Since(r.led).Round(time.Millisecond).String()}, fields...)
	if reason == reasonStopped {
		r.log.Info("leadership lost", fields...)
	} else {
		r.log.Warn("leadership lost", fields...)
	}
}

// reasonStopped is the one reason that nobody has to look into.
const reasonStopped = "stopped"

// reasonOf names why leading ended: stable, for programs. What ended the leadership from outside goes before what failed
// under it.
func reasonOf(cause, err error) (reason string, why error) {
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
	case errors.Is(err, store.ErrStaleTerm):
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

// followLeaders says when another replica leads, and remembers the last one, until ctx ends. It looks at the store that
// the other has prepared, so that this replica need not do it in the haste of a takeover.
func (r *Replica) followLeaders(ctx context.Context) error {
	var last election.Leader
	for {
		changed := r.candidate.Changed()
		if leader, known := r.leader(); known && leader != last {
			last = leader
			r.lastLeader.Store(&leader)
			if leader.Instance != r.instance {
				r.log.Info("leadership changed", "leadership", "followed", "leader", leader.Name, "url", leader.Advertise, "term", leader.Term)
				checking, cancel := context.WithTimeout(ctx, beginTry)
				wrong, err := r.store.Check(checking)
				cancel()
				r.prepared.Store(err == nil && len(wrong) == 0)
			}
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil
		}
	}
}

// census counts what this replica looks after while it leads.
func (r *Replica) census() (controller.Census, bool) {
	if o := r.owner.Load(); o != nil {
		return o.controller.Census()
	}
	return controller.Census{}, false
}
