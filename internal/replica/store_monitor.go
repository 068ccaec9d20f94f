package replica

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/replicante-io/playbooks/store"
)

// observed returns the store with calls that the monitor and the metrics see.
func (r *Replica) observed(inner store.Store) store.Store {
	r.monitor = newStoreMonitor(func(ctx context.Context) error {
		_, err := inner.Term(ctx)
		return err
	}, r.log)
	interceptor := &store.Interceptor{Store: inner, Call: func(ctx context.Context, method string, do func() error) error {
		if method != "Follow" { // which lasts as long as somebody follows
			late := time.AfterFunc(answerTimeout, r.monitor.callIsLate)
			defer late.Stop()
		}
		begun := time.Now()
		err := do()
		if err != nil && !gaveUp(ctx, begun) {
			r.monitor.callFailed(err)
			if kind := errorKind(err); kind != "" {
				r.metrics.storeErrors.WithLabelValues(method, kind).Inc()
			}
		}
		return err
	}}
	return countedStore{interceptor, r.metrics}
}

// leastPatience is how long a call lasts at least whose caller's deadline reports anything about the store.
const leastPatience = time.Second

// gaveUp reports whether a call that began then failed because its caller has gone, or had hardly any time left for it.
func gaveUp(ctx context.Context, begun time.Time) bool {
	return errors.Is(ctx.Err(), context.Canceled) || ctx.Err() != nil && time.Since(begun) < leastPatience
}

// storeMonitor knows whether the primary store answers. A call that failed or takes long makes the store suspect; it
// counts as unavailable once a call of the monitor has failed too, until one succeeds.
type storeMonitor struct {
	call func(ctx context.Context) error
	log  hclog.Logger

	mu          sync.Mutex // no other lock is taken under it
	since       time.Time  // of the first failure after the last answer; zero: there was none
	unavailable bool
	cause       error
	suspect     chan struct{} // holds one token
}

func newStoreMonitor(call func(ctx context.Context) error, log hclog.Logger) *storeMonitor {
	return &storeMonitor{call: call, log: log, suspect: make(chan struct{}, 1)}
}

// callFailed is called for each call that has failed.
func (m *storeMonitor) callFailed(err error) {
	if errors.Is(err, store.ErrUnavailable) {
		m.suspectFor(err)
	}
}

// errLate is why a store is suspect while nothing has failed yet.
var errLate = fmt.Errorf("%w: no answer within %s", store.ErrUnavailable, answerTimeout)

// callIsLate is called for each call that has taken answerTimeout.
func (m *storeMonitor) callIsLate() { m.suspectFor(errLate) }

func (m *storeMonitor) suspectFor(cause error) {
	m.mu.Lock()
	if m.since.IsZero() {
		m.since = time.Now()
	}
	m.cause = cause
	m.mu.Unlock()
	select {
	case m.suspect <- struct{}{}:
	default:
	}
}

// Unavailable returns since when the store has not answered, zero while it does, and why.
func (m *storeMonitor) Unavailable() (since time.Time, cause error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.unavailable {
		return time.Time{}, nil
	}
	return m.since, m.cause
}

// Run calls the store whenever it is suspect, again and again until it answers, until ctx ends.
func (m *storeMonitor) Run(ctx context.Context) error {
	for {
		select {
		case <-m.suspect:
		case <-ctx.Done():
			return nil
		}
		for backoff := store.Backoff(); !m.check(ctx) && backoff.Wait(ctx); {
		}
	}
}

// check calls the store once, and reports whether it is available. An outage is logged when it begins and when it ends.
func (m *storeMonitor) check(ctx context.Context) bool {
	calling, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	err := m.call(calling)
	if ctx.Err() != nil {
		return true // nobody needs to know
	}
	before, after, since := m.update(err)
	switch {
	case !before && after:
		m.log.Warn("the primary store does not answer; runs wait until it does", "error", err)
	case before && !after:
		m.log.Info("the primary store answers again", "outage", time.Since(since).Round(time.Millisecond).String())
	}
	return !after
}

// update records how a call of the monitor ended. It returns whether the store was and is unavailable, and since when it
// was.
func (m *storeMonitor) update(err error) (before, after bool, since time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	before, since = m.unavailable, m.since
	m.unavailable = errors.Is(err, store.ErrUnavailable)
	if !m.unavailable {
		m.since, m.cause = time.Time{}, nil
		return before, false, since
	}
	m.cause = err
	if m.since.IsZero() {
		m.since = time.Now()
	}
	return before, true, m.since
}

// storeUnavailable reports whether the store does not answer this replica.
func (r *Replica) storeUnavailable() bool {
	if r.monitor == nil {
		return false
	}
	since, _ := r.monitor.Unavailable()
	return !since.IsZero()
}
