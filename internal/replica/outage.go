package replica

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/replicante-io/playbooks/internal/etcd"
	"github.com/replicante-io/playbooks/store"
)

// watchStore has every call of the store seen from now on.
func (r *Replica) watchStore() {
	inner := r.store
	r.outage = newOutage(func(ctx context.Context) error {
		_, err := inner.Term(ctx)
		return err
	}, r.log)
	around := &store.Interceptor{Store: inner, Call: func(ctx context.Context, method string, do func() error) error {
		if method != "Follow" { // which lasts as long as somebody follows
			late := time.AfterFunc(patience, r.outage.late)
			defer late.Stop()
		}
		err := do()
		if err != nil && !errors.Is(ctx.Err(), context.Canceled) { // whoever asked is still there
			r.outage.failed(err)
			if kind := storeKind(err); kind != "" {
				r.metrics.storeErrors.WithLabelValues(method, kind).Inc()
			}
		}
		return err
	}}
	r.store = countedStore{around, r.metrics}
}

// outage knows whether the primary store answers. A call that failed or takes long makes it suspect; it counts as away once a question
// of our own failed too, and until one is answered.
type outage struct {
	ask func(ctx context.Context) error
	log hclog.Logger

	mu      sync.Mutex
	since   time.Time // of the first failure after the last answer; zero: none
	away    bool
	why     error
	suspect chan struct{} // holds one signal
}

func newOutage(ask func(ctx context.Context) error, log hclog.Logger) *outage {
	return &outage{ask: ask, log: log, suspect: make(chan struct{}, 1)}
}

// failed is told of each call that failed, and why.
func (o *outage) failed(err error) {
	if errors.Is(err, store.ErrUnavailable) {
		o.doubt(err)
	}
}

// errLate is why a store is suspect while nothing has failed yet.
var errLate = fmt.Errorf("%w: it has not answered in %s", store.ErrUnavailable, patience)

// late is told of each call that has taken patience.
func (o *outage) late() { o.doubt(errLate) }

func (o *outage) doubt(why error) {
	o.mu.Lock()
	if o.since.IsZero() {
		o.since = time.Now()
	}
	o.why = why
	o.mu.Unlock()
	select {
	case o.suspect <- struct{}{}:
	default:
	}
}

// Away is since when the store has not answered, zero where it does, and why.
func (o *outage) Away() (since time.Time, why error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.away {
		return time.Time{}, nil
	}
	return o.since, o.why
}

// waits is what waits for the store, in plain words; "" while it answers.
func (o *outage) waits() string {
	if since, why := o.Away(); !since.IsZero() {
		return store.OutageMessage(since, why)
	}
	return ""
}

// Run asks the store whenever it is suspect, and on until it answers, until ctx ends.
func (o *outage) Run(ctx context.Context) error {
	said := &etcd.OutageLog{Log: o.log, Down: "the primary store does not answer", Up: "the primary store answers again"}
	retry := store.Backoff()
	for {
		select {
		case <-o.suspect:
		case <-ctx.Done():
			return nil
		}
		for {
			asking, cancel := context.WithTimeout(ctx, patience)
			err := o.ask(asking)
			cancel()
			if ctx.Err() != nil {
				return nil
			}
			o.mu.Lock()
			if o.away = errors.Is(err, store.ErrUnavailable); !o.away {
				o.since, o.why = time.Time{}, nil
			} else if o.why = err; o.since.IsZero() {
				o.since = time.Now()
			}
			away := o.away
			o.mu.Unlock()
			if !away {
				said.Succeeded()
				retry.Reset()
				break
			}
			said.Failed(err)
			if !retry.Wait(ctx) {
				return nil
			}
		}
	}
}
