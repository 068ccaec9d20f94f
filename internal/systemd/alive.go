package systemd

import (
	"context"
	"net"
	"net/http"

	"github.com/replicante-io/playbooks/internal/transport"
)

// Answers returns a check that a daemon is alive: it answers GET of a path on the address that it listens on, whatever the
// answer. The path must wait for nothing outside the process, or systemd would restart the daemon where that cannot help.
// Each check uses a new connection: a daemon that accepts none is not alive.
func Answers(listening net.Addr, path string) func(context.Context) bool {
	client := transport.NewClient(transport.ClientConfig{NewConnections: true})
	return func(ctx context.Context) bool {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+listening.String()+path, nil)
		if err != nil {
			return false
		}
		answer, err := client.Do(request)
		if err != nil {
			return false
		}
		_ = answer.Body.Close()
		return true
	}
}
