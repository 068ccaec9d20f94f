package systemd

import (
	"context"
	"net"
	"net/http"
)

// Answers says that a daemon is alive while it answers GET of a path on the address that it listens on, whatever the
// answer. The path must be one that waits for nothing outside the process, or a restart would be tried where it cannot
// help. Each question takes a connection of its own: a daemon that accepts none is not alive.
func Answers(listening net.Addr, path string) func(context.Context) bool {
	asking := &http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true}, // and no proxy
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return func(ctx context.Context) bool {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+listening.String()+path, nil)
		if err != nil {
			return false
		}
		answer, err := asking.Do(request)
		if err != nil {
			return false
		}
		_ = answer.Body.Close()
		return true
	}
}
