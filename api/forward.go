package api

import (
	"bytes"
	"cmp"
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

// maxAnswer bounds the answer to a write.
const maxAnswer = 64 << 20

// newLeaderClient makes the client for forwarded writes. A leader that cannot be connected to at once is not waited for.
func newLeaderClient() *http.Client {
	return transport.NewClient(transport.ClientConfig{
		Peer: failpoint.Replica, DialTimeout: 2 * time.Second, HeaderTimeout: writeTimeout + 5*time.Second,
		IdlePerHost: 16, IdleTimeout: time.Minute,
	})
}

// leaderFor is the leader that a write is sent to, or why it cannot be.
func (s *server) leaderFor(r *http.Request) (election.Leader, *Failure) {
	if r.Header.Get(headerForwarded) != "" {
		return election.Leader{}, errNotLeader
	}
	leader, known := s.Leader()
	if !known || leader.Advertise == "" || leader.Instance == s.Instance && s.Instance != "" {
		return leader, errNoLeader // also where this replica has been elected and does not lead yet
	}
	return leader, nil
}

// forward sends a write to the leader, once, and answers with its answer. A failure says whether the write may have been
// carried out.
func (s *server) forward(w http.ResponseWriter, r *http.Request, body []byte, request record.Request) *Failure {
	leader, failure := s.leaderFor(r)
	if failure != nil {
		return failure
	}
	ctx, stop := s.whileLeads(r.Context(), leader)
	defer stop()
	forwarded, err := http.NewRequestWithContext(ctx, r.Method,
		strings.TrimSuffix(leader.Advertise, "/")+r.URL.RequestURI(), bytes.NewReader(body))
	if err != nil {
		return fail(http.StatusServiceUnavailable, "leader_unreachable",
			"the leader "+leader.Name+" advertises "+leader.Advertise+", which is not a valid URL: correct api.advertise there")
	}
	for _, name := range []string{"Content-Type", "Accept", "Authorization", headerKey} {
		if value := r.Header.Get(name); value != "" {
			forwarded.Header.Set(name, value)
		}
	}
	transport.SetCaller(forwarded, transport.Caller{Name: request.Actor})
	forwarded.Header.Set(headerForwarded, cmp.Or(s.Name, "a replica")) // an empty value would not be noticed
	forwarded.GetBody = nil                                            // or net/http may repeat the write by itself

	answer, err := s.leaders.Do(forwarded)
	if err != nil {
		s.Log.Debug("forward failed", "leader", leader.Name, "path", r.URL.Path, "error", err)
		var dial *net.OpError
		if errors.As(err, &dial) && dial.Op == "dial" {
			return fail(http.StatusServiceUnavailable, "leader_unreachable",
				"the leader "+leader.Name+" cannot be reached at "+leader.Advertise+": nothing was changed; try again in a moment")
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
	_, _ = w.Write(content) // the client has gone if this fails
	return nil
}

// whileLeads is a context that ends when leader no longer leads: one that hangs may never answer. stop ends it, and waits.
func (s *server) whileLeads(ctx context.Context, leader election.Leader) (_ context.Context, stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	if s.LeaderChanged == nil {
		return ctx, cancel
	}
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		defer cancel()
		for {
			changed := s.LeaderChanged()
			if now, known := s.Leader(); !known || now.Instance != leader.Instance {
				return
			}
			select {
			case <-changed:
			case <-ctx.Done():
				return
			}
		}
	}()
	return ctx, func() {
		cancel()
		<-watched
	}
}
