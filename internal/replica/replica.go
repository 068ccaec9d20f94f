// Package replica is one process of the control plane as a library: the HTTP interface, a candidate for the leadership,
// and, while it leads, the controller.
//
// Any number of replicas of an installation run at the same time. Each serves reads; the one that etcd elected writes.
// On the way out a leader first ends its work and waits for it, then closes its port, and only then gives the
// leadership back.
package replica

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/hashicorp/go-hclog"
	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/errgroup"

	"github.com/replicante-io/playbooks/api"
	"github.com/replicante-io/playbooks/election"
	"github.com/replicante-io/playbooks/internal/config"
	"github.com/replicante-io/playbooks/internal/failpoint"
	"github.com/replicante-io/playbooks/store"
)

// drainTime is how long requests may take to end once the replica stops.
const drainTime = 3 * time.Second

// Config says what a replica works with.
type Config struct {
	config.Core
	// BindStore makes a leader take the store that it is given for the installation's when etcd knows none: for an etcd
	// that begins anew with every start.
	BindStore bool
	Version   string
	Log       hclog.Logger
	// Serving is called once the interface is served, with its URL. It may be nil.
	Serving func(url string)
	// Listening is called before that with the address that it listens on. It may be nil.
	Listening func(net.Addr)
}

// Replica is one process of the control plane.
type Replica struct {
	config   Config
	open     func() (store.Store, error)
	log      hclog.Logger
	instance string

	// What Run makes.
	etcd      *clientv3.Client
	store     store.Store
	candidate *election.Candidate
	metrics   *metrics
	outage    *outage // of the store

	owner atomic.Pointer[owner] // while this replica leads
	floor atomic.Int64          // the next term is above it
	fault atomic.Pointer[string]

	lastLeader atomic.Pointer[election.Leader] // that was seen
	prepared   atomic.Bool                     // the store was, by the leader that this replica follows
	yieldAfter time.Duration
	declined   string // why this replica last did not lead although it was elected
}

// New makes a replica that does nothing yet.
func New(config Config) *Replica {
	if config.Log == nil {
		config.Log = hclog.NewNullLogger()
	}
	r := &Replica{
		config: config, open: func() (store.Store, error) { return OpenStore(config.Core, config.Log) },
		log: config.Log.Named("replica"), instance: uuid.NewString(), yieldAfter: yieldAfter,
	}
	r.metrics = newMetrics(func() bool { return r.outage != nil && r.outage.waits() != "" }, r.census)
	return r
}

// Run serves and stands for election until ctx ends (nil). An error says what keeps the replica from working at all;
// what may pass (etcd or the store away, no leader) is no error: the replica waits, and its /readyz says for what.
func (r *Replica) Run(ctx context.Context) (err error) {
	listener, err := net.Listen("tcp", r.config.API.Listen)
	if err != nil {
		return fmt.Errorf("listen on api.listen: %w", err)
	}
	defer func() { _ = listener.Close() }()
	if r.config.Listening != nil {
		r.config.Listening(listener.Addr())
	}
	if r.store, err = r.open(); err != nil {
		return err
	}
	r.store = failpoint.Wrap(failpoint.StoreCalls, r.store)
	defer func() { err = errors.Join(err, r.store.Close()) }()
	r.watchStore()
	if err := r.usable(ctx); err != nil {
		return err
	}
	if r.etcd, err = Connect(r.config.Etcd, func(method, code string) {
		r.metrics.etcdErrors.WithLabelValues(method, code).Inc()
	}); err != nil {
		return err
	}
	defer func() { _ = r.etcd.Close() }()

	url := advertised(r.config.API, listener)
	r.candidate = election.New(election.Config{
		Client: r.etcd, Prefix: r.config.Etcd.Prefix, Name: r.config.Name, Advertise: url, Instance: r.instance,
		TTL: r.config.Etcd.LeaseTTL, Log: r.config.Log,
	})
	streams, endStreams := context.WithCancel(context.WithoutCancel(ctx))
	defer endStreams()
	server := &http.Server{
		Handler: api.New(api.Config{
			Store: r.store, Leader: r.leader, Changed: r.candidate.Changed, Owner: r.apiOwner, Ready: r.Missing, StoreWaits: r.outage.waits,
			Name: r.config.Name, Instance: r.instance, Version: r.config.Version,
			Metrics: r.metrics.handler(), Log: r.config.Log.Named("api"),
		}),
		ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute,
		BaseContext: func(net.Listener) context.Context { return streams },
		ErrorLog:    r.log.StandardLogger(&hclog.StandardLoggerOptions{InferLevels: true}),
	}

	// What serves ends after what leads: the store is followed and read until nobody can ask any more.
	work, working := errgroup.WithContext(context.WithoutCancel(ctx))
	working, stop := context.WithCancel(working)
	standing, withdraw := context.WithCancel(working)
	defer context.AfterFunc(ctx, withdraw)()
	work.Go(func() error {
		if err := server.Serve(listener); standing.Err() == nil {
			return fmt.Errorf("serve on %s: %w", listener.Addr(), err)
		}
		return nil
	})
	work.Go(func() error { return r.outage.Run(working) })
	work.Go(func() error { return r.followLeaders(working) })
	work.Go(func() error {
		if err := r.store.Maintain(working); err != nil && working.Err() == nil {
			return fmt.Errorf("maintain the primary store: %w", err)
		}
		return nil
	})
	work.Go(func() error {
		defer stop()
		err := r.candidate.Run(standing, func(ctx context.Context, l *election.Leadership) error {
			err := r.lead(ctx, l)
			if standing.Err() != nil {
				_ = listener.Close()
			}
			return err
		})
		withdraw()
		endStreams()
		draining, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTime)
		defer cancel()
		if server.Shutdown(draining) != nil {
			_ = server.Close()
		}
		return err
	})
	r.log.Info("replica serves", "name", r.config.Name, "url", url, "instance", r.instance, "store", r.config.Store.String(),
		"version", r.config.Version)
	if r.config.Serving != nil {
		r.config.Serving(url)
	}
	return work.Wait()
}

// leader is who leads; a winner of the election that has not begun its term does not yet.
func (r *Replica) leader() (election.Leader, bool) {
	leader, known := r.candidate.Leader()
	return leader, known && leader.Term > 0
}

// usable refuses a store that will not become one by waiting: another process has the file, a login is wrong.
func (r *Replica) usable(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if _, err := r.store.Term(ctx); errors.Is(err, store.ErrUnusable) {
		return fmt.Errorf("use the primary store %s: %w", r.config.Store, err)
	}
	return nil
}

// advertised is the URL under which others reach the replica; where any port will do, it has the one that it got.
func advertised(c config.API, listener net.Listener) string {
	if c.Advertise == "" || c.Advertise == "http://"+c.Listen {
		return "http://" + listener.Addr().String()
	}
	return strings.TrimRight(c.Advertise, "/")
}
