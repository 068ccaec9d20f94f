package replica

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/replicante-io/playbooks/internal/transport"
	"github.com/replicante-io/playbooks/store"
)

// answerTimeout is how long the store, etcd or another replica may take to answer before it counts as unavailable.
const answerTimeout = 3 * time.Second

// readyFor is for how long what the store and etcd answered is not asked again.
const readyFor = time.Second

// readiness is what the store and etcd answered last. Whoever holds the token asks them, or reads the rest.
type readiness struct {
	token   chan struct{}
	askedAt time.Time
	reasons []string
}

// NotReady returns why this replica is not ready, each reason in a sentence; nothing when it is. However often it is called, the
// store and etcd are asked once in readyFor, and nothing is written to them.
func (r *Replica) NotReady(ctx context.Context) []string {
	select {
	case r.readiness.token <- struct{}{}:
	case <-ctx.Done():
		return []string{"the primary store or etcd: no answer yet"}
	}
	if time.Since(r.readiness.askedAt) >= readyFor {
		r.readiness.reasons = r.ask(context.WithoutCancel(ctx)) // others wait for the answer too
		r.readiness.askedAt = time.Now()
	}
	reasons := slices.Clone(r.readiness.reasons)
	<-r.readiness.token
	for _, reason := range []string{descriptorsNotReady(), r.commitsNotReady(), r.leaderNotReady()} {
		if reason != "" {
			reasons = append(reasons, reason)
		}
	}
	return reasons
}

// ask asks the store and etcd why this replica is not ready.
func (r *Replica) ask(ctx context.Context) []string {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	var asking sync.WaitGroup
	var ofStore, ofEtcd string
	var other bool
	asking.Go(func() { ofStore = r.storeNotReady(ctx) })
	asking.Go(func() {
		if err := r.checkInstallation(ctx); err != nil {
			ofEtcd = "etcd: " + err.Error()
			other = errors.Is(err, ErrOtherInstallation)
		}
	})
	asking.Wait()
	if other {
		return []string{ofEtcd} // nobody will prepare the store
	}
	var reasons []string
	for _, reason := range []string{ofStore, ofEtcd} {
		if reason != "" {
			reasons = append(reasons, reason)
		}
	}
	return reasons
}

func (r *Replica) storeNotReady(ctx context.Context) string {
	err := r.store.Ping(ctx)
	if errors.Is(err, store.ErrNotFound) {
		return "the primary store: not prepared yet; the leader prepares it"
	}
	if err != nil {
		return "the primary store: " + err.Error()
	}
	return ""
}

func descriptorsNotReady() string {
	if err := transport.CheckDescriptors(); err != nil {
		return "file descriptors: " + err.Error() + "; agents are not called until some are free: raise the limit (LimitNOFILE in the unit)"
	}
	return ""
}

func (r *Replica) commitsNotReady() string {
	if c, leads := r.controller(); leads {
		if stats, _ := c.Stats(); stats.DelayedRuns > 0 {
			return fmt.Sprintf("the primary store: it accepts no commits of %d runs: %s", stats.DelayedRuns, stats.DelayReason)
		}
	}
	return ""
}

func (r *Replica) leaderNotReady() string {
	if _, known := r.leader(); known {
		return ""
	}
	if why := r.whyNotLeading.Load(); why != nil {
		return "the leader: this replica was elected and cannot lead: " + *why
	}
	return "the leader: none is known"
}
