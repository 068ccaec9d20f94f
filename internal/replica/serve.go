package replica

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/replicante-io/playbooks/api"
)

// drainTime is how long requests may take to end once the replica stops.
const drainTime = 3 * time.Second

// serve answers requests until ctx ends, and then lets those that are open end. Once the port is closed, before that, only
// requests on connections that exist are answered. It fails where the port can no longer be used.
func (r *Replica) serve(ctx context.Context) error {
	server := &http.Server{
		Handler: api.New(api.Config{
			Store: r.store, Leader: r.leader, Changed: r.candidate.Changed, Owner: r.owner, Ready: r.NotReady, StoreWaits: r.monitor.message,
			Name: r.config.Name, Instance: r.instance, Version: r.config.Version,
			Metrics: r.metrics.handler(), Log: r.config.Log.Named("api"),
		}),
		ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute,
		BaseContext: func(net.Listener) context.Context { return ctx }, // streams end with it
		ErrorLog:    r.log.StandardLogger(&hclog.StandardLoggerOptions{InferLevels: true}),
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(r.listener) }()
	select {
	case <-ctx.Done():
	case err := <-served:
		if !errors.Is(err, net.ErrClosed) {
			return errors.Join(fmt.Errorf("serve on %s: %w", r.listener.Addr(), err), server.Close())
		}
		<-ctx.Done()
		served <- nil
	}
	draining, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTime)
	defer cancel()
	if server.Shutdown(draining) != nil {
		_ = server.Close()
	}
	<-served
	return nil
}

// owner is the controller for the API, nil while this replica does not lead.
func (r *Replica) owner() api.Owner {
	if c := r.controller(); c != nil {
		return c
	}
	return nil
}
