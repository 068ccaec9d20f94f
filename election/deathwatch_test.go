package election_test

import (
	"context"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/replicante-io/playbooks/election"
)

// long is a lease that no test here waits for.
const long = 20 * time.Second

// soon is what a death may take to be followed by the next leader.
const soon = time.Second

// seat is the port of a candidate, which can be taken from it.
type seat struct {
	t       *testing.T
	address string
	asked   atomic.Int32 // how often its presence was asked for
	told    atomic.Int32 // how often it was told, and the answer held

	mu      sync.Mutex
	server  *http.Server
	handler http.HandlerFunc
	dropped chan struct{} // closed: what is held ends
}

// newSeat serves as a replica does, as instance.
func newSeat(t *testing.T, instance string) *seat {
	s := &seat{t: t, address: "127.0.0.1:0", dropped: make(chan struct{})}
	t.Cleanup(s.close)
	s.open(election.Presence(instance).ServeHTTP)
	return s
}

func (s *seat) url() string { return "http://" + s.address }

func (s *seat) open(handler http.HandlerFunc) {
	s.t.Helper()
	s.handler = handler
	listener, err := net.Listen("tcp", s.address)
	if err != nil {
		s.t.Fatal(err)
	}
	s.address = listener.Addr().String()
	server := &http.Server{ReadHeaderTimeout: time.Second, Handler: http.HandlerFunc(s.answer)}
	s.server = server
	go func() { _ = server.Serve(listener) }()
}

func (s *seat) answer(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	s.mu.Lock()
	handler, dropped := s.handler, s.dropped
	s.mu.Unlock()
	go func() {
		select {
		case <-dropped:
			cancel()
		case <-ctx.Done():
		}
	}()
	if r.URL.Path == election.PresencePath {
		s.asked.Add(1)
	}
	handler(&telling{w, s}, r.WithContext(ctx))
}

// telling counts an answer as told once it is on its way.
type telling struct {
	http.ResponseWriter
	seat *seat
}

func (w *telling) FlushError() error {
	err := http.NewResponseController(w.ResponseWriter).Flush()
	w.seat.told.Add(1)
	return err
}

// drop ends the answers that are held; the port stays, and handler serves from then on.
func (s *seat) drop(handler http.HandlerFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.handler = handler
	close(s.dropped)
	s.dropped = make(chan struct{})
}

// close refuses connections and ends those that are open, as the death of a process does.
func (s *seat) close() { _ = s.server.Close() }

// held waits until the presence was told n times in all.
func (s *seat) held(n int32) {
	s.t.Helper()
	eventually(s.t, "the presence is held", func() bool { return s.told.Load() >= n })
}

// seated starts a candidate at a seat that is open.
func (f *field) seated(name string, ttl time.Duration) (*candidate, *seat) {
	s := newSeat(f.t, name+"-1")
	return f.advertising(name, s.url(), ttl, nil), s
}

// die makes a candidate vanish as kill -9 does: its port refuses, its connections close, and it gives nothing back.
func (c *candidate) die(s *seat) {
	c.line.Cut()
	s.close()
}

// stays fails the test if the leader loses the leadership within a time in which a death would have been acted on.
func stays(t *testing.T, r *reign) {
	t.Helper()
	select {
	case <-r.ctx.Done():
		t.Fatalf("%s was deposed: %v", r.by.name, context.Cause(r.ctx))
	case <-time.After(soon):
	}
}

func leaderDies(t *testing.T, f *field) {
	one, seat := f.seated("one", long)
	f.winner()
	f.candidate("two", long, nil)
	f.waiting(2)
	seat.held(1)
	died := time.Now()
	one.die(seat)
	next := f.winner()
	took := next.began.Sub(died)
	t.Logf("the next leader leads %s after the death", took)
	if next.by.name != "two" || took > soon {
		t.Errorf("%s leads %s after the death", next.by.name, took)
	}
}

// restarted is a leader whose port a new life has before anyone could see it refused.
func restarted(t *testing.T, f *field) {
	one, seat := f.seated("one", long)
	f.winner()
	f.candidate("two", long, nil)
	f.waiting(2)
	seat.held(1)
	died := time.Now()
	one.die(seat)
	seat.open(election.Presence("one-2").ServeHTTP)
	if next := f.winner(); next.by.name != "two" || next.began.Sub(died) > soon {
		t.Errorf("%s leads %s after the death", next.by.name, next.began.Sub(died))
	}
}

func deadAhead(t *testing.T, f *field) {
	one, first := f.seated("one", long)
	reign := f.winner()
	two, second := f.seated("two", long)
	f.waiting(2)
	first.held(1)
	f.candidate("three", long, nil)
	keys := f.waiting(3)
	first.held(2)
	second.held(1)

	two.die(second)
	left := f.waiting(2)
	if want := []string{keys[0], keys[2]}; !slices.Equal(left, want) || reign.ctx.Err() != nil {
		t.Errorf("left of %v is %v; the leader: %v", keys, left, reign.ctx.Err())
	}
	died := time.Now()
	one.die(first)
	if next := f.winner(); next.by.name != "three" || next.began.Sub(died) > soon {
		t.Errorf("%s leads %s after the death", next.by.name, next.began.Sub(died))
	}
}

// bothDie loses the leader and the one behind it at once.
func bothDie(t *testing.T, f *field) {
	one, first := f.seated("one", long)
	f.winner()
	two, second := f.seated("two", long)
	f.waiting(2)
	f.candidate("three", long, nil)
	f.waiting(3)
	first.held(2)
	second.held(1)
	died := time.Now()
	two.die(second)
	one.die(first)
	next := f.winner()
	if next.by.name != "three" || next.began.Sub(died) > soon {
		t.Errorf("%s leads %s after the deaths", next.by.name, next.began.Sub(died))
	}
}

func falseAlarm(t *testing.T, f *field) {
	one, seat := f.seated("one", long)
	first := f.winner()
	two := f.candidate("two", long, nil)
	f.waiting(2)
	seat.held(1)
	alarm := time.Now()
	seat.close() // one lives, and etcd hears of it
	ended(t, first.ctx, soon)
	second := f.winner()
	if second.by != two || second.began.Sub(alarm) > soon {
		t.Fatalf("%s leads %s after the alarm", second.by.name, second.began.Sub(alarm))
	}
	f.waiting(2) // one stands again
	stays(t, second)

	// It leads again, two could hold it again, and its port goes again: once was enough.
	seat.open(election.Presence("one-1").ServeHTTP)
	asked := seat.asked.Load()
	second.end <- nil
	third := f.winner()
	if third.by != one {
		t.Fatalf("%s leads, not the one that was called dead", third.by.name)
	}
	f.waiting(2)
	stays(t, third)
	seat.close()
	stays(t, third)
	if n := seat.asked.Load() - asked; n != 0 {
		t.Errorf("an instance that was declared dead was asked %d times more", n)
	}
}

func hangingPeer(t *testing.T, f *field) {
	const ttl = 4 * time.Second
	one, seat := f.seated("one", ttl)
	first := f.winner()
	f.candidate("two", ttl, nil)
	gone := f.gone(f.waiting(2)[0])
	seat.held(1)
	seat.drop(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	eventually(t, "it is asked again", func() bool { return seat.asked.Load() > 1 })
	stays(t, first)
	cut := time.Now()
	one.line.Cut() // it hangs as a whole
	over := <-gone
	if took := over.Sub(cut); took < ttl/2 {
		t.Errorf("its lease ended %s after it hung: it was not left to itself", took)
	}
	if next := f.winner(); next.by.name != "two" || next.began.Sub(cut) > ttl+time.Second {
		t.Errorf("%s leads %s after it hung, with a lease of %s", next.by.name, next.began.Sub(cut), ttl)
	}
}

// elsewhere is a leader that advertises what reaches another, as loopback addresses do between machines.
func elsewhere(t *testing.T, f *field) {
	seat := newSeat(t, "two-1")
	f.advertising("one", seat.url(), long, nil)
	first := f.winner()
	f.advertising("two", seat.url(), long, nil)
	f.waiting(2)
	seat.held(3)
	seat.close()
	stays(t, first)
}

// strangers are answers that no replica gives.
func strangers(t *testing.T, f *field) {
	answers := []http.HandlerFunc{
		http.NotFound,
		func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(`{"instance": ""}`)) },
		func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/elsewhere", http.StatusFound) },
		func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
	}
	one, seat := f.seated("one", long)
	first := f.winner()
	f.candidate("two", long, nil)
	f.waiting(2)
	seat.held(1)
	var turn atomic.Int32
	seat.drop(func(w http.ResponseWriter, r *http.Request) {
		if i := int(turn.Add(1)) - 1; i < len(answers) {
			answers[i](w, r)
			return
		}
		election.Presence("one-1").ServeHTTP(w, r)
	})
	seat.held(2)
	stays(t, first)
	died := time.Now() // held again, its death counts
	one.die(seat)
	if next := f.winner(); next.began.Sub(died) > soon {
		t.Errorf("%s leads %s after the death", next.by.name, next.began.Sub(died))
	}
}

func connectionLoss(t *testing.T, f *field) {
	one, seat := f.seated("one", long)
	first := f.winner()
	f.candidate("two", long, nil)
	f.waiting(2)
	for i := range int32(3) {
		seat.held(i + 1)
		seat.drop(election.Presence("one-1").ServeHTTP)
	}
	seat.held(4)
	stays(t, first)
	died := time.Now()
	one.die(seat)
	if next := f.winner(); next.began.Sub(died) > soon {
		t.Errorf("%s leads %s after the death", next.by.name, next.began.Sub(died))
	}
}

// earlierLife is a replica that is alone, dies and begins again.
func earlierLife(t *testing.T, f *field) {
	one, seat := f.seated("one", long)
	f.winner()
	one.die(seat)
	seat.open(election.Presence("one-2").ServeHTTP)
	again := time.Now()
	f.living("one", "one-2", seat.url(), long, nil)
	if next := f.winner(); next.began.Sub(again) > soon {
		t.Errorf("its next life leads after %s", next.began.Sub(again))
	}
}
