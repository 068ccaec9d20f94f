package replica

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/replicante-io/playbooks/election"
	"github.com/replicante-io/playbooks/internal/failpoint"
	"github.com/replicante-io/playbooks/internal/transport"
)

// errStoreElsewhere means that another replica reaches the store and this one does not, so that the other should lead.
var errStoreElsewhere = errors.New("the primary store answers another replica and not this one")

const (
	// storeElsewhereAfter is how long the store must have been unavailable before a leader asks the other replicas;
	// storeElsewhereEvery, how often it asks.
	storeElsewhereAfter = 5 * time.Second
	storeElsewhereEvery = 2 * time.Second
)

// stepDownForStore calls stepDown, with errStoreElsewhere, once the store has been unavailable to this replica for a while
// and another candidate is ready, and both has been so for longer than this replica needs to notice that the store is
// back. As long as no other can use the store either, this replica keeps leading: it knows the runs from memory. It
// returns when ctx ends.
func (r *Replica) stepDownForStore(ctx context.Context, stepDown context.CancelCauseFunc) {
	peers := transport.NewClient(transport.ClientConfig{
		Peer: failpoint.Replica, DialTimeout: answerTimeout, Timeout: answerTimeout, NewConnections: true,
	})
	ticker := time.NewTicker(storeElsewhereEvery)
	defer ticker.Stop()
	var readySince time.Time // of another replica while the store is unavailable to this one; zero: none is ready
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		if since, _ := r.monitor.Unavailable(); since.IsZero() || time.Since(since) < r.storeElsewhereAfter {
			readySince = time.Time{}
			continue
		}
		others := r.candidate.Others()
		at := slices.IndexFunc(others, func(other election.Leader) bool { return isReady(ctx, peers, other.Advertise) })
		switch {
		case at < 0:
			readySince = time.Time{}
		case readySince.IsZero():
			readySince = time.Now() // a store that recovers may answer the other replica first
		case time.Since(readySince) > answerTimeout:
			stepDown(fmt.Errorf("%w: it answers %s", errStoreElsewhere, others[at].Name))
			return
		}
	}
}

// isReady asks the replica at url.
func isReady(ctx context.Context, peers *http.Client, url string) bool {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimRight(url, "/")+"/readyz", nil)
	if err != nil {
		return false
	}
	answer, err := peers.Do(request)
	if err != nil {
		return false
	}
	_ = answer.Body.Close()
	return answer.StatusCode == http.StatusOK
}
