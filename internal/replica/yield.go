package replica

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/replicante-io/playbooks/election"
	"github.com/replicante-io/playbooks/internal/failpoint"
)

// errStoreElsewhere means that another replica reaches the store, and this one does not: leading is for the other.
var errStoreElsewhere = errors.New("the primary store answers another replica, and not this one")

const (
	// yieldAfter is how long the store may be away before a leader asks whether it is so for all; yieldEvery how often.
	yieldAfter = 5 * time.Second
	yieldEvery = 2 * time.Second
)

// yield calls stop, with errStoreElsewhere, once the store has been away from here for a while and another candidate is
// ready, and both stays so for longer than this replica needs to notice that the store is back. While no other can use the
// store either, this replica goes on: it knows the runs from memory. It returns when ctx ends.
func (r *Replica) yield(ctx context.Context, stop context.CancelCauseFunc) {
	peers := &http.Client{Timeout: patience, Transport: &http.Transport{
		DialContext:       failpoint.Dial(failpoint.Replica, (&net.Dialer{Timeout: patience}).DialContext),
		DisableKeepAlives: true,
	}}
	ticker := time.NewTicker(yieldEvery)
	defer ticker.Stop()
	var elsewhere time.Time // since when another is ready while the store is away from here; zero: none is
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		if since, _ := r.outage.Away(); since.IsZero() || time.Since(since) < r.yieldAfter {
			elsewhere = time.Time{}
			continue
		}
		others := r.candidate.Others()
		at := slices.IndexFunc(others, func(other election.Leader) bool { return ready(ctx, peers, other.Advertise) })
		switch {
		case at < 0:
			elsewhere = time.Time{}
		case elsewhere.IsZero():
			elsewhere = time.Now() // a store that comes back may answer the other first
		case time.Since(elsewhere) > patience:
			stop(fmt.Errorf("%w: it answers %s", errStoreElsewhere, others[at].Name))
			return
		}
	}
}

// ready asks a replica whether it lacks nothing.
func ready(ctx context.Context, peers *http.Client, url string) bool {
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
