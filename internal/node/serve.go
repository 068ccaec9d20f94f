package node

import (
	"context"
	"encoding/json"
	"net"
	"net/http"

	"github.com/hashicorp/go-hclog"

	"github.com/replicante-io/playbooks/agent"
	"github.com/replicante-io/playbooks/agent/wire"
	"github.com/replicante-io/playbooks/internal/transport"
)

// connectionsPerAgent is for a control plane that holds several answers of an agent open, and for an earlier leader of it
// whose connections are still there; minConnections for what monitors an agent beside it.
const (
	connectionsPerAgent = 8
	minConnections      = 1024
)

// Serve answers for so many agents, which are reached under names (see transport.Guard), on listener until ctx ends (nil). Held
// requests then end at once.
func Serve(ctx context.Context, listener net.Listener, handler http.Handler, agents int, names []string, log hclog.Logger) error {
	return transport.NewServer(transport.ServerConfig{
		Handler: handler, Guard: guard(names), MaxBody: agent.MaxBody, MaxConnections: max(minConnections, connectionsPerAgent*agents), Log: log,
	}).Serve(ctx, listener)
}

// guard refuses what agents do not take from browsers and strangers. Every POST needs the type of a body: a page of another origin
// can send one without a body, and none with this type.
func guard(names []string) *transport.Guard {
	return &transport.Guard{
		Names:     names,
		NeedsType: func(r *http.Request) bool { return r.Method == http.MethodPost },
		Refuse: func(w http.ResponseWriter, refusal transport.Refusal) {
			w.Header().Set("Content-Type", transport.MediaTypeJSON)
			w.WriteHeader(refusal.Status)
			_ = json.NewEncoder(w).Encode(wire.Rejection{Error: refusal.Message}) // the client has gone if this fails
		},
	}
}
