package election_test

import (
	"bytes"
	"context"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/replicante-io/playbooks/election"
)

// logText keeps what is logged.
type logText struct {
	mu   sync.Mutex // no other lock is taken under it
	text bytes.Buffer
}

func (l *logText) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(line)
}

// declarations is how often a candidate ahead was declared dead.
func (l *logText) declarations() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), "a candidate ahead has died")
}

// port is where a candidate is called; it can be taken away.
type port struct {
	t        testing.TB
	address  string
	asked    atomic.Int32 // presence calls that arrived
	answered atomic.Int32 // presence calls whose answer was sent, and is held open

	mu      sync.Mutex // no other lock is taken under it
	server  *http.Server
	handler http.HandlerFunc
	dropped chan struct{} // closed: the answers that are held open end
}

// newPort serves as a replica does, as instance.
func newPort(t testing.TB, instance string) *port {
	p := &port{t: t, address: "127.0.0.1:0", dropped: make(chan struct{})}
	t.Cleanup(p.close)
	p.open(election.Presence(instance).ServeHTTP)
	return p
}

func (p *port) url() string { return "http://" + p.address }

func (p *port) open(handler http.HandlerFunc) {
	p.t.Helper()
	listener, err := net.Listen("tcp", p.address)
	if err != nil {
		p.t.Fatal(err)
	}
	p.address = listener.Addr().String()
	server := &http.Server{ReadHeaderTimeout: patience, Handler: http.HandlerFunc(p.answer)}
	p.mu.Lock()
	p.handler, p.server = handler, server
	p.mu.Unlock()
	go func() { _ = server.Serve(listener) }() // until close
}

func (p *port) answer(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	p.mu.Lock()
	handler, dropped := p.handler, p.dropped
	p.mu.Unlock()
	go func() {
		select {
		case <-dropped:
			cancel()
		case <-ctx.Done():
		}
	}()
	if r.URL.Path == election.PresencePath {
		p.asked.Add(1)
	}
	handler(&countingWriter{w, p}, r.WithContext(ctx))
}

// countingWriter counts an answer once it has been sent.
type countingWriter struct {
	http.ResponseWriter
	port *port
}

func (w *countingWriter) FlushError() error {
	err := http.NewResponseController(w.ResponseWriter).Flush()
	w.port.answered.Add(1)
	return err
}

// drop ends the answers that are held open; the port stays, and handler serves from then on.
func (p *port) drop(handler http.HandlerFunc) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.handler = handler
	close(p.dropped)
	p.dropped = make(chan struct{})
}

// close refuses connections and ends those that are open, as the death of a process does.
func (p *port) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	_ = p.server.Close()
}

// held waits until n presence calls in all were answered.
func (p *port) held(n int32) {
	p.t.Helper()
	eventually(p.t, "presence calls are held open", func() bool { return p.answered.Load() >= n })
}

// reachable starts a candidate whose port answers.
func (e *elections) reachable(name string, ttl time.Duration) (*candidate, *port) {
	p := newPort(e.t, name+"-1")
	return e.advertising(name, p.url(), ttl, nil), p
}

// die makes a candidate vanish as kill -9 does: its port refuses, its connections close, and it gives nothing back.
func (c *candidate) die(p *port) {
	c.link.Cut()
	p.close()
}

// stays fails the test if the leader loses the leadership within a time in which a death would have been noticed.
func (l *leading) stays(t *testing.T) {
	t.Helper()
	select {
	case <-l.ctx.Done():
		t.Fatalf("%s lost the leadership: %v", l.by.name, context.Cause(l.ctx))
	case <-time.After(observed):
	}
}

func leaderDies(t *testing.T, e *elections) {
	one, port := e.reachable("one", longLease)
	e.winner()
	e.candidate("two", longLease, nil)
	e.queued(2)
	port.held(1)
	one.die(port)
	e.wins("two")
}

// leaderRestarts has a new process on the leader's port before anyone could see that refused.
func leaderRestarts(t *testing.T, e *elections) {
	one, port := e.reachable("one", longLease)
	e.winner()
	e.candidate("two", longLease, nil)
	e.queued(2)
	port.held(1)
	one.die(port)
	port.open(election.Presence("one-2").ServeHTTP)
	e.wins("two")
}

func candidateDies(t *testing.T, e *elections) {
	one, first := e.reachable("one", longLease)
	leader := e.winner()
	two, second := e.reachable("two", longLease)
	e.queued(2)
	first.held(1)
	e.candidate("three", longLease, nil)
	keys := e.queued(3)
	first.held(2)
	second.held(1)

	two.die(second)
	left := e.queued(2)
	if want := []string{keys[0], keys[2]}; !slices.Equal(left, want) || leader.ctx.Err() != nil {
		t.Errorf("left of %v is %v; the leader: %v", keys, left, leader.ctx.Err())
	}
	one.die(first)
	e.wins("three")
}

func bothDie(t *testing.T, e *elections) {
	one, first := e.reachable("one", longLease)
	e.winner()
	two, second := e.reachable("two", longLease)
	e.queued(2)
	e.candidate("three", longLease, nil)
	e.queued(3)
	first.held(2)
	second.held(1)
	two.die(second)
	one.die(first)
	e.wins("three")
}

func falseAlarm(t *testing.T, e *elections) {
	one, port := e.reachable("one", longLease)
	first := e.winner()
	two := e.candidate("two", longLease, nil)
	e.queued(2)
	port.held(1)
	port.close() // one lives, and etcd reaches it
	first.ends(t)
	second := e.wins("two")
	e.queued(2) // one campaigns again
	second.stays(t)

	// It leads again, two could call it again, and its port goes again: once was enough.
	port.open(election.Presence("one-1").ServeHTTP)
	asked := port.asked.Load()
	second.end <- nil
	third := e.wins("one")
	e.queued(2)
	third.stays(t)
	port.close()
	third.stays(t)
	if n := port.asked.Load() - asked; n != 0 {
		t.Errorf("an instance that was declared dead was called %d more times", n)
	}
	if n := two.log.declarations() + one.log.declarations(); n != 1 {
		t.Errorf("candidates were declared dead %d times", n)
	}
}

func leaderHangs(t *testing.T, e *elections) {
	const ttl = 3 * time.Second
	one, port := e.reachable("one", ttl)
	first := e.winner()
	two := e.candidate("two", ttl, nil)
	e.queued(2)
	port.held(1)
	port.drop(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	eventually(t, "it is called again", func() bool { return port.asked.Load() > 1 })
	first.stays(t)
	one.link.Cut() // it hangs as a whole
	e.wins("two")
	if n := two.log.declarations(); n != 0 {
		t.Errorf("it was declared dead %d times", n)
	}
}

// sharedAddress is a leader that advertises what reaches another, as loopback addresses do between machines.
func sharedAddress(t *testing.T, e *elections) {
	port := newPort(t, "two-1")
	e.advertising("one", port.url(), longLease, nil)
	first := e.winner()
	e.advertising("two", port.url(), longLease, nil)
	e.queued(2)
	port.held(3)
	port.close()
	first.stays(t)
}

// otherPrograms are answers that no replica gives.
func otherPrograms(t *testing.T, e *elections) {
	answers := []http.HandlerFunc{
		http.NotFound,
		func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(`{"instance": ""}`)) },
		func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/elsewhere", http.StatusFound) },
		func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
	}
	one, port := e.reachable("one", longLease)
	first := e.winner()
	e.candidate("two", longLease, nil)
	e.queued(2)
	port.held(1)
	var calls atomic.Int32
	port.drop(func(w http.ResponseWriter, r *http.Request) {
		if i := int(calls.Add(1)) - 1; i < len(answers) {
			answers[i](w, r)
			return
		}
		election.Presence("one-1").ServeHTTP(w, r)
	})
	port.held(2)
	first.stays(t)
	one.die(port) // called successfully again, its death counts
	e.wins("two")
}

func connectionLoss(t *testing.T, e *elections) {
	one, port := e.reachable("one", longLease)
	first := e.winner()
	e.candidate("two", longLease, nil)
	e.queued(2)
	for i := range int32(3) {
		port.held(i + 1)
		port.drop(election.Presence("one-1").ServeHTTP)
	}
	port.held(4)
	first.stays(t)
	one.die(port)
	e.wins("two")
}

// earlierProcess is a replica that is alone, dies and starts again.
func earlierProcess(t *testing.T, e *elections) {
	one, port := e.reachable("one", longLease)
	e.winner()
	one.die(port)
	port.open(election.Presence("one-2").ServeHTTP)
	again := e.process("one", "one-2", port.url(), longLease, nil)
	if next := e.winner(); next.by != again {
		t.Error("the earlier process leads again")
	}
}
