package replica

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/replicante-io/playbooks/store"
)

// answerTimeout is how long the store, etcd or another replica may take to answer before it counts as unavailable.
const answerTimeout = 3 * time.Second

// NotReady returns why this replica is not ready, each reason in a sentence; nothing when it is.
func (r *Replica) NotReady(ctx context.Context) []string {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	var asking sync.WaitGroup
	var ofStore, ofEtcd string
	asking.Go(func() { ofStore = r.storeNotReady(ctx) })
	asking.Go(func() {
		if _, err := boundInstallation(ctx, r.etcd, r.config.Etcd.Prefix); err != nil {
			ofEtcd = "etcd: " + err.Error()
		}
	})
	asking.Wait()
	var reasons []string
	for _, reason := range []string{ofStore, ofEtcd, r.leaderNotReady()} {
		if reason != "" {
			reasons = append(reasons, reason)
		}
	}
	return reasons
}

func (r *Replica) storeNotReady(ctx context.Context) string {
	_, err := r.store.Term(ctx)
	if errors.Is(err, store.ErrNotFound) {
		return "the primary store: not prepared yet; the leader prepares it"
	}
	if err != nil {
		return "the primary store: " + err.Error()
	}
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
