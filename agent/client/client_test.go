package client_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/replicante-io/playbooks/agent/client"
	"github.com/replicante-io/playbooks/agent/wire"
)

const id = "5a3c1f0e-7d0b-5f4e-9a51-3f6c0f0b8f11"

var action = wire.ActionRequest{ID: id, Kind: wire.KindSuccess}

func answering(t *testing.T, status int, body string) string {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Location", "/elsewhere")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}))
	t.Cleanup(server.Close)
	return server.URL
}

func TestAnswersOfAgentsAreDistinguished(t *testing.T) {
	sentinels := []error{wire.ErrNotSent, wire.ErrNotFound, wire.ErrExists, wire.ErrRejected}
	doubt := errors.New("in doubt")
	cases := []struct {
		name            string
		status          int
		body            string
		post, get, stop error // nil: success
	}{
		{"accepted", 200, `{"id": "` + id + `", "state": {"phase": "DONE"}, "other": 1}`, nil, nil, nil},
		{"in capitals", 200, `{"id": "` + strings.ToUpper(id) + `"}`, nil, nil, nil},
		{"of another action", 200, `{"id": "x"}`, doubt, doubt, doubt},
		{"cut off", 200, `{"id": "` + id, doubt, doubt, doubt},
		{"too large", 200, `{"id": "` + id + `"}` + strings.Repeat(" ", 5<<20), doubt, doubt, doubt},
		{"not found", 404, ``, doubt, wire.ErrNotFound, wire.ErrNotFound},
		{"not found by a proxy", 404, `<html>no such page</html>`, doubt, doubt, doubt},
		{"conflict", 409, `{"error": "exists"}`, wire.ErrExists, wire.ErrExists, wire.ErrExists},
		{"rejected", 400, `{"error": "unknown kind"}`, wire.ErrRejected, wire.ErrRejected, wire.ErrRejected},
		{"a proxy's 412", 412, `nonsense`, doubt, doubt, doubt},
		{"failing", 500, `oh`, doubt, doubt, doubt},
		{"not ready", 503, `{"error": "not ready"}`, doubt, doubt, doubt},
		{"redirect", 307, ``, doubt, doubt, doubt},
	}
	c := client.New(client.Config{})
	for _, test := range cases {
		url := answering(t, test.status, test.body)
		_, post := c.Post(t.Context(), url, action, 0)
		_, get := c.Get(t.Context(), url, id, 0)
		_, stop := c.Cancel(t.Context(), url, id, wire.CancelRequest{})
		for verb, pair := range map[string][2]error{"post": {post, test.post}, "get": {get, test.get}, "cancel": {stop, test.stop}} {
			got, want := pair[0], pair[1]
			if (got == nil) != (want == nil) {
				t.Errorf("%s, %s: %v, want %v", test.name, verb, got, want)
			}
			for _, sentinel := range sentinels {
				if errors.Is(got, sentinel) != (sentinel == want) {
					t.Errorf("%s, %s: %v, want %v", test.name, verb, got, want)
				}
			}
			if got != nil && len(got.Error()) > 1000 {
				t.Errorf("%s, %s: the message has %d bytes", test.name, verb, len(got.Error()))
			}
		}
	}
}

func TestAFencedRequestHasTheReasonAndTheTerm(t *testing.T) {
	url := answering(t, 412, `{"reason": "stale_term", "message": "term 3 is over", "term": 7}`)
	var fenced *wire.Fenced
	if _, err := client.New(client.Config{}).Post(t.Context(), url, action, 0); !errors.As(err, &fenced) || fenced.Term != 7 || fenced.Reason != wire.FencedTerm {
		t.Error(err)
	}
}

// talk listens and gives each connection to serve.
func talk(t *testing.T, serve func(net.Conn)) string {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var served sync.WaitGroup
	served.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			served.Go(func() { defer conn.Close(); serve(conn) })
		}
	})
	t.Cleanup(func() { listener.Close(); served.Wait() })
	return "http://" + listener.Addr().String()
}

func TestARequestIsNotSentOnlyWhereNoPartOfItWas(t *testing.T) {
	refused, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	refused.Close()
	plain := talk(t, func(c net.Conn) { _, _ = bufio.NewReader(c).ReadByte() })
	over, cancel := context.WithCancel(t.Context())
	cancel()
	cases := []struct {
		name    string
		ctx     context.Context
		url     string
		notSent bool
	}{
		{"connection refused", t.Context(), "http://" + refused.Addr().String(), true},
		{"no such host", t.Context(), "http://no-such-host.invalid", true},
		{"no URL", t.Context(), "agent-1:16018", true},
		{"a broken URL", t.Context(), "http://[", true},
		{"an empty URL", t.Context(), "", true},
		{"a file", t.Context(), "file:///etc/passwd", true},
		{"another scheme", t.Context(), "ftp://x/", true},
		{"a port out of range", t.Context(), "http://127.0.0.1:99999", true},
		{"no host", t.Context(), "http://:80", true},
		{"no TLS there", t.Context(), strings.Replace(plain, "http:", "https:", 1), true},
		{"too late already", over, answering(t, 200, `{}`), true},
		{"closed while it is read", t.Context(), talk(t, func(c net.Conn) { _, _ = bufio.NewReader(c).ReadString('\n') }), false},
		{"closed before it is read", t.Context(), talk(t, func(net.Conn) {}), false},
		{"closed within the answer", t.Context(), talk(t, func(c net.Conn) {
			_, _ = http.ReadRequest(bufio.NewReader(c))
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")
		}), false},
	}
	c := client.New(client.Config{})
	for _, test := range cases {
		_, err := c.Post(test.ctx, test.url, action, 0)
		if err == nil || errors.Is(err, wire.ErrNotSent) != test.notSent || errors.Is(err, wire.ErrBadURL) != (wire.CheckURL(test.url) != nil) {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}

func TestAPostThatIsNotAnsweredInTimeIsInDoubt(t *testing.T) {
	arrived := make(chan struct{})
	url := talk(t, func(c net.Conn) {
		_, _ = http.ReadRequest(bufio.NewReader(c))
		close(arrived)
		_, _ = io.Copy(io.Discard, c) // until the client leaves
	})
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-arrived; cancel() }()
	_, err := client.New(client.Config{}).Post(ctx, url, action, 0)
	if err == nil || errors.Is(err, wire.ErrNotSent) || !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestAPostIsNotRepeatedWhenItsConnectionBreaks(t *testing.T) {
	var posts atomic.Int32
	url := talk(t, func(c net.Conn) {
		reader := bufio.NewReader(c)
		for {
			r, err := http.ReadRequest(reader)
			if err != nil {
				return
			}
			_, _ = io.Copy(io.Discard, r.Body)
			if r.Method == http.MethodPost {
				posts.Add(1)
				return // the kept connection breaks after the POST arrived
			}
			_, _ = fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
		}
	})
	c := client.New(client.Config{})
	if _, err := c.NodeInfo(t.Context(), url); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Post(t.Context(), url, action, 0); err == nil || errors.Is(err, wire.ErrNotSent) {
		t.Error(err)
	}
	if posts.Load() != 1 {
		t.Errorf("posted %d times", posts.Load())
	}
}

func TestBasePathsAndIDsArriveUnchanged(t *testing.T) {
	seen := make(chan string, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen <- r.URL.RequestURI()
		_, _ = io.WriteString(w, `{"id": "a/b?c"}`)
	}))
	defer server.Close()
	c := client.New(client.Config{})
	for base, path := range map[string]string{"": "", "/": "", "/fleet/n1": "/fleet/n1", "/fleet/n1/": "/fleet/n1"} {
		if _, err := c.Get(t.Context(), server.URL+base, "a/b?c", 30*time.Second); err != nil {
			t.Fatal(err)
		}
		if got, want := <-seen, path+"/api/unstable/action/a%2Fb%3Fc?wait=30s"; got != want {
			t.Errorf("asked for %s, want %s", got, want)
		}
	}
}

func TestConnectionsAreReused(t *testing.T) {
	var connections atomic.Int32
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		_, _ = io.WriteString(w, `{"id": "`+id+`"}`)
	}))
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			connections.Add(1)
		}
	}
	server.Start()
	defer server.Close()
	c := client.New(client.Config{})
	for range 20 {
		if _, err := c.Post(t.Context(), server.URL, action, 0); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Get(t.Context(), server.URL, id, 0); !errors.Is(err, wire.ErrNotFound) {
			t.Fatal(err)
		}
	}
	if connections.Load() != 1 {
		t.Errorf("%d connections", connections.Load())
	}
}

func TestWholeNumbersOfAttributesStayWhole(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"node_id": "n", "attributes": {"whole": 1, "part": 1.5}}`)
	}))
	defer server.Close()
	info, err := client.New(client.Config{}).NodeInfo(t.Context(), server.URL)
	if err != nil || info.Attributes["whole"] != json.Number("1") || info.Attributes["part"] != json.Number("1.5") {
		t.Errorf("%v, %v", info.Attributes, err)
	}
}
