package election

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptrace"
	"syscall"
	"time"

	"github.com/replicante-io/playbooks/internal/failpoint"
	"github.com/replicante-io/playbooks/internal/transport"
)

// PresencePath is where a replica serves Presence, below the URL that it advertises.
const PresencePath = "/presence"

// presenceTimeout is how long a peer may take to say who it is.
const presenceTimeout = 2 * time.Second

// presence is the first line of the answer.
type presence struct {
	Instance string `json:"instance"`
}

// Presence answers with the instance that serves, and holds the answer open until the request's context ends: the caller
// notices at once when the process has died. The server's contexts may end only after Candidate.Run has returned.
func Presence(instance string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/x-ndjson")
		w.Header().Set("Cache-Control", "no-store")
		if json.NewEncoder(w).Encode(presence{Instance: instance}) == nil && http.NewResponseController(w).Flush() == nil {
			<-r.Context().Done()
		}
	})
}

// evidence is what a presence call showed.
type evidence string

const (
	noEvidence   evidence = "no evidence"
	peerAnswered evidence = "it answered"
	portRefuses  evidence = "its port refuses connections"
	otherAnswers evidence = "another instance answers at its address"
	selfAnswers  evidence = "this process answers at its address"
)

// caller makes presence calls to one peer.
type caller struct {
	peer    peer
	own     string // our instance
	address string // at which the peer once answered; from then on no other is called
}

// call asks the peer for its instance and, if it is the expected one, returns when its answer has ended.
func (c *caller) call(ctx context.Context) evidence {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	late := time.AfterFunc(presenceTimeout, cancel)
	defer late.Stop()
	var address string
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(c httptrace.GotConnInfo) { address = c.Conn.RemoteAddr().String() },
	})
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, c.peer.Advertise+PresencePath, nil)
	if err != nil {
		return noEvidence
	}
	answer, err := presenceClient(c.address).Do(request)
	if errors.Is(err, syscall.ECONNREFUSED) {
		return portRefuses
	}
	if err != nil {
		return noEvidence
	}
	defer func() { _ = answer.Body.Close() }()
	var who presence
	if answer.StatusCode != http.StatusOK || json.NewDecoder(io.LimitReader(answer.Body, 1<<10)).Decode(&who) != nil ||
		who.Instance == "" {
		return noEvidence
	}
	if who.Instance == c.own {
		return selfAnswers
	}
	if who.Instance != c.peer.Instance {
		return otherAnswers
	}
	if !late.Stop() {
		return noEvidence
	}
	c.address = address
	_, _ = io.Copy(io.Discard, answer.Body)
	return peerAnswered
}

// presenceClient is a client for one call, to the given address, if there is one, whatever the URL says. It uses no
// proxy, which would answer in the peer's place.
func presenceClient(address string) *http.Client {
	return transport.NewClient(transport.ClientConfig{
		Peer: failpoint.Replica, DialTimeout: presenceTimeout, NewConnections: true, Address: address,
	})
}
