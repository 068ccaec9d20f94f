package api

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/replicante-io/playbooks/election"
	"github.com/replicante-io/playbooks/internal/failpoint"
	"github.com/replicante-io/playbooks/internal/transport"
	"github.com/replicante-io/playbooks/record"
)

// maxAnswer bounds the answer of a write.
const maxAnswer = 64 << 20

// newForwardClient connects to leaders: directly, and fast or not at all.
func newForwardClient() *http.Client {
	return transport.NewClient(transport.ClientConfig{
		Peer: failpoint.Replica, DialTimeout: 2 * time.Second, HeaderTimeout: writeTimeout + 5*time.Second,
		IdlePerHost: 16, IdleTimeout: time.Minute,
	})
}

// pass sends a write to the leader, once, and gives back its answer. A failure says whether the write may have happened.
func (s *server) pass(w http.ResponseWriter, r *http.Request, body []byte, request record.Request) *Failure {
	if r.Header.Get(headerForwarded) != "" {
		return errNotLeader
	}
	leader, ok := s.Leader()
	if !ok || leader.Advertise == "" || leader.Instance == s.Instance && s.Instance != "" {
		// A replica that has won the election and does not lead yet is no leader either.
		return errNoLeader
	}
	ctx, stop := s.whileLeads(r.Context(), leader)
	defer stop()
	onward, err := http.NewRequestWithContext(ctx, r.Method,
		strings.TrimSuffix(leader.Advertise, "/")+r.URL.RequestURI(), bytes.NewReader(body))
	if err != nil {
		return fail(http.StatusServiceUnavailable, "leader_unreachable",
			"the leader "+leader.Name+" advertises "+leader.Advertise+", which is no address: correct api.advertise there")
	}
	for _, name := range []string{"Content-Type", "Accept", "Authorization", headerKey} {
		if value := r.Header.Get(name); value != "" {
			onward.Header.Set(name, value)
		}
	}
	transport.SetCaller(onward, transport.Caller{Name: request.Actor})
	onward.Header.Set(headerForwarded, forwarder(s.Name))
	// Go's transport repeats a request on its own only where none of it was answered and it is safe to; a write is not.
	onward.GetBody = nil

	answer, err := s.forward.Do(onward)
	if err != nil {
		s.Log.Debug("forward failed", "leader", leader.Name, "path", r.URL.Path, "error", err)
		var dial *net.OpError
		if errors.As(err, &dial) && dial.Op == "dial" {
			return fail(http.StatusServiceUnavailable, "leader_unreachable",
				"the leader "+leader.Name+" cannot be reached at "+leader.Advertise+": nothing happened; try again in a moment")
		}
		return errInDoubt
	}
	defer func() { _ = answer.Body.Close() }()
	content, err := transport.ReadAll(answer.Body, maxAnswer)
	if err != nil {
		return errInDoubt
	}
	for _, name := range []string{"Content-Type", "Retry-After", "Allow"} {
		if value := answer.Header.Get(name); value != "" {
			w.Header().Set(name, value)
		}
	}
	w.WriteHeader(answer.StatusCode)
	_, _ = w.Write(content)
	return nil
}

// whileLeads is a context that ends once another leads, or nobody does: a leader that hangs may never answer.
func (s *server) whileLeads(ctx context.Context, leader election.Leader) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	if s.Changed == nil {
		return ctx, cancel
	}
	go func() {
		defer cancel()
		for {
			changed := s.Changed()
			if now, ok := s.Leader(); !ok || now.Instance != leader.Instance {
				return
			}
			select {
			case <-changed:
			case <-ctx.Done():
				return
			}
		}
	}()
	return ctx, cancel
}

// forwarder is never empty: an empty header would not be seen.
func forwarder(name string) string {
	if name == "" {
		return "a replica"
	}
	return name
}
