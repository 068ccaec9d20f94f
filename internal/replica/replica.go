// Package replica is one process of the control plane as a library: the HTTP interface, a candidate for the leadership,
// and, while it leads, the controller.
//
// Any number of replicas of an installation run at the same time. Each serves reads; the one that etcd elected writes.
// A leader that stops first ends its work and waits for it, then closes its port, and only then gives the leadership
// back.
package replica

import (
	"context"
	"errors"
	"net"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/hashicorp/go-hclog"
	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/errgroup"

	"github.com/replicante-io/playbooks/election"
	"github.com/replicante-io/playbooks/internal/config"
	"github.com/replicante-io/playbooks/record"
	"github.com/replicante-io/playbooks/store"
)

// Config is what a replica works with.
type Config struct {
	config.Core
	// Alone is set where the replica is the only one of its installation, with an etcd of its own that is empty at every start;
	// nil: it is one of several.
	Alone   *Alone
	Version string
	Log     hclog.Logger
	// Listening is called with the address that the replica listens on, before it serves. It may be nil.
	Listening func(net.Addr)
	// Serving is called once the replica serves, with its URL. It may be nil.
	Serving func(url string)
}

// Alone is an installation of one replica, which binds its etcd to a store that has been led before. Run ends when another
// process leads with the store.
type Alone struct {
	CreatedBy string // of a store that the replica creates
	// Accept refuses a store, by its terms record, before the replica leads: Run ends with the error. It may be called again.
	Accept func(term record.Term) error
}

// Replica is one process of the control plane.
type Replica struct {
	config   Config
	open     func() (store.Store, error)
	log      hclog.Logger
	instance string
	metrics  *metrics
	history  *leadershipLog
	// storeElsewhereAfter is how long the store must have been unavailable before a leader asks the other replicas.
	storeElsewhereAfter time.Duration

	// Opened by start.
	listener  net.Listener
	url       string
	store     store.Store
	monitor   *storeMonitor
	etcd      *clientv3.Client
	candidate *election.Candidate

	leading       atomic.Pointer[leading] // nil while this replica does not lead
	termFloor     atomic.Int64            // the next term is above it
	raisedTerm    map[record.NodeKey]bool // nodes whose agents made a term of this replica end; only lead uses it
	whyNotLeading atomic.Pointer[string]  // nil unless this replica was elected and cannot lead
	readiness     readiness
	reportedTTL   atomic.Int64           // of the store, where the configuration's differs and that was logged
	installation  atomic.Pointer[string] // the id of the store when it was read last; nil: not read yet
	elsewhere     atomic.Bool            // it was logged that etcd is bound to another store
	storePrepared atomic.Bool            // by the leader that this replica follows
}

// New makes a replica that does nothing yet.
func New(config Config) *Replica {
	if config.Log == nil {
		config.Log = hclog.NewNullLogger()
	}
	r := &Replica{
		config: config, open: config.openStore,
		log: config.Log.Named("replica"), instance: uuid.NewString(), storeElsewhereAfter: storeElsewhereAfter,
		raisedTerm: map[record.NodeKey]bool{}, readiness: readiness{token: make(chan struct{}, 1)},
	}
	r.metrics = newMetrics(r.storeUnavailable, r.stats)
	r.history = &leadershipLog{log: r.log, metrics: r.metrics}
	return r
}

func (c Config) openStore() (store.Store, error) {
	var options store.Config
	if c.Alone != nil {
		options.CreatedBy = c.Alone.CreatedBy
	}
	return OpenStore(c.Core, options, c.Log)
}

// Run serves and campaigns until ctx ends (nil). It fails where waiting cannot help; what may
// pass (etcd or the store unavailable, no leader) is no error: the replica waits, and its /readyz reports for what.
// It sets how often this process collects garbage.
func (r *Replica) Run(ctx context.Context) (err error) {
	collectOften()
	if err := r.start(ctx); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.close()) }()

	// There are three lifetimes, each within the next. A leader leads until ctx ends or any part of the replica fails.
	// Requests are answered until no leader's work is left. The store is watched and maintained until no request is left.
	parts, leading := errgroup.WithContext(ctx)
	serving, drain := context.WithCancel(context.WithoutCancel(ctx))
	defer drain()
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	drained := make(chan struct{})

	parts.Go(func() error { return r.monitor.Run(background) })
	parts.Go(func() error { return r.maintainStore(background) })
	parts.Go(func() error { return r.followLeaders(background) })
	parts.Go(func() error {
		defer close(drained)
		return r.serve(serving)
	})
	parts.Go(func() error {
		err := r.campaign(leading)
		drain()
		<-drained
		stop()
		return err
	})
	r.log.Info("replica serves", "name", r.config.Name, "url", r.url, "instance", r.instance, "store", r.config.Store.String(),
		"version", r.config.Version)
	if r.config.Serving != nil {
		r.config.Serving(r.url)
	}
	return parts.Wait()
}

// campaign leads whenever this replica is elected, until ctx ends. The leadership is given back when the function returns
// that leads: by then the work has ended and, if this replica stops, its port is closed.
func (r *Replica) campaign(ctx context.Context) error {
	ctx, end := context.WithCancel(ctx)
	defer end()
	var failed error
	err := r.candidate.Run(ctx, func(leading context.Context, l *election.Leadership) error {
		err := r.lead(leading, l)
		if r.config.Alone != nil && (errors.Is(err, errNotAlone) || errors.Is(err, errNotAccepted)) {
			failed = err
			end()
		}
		if ctx.Err() != nil {
			_ = r.listener.Close()
		}
		return err
	})
	return errors.Join(failed, err)
}
