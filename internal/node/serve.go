package node

import (
	"context"
	"net"
	"net/http"

	"github.com/hashicorp/go-hclog"

	"github.com/replicante-io/playbooks/agent"
	"github.com/replicante-io/playbooks/internal/transport"
)

// connectionsPerAgent is for a control plane that holds several answers of an agent open, and for an earlier leader of it
// whose connections are still there; minConnections for what monitors an agent beside it.
const (
	connectionsPerAgent = 8
	minConnections      = 1024
)

// Serve answers for so many agents on listener until ctx ends (nil). Held requests then end at once.
func Serve(ctx context.Context, listener net.Listener, handler http.Handler, agents int, log hclog.Logger) error {
	return transport.NewServer(transport.ServerConfig{
		Handler: handler, MaxBody: agent.MaxBody, MaxConnections: max(minConnections, connectionsPerAgent*agents), Log: log,
	}).Serve(ctx, listener)
}
