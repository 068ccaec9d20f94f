package systemd

import (
	"context"
	"net"
	"net/http"
)

// Answers returns a check that a daemon is alive: it answers GET of a path on the address that it listens on, whatever the
// answer. The path must wait for nothing outside the process, or systemd would restart the daemon where that cannot help.
// Each check uses a new connection: a daemon that accepts none is not alive.
func Answers(listening net.Addr, path string) func(context.Context) bool {
	client := &http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true}, // and no proxy
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
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
