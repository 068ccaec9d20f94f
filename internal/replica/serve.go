package replica

import (
	"context"
	"time"

	"github.com/replicante-io/playbooks/api"
	"github.com/replicante-io/playbooks/internal/transport"
)

// drainTimeout is how long requests may take to end once the replica stops.
const drainTimeout = 3 * time.Second

// serve answers requests until ctx ends, and then lets those that are open end. Once the port is closed, before that, only
// requests on connections that exist are answered. It fails where the port can no longer be used.
func (r *Replica) serve(ctx context.Context) error {
	return transport.NewServer(transport.ServerConfig{
		Handler: api.New(api.Config{
			Store: r.store, Leader: r.leader, LeaderChanged: r.candidate.Changed, NotReady: r.NotReady, StoreUnavailable: r.monitor.Unavailable,
			Name: r.config.Name, Instance: r.instance, Version: r.config.Version,
			Metrics: r.metrics.handler(), Log: r.config.Log.Named("api"),
		}, r.controller),
		Guard:   api.Guard(append(r.config.API.Names(), r.url)),
		MaxBody: api.MaxBody, DrainTimeout: drainTimeout, Log: r.log,
	}).Serve(ctx, r.listener)
}
