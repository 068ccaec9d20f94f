package api_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/replicante-io/playbooks/api"
	"github.com/replicante-io/playbooks/api/apitest"
	"github.com/replicante-io/playbooks/record"
	"github.com/replicante-io/playbooks/store"
)

// openStream is a stream of a handler without a server.
type openStream struct {
	*httptest.ResponseRecorder
	begun   chan struct{} // closed by the first write
	once    sync.Once
	mu      sync.Mutex    // guards the recorder
	written chan struct{} // holds a signal after a write
	accepts chan struct{} // once it is closed, the client accepts what is written
	close   context.CancelFunc
	ended   chan struct{}
}

func (s *openStream) Write(data []byte) (int, error) {
	s.once.Do(func() { close(s.begun) })
	<-s.accepts
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case s.written <- struct{}{}:
	default:
	}
	return s.ResponseRecorder.Write(data)
}

// until waits until the stream has sent the event with this seq.
func (s *openStream) until(seq int) {
	for {
		s.mu.Lock()
		found := strings.Contains(s.Body.String(), fmt.Sprintf("id: %d\n", seq))
		s.mu.Unlock()
		if found {
			return
		}
		<-s.written
	}
}

// openStreamOf opens a stream; accepts may be nil.
func openStreamOf(t *testing.T, h http.Handler, run string, accepts chan struct{}) *openStream {
	ctx, cancel := context.WithCancel(t.Context())
	if accepts == nil {
		accepts = make(chan struct{})
		close(accepts)
	}
	s := &openStream{ResponseRecorder: httptest.NewRecorder(), begun: make(chan struct{}), written: make(chan struct{}, 1), accepts: accepts,
		close: cancel, ended: make(chan struct{})}
	r := httptest.NewRequestWithContext(ctx, "GET", "/api/v1/runs/"+run+"/events", nil)
	r.Header.Set("Accept", "text/event-stream")
	go func() {
		defer close(s.ended)
		h.ServeHTTP(s, r)
	}()
	return s
}

// seqs are the ids of the messages of a stream that has ended.
func (s *openStream) seqs() string {
	var seqs []string
	for line := range strings.Lines(s.Body.String()) {
		if id, found := strings.CutPrefix(line, "id: "); found {
			seqs = append(seqs, strings.TrimSpace(id))
		}
	}
	return strings.Join(seqs, " ")
}

func upTo(n int) string {
	seqs := make([]string, n)
	for i := range seqs {
		seqs[i] = fmt.Sprint(i + 1)
	}
	return strings.Join(seqs, " ")
}

func TestSoManyStreamsAreOpenAtATime(t *testing.T) {
	_, h := leading(t)
	id := started(t, h)
	streams := []*openStream{}
	for range 512 {
		streams = append(streams, openStreamOf(t, h, id, nil))
	}
	for _, s := range streams {
		<-s.begun
	}
	path := "/api/v1/runs/" + id + "/events"
	refused := call(t, h, "GET", path, "", "Accept", "text/event-stream")
	rejected(t, refused, 503, "busy", "512", "another replica")
	if refused.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	ok(t, call(t, h, "GET", path, ""), 200)
	ok(t, call(t, h, "GET", "/api/v1/runs", "", "Accept", "text/event-stream"), 200)
	streams[0].close()
	<-streams[0].ended
	<-openStreamOf(t, h, id, nil).begun
}

// countedReads is a store that counts the reads of runs and events, which wait until they are released, and what follows.
type countedReads struct {
	now, most         atomic.Int64
	follow, following atomic.Int64
	arrived           chan struct{}
	release           chan struct{}
}

func (c *countedReads) intercept(config *api.Config) {
	config.Store = &store.Interceptor{Store: config.Store, Call: func(_ context.Context, method string, do func() error) error {
		switch method {
		case "Run", "Events":
			now := c.now.Add(1)
			for most := c.most.Load(); now > most && !c.most.CompareAndSwap(most, now); most = c.most.Load() {
			}
			defer c.now.Add(-1)
			select {
			case c.arrived <- struct{}{}:
			default:
			}
			<-c.release
		case "Follow":
			c.follow.Add(1)
			c.following.Add(1)
			defer c.following.Add(-1)
		}
		return do()
	}}
}

func TestStreamsReadTheStoreFewAtATimeAndShareAFollower(t *testing.T) {
	p, h := leading(t)
	id := started(t, h)
	for range 250 {
		p.Move(id, apitest.Change{State: record.RunRunning, Event: record.EventNodeState})
	}
	counted := &countedReads{arrived: make(chan struct{}, 32), release: make(chan struct{})}
	h = p.Replica("core-2", counted.intercept)
	streams := []*openStream{}
	for range 100 {
		streams = append(streams, openStreamOf(t, h, id, nil))
	}
	for range 32 {
		<-counted.arrived
	}
	close(counted.release)
	for _, s := range streams {
		s.until(251)
	}
	p.Move(id, apitest.Change{State: record.RunRunning, Event: record.EventNodeState})
	for _, s := range streams {
		s.until(252) // all of them follow
	}
	p.Move(id, apitest.Change{State: record.RunDone, Event: record.EventRunFinished})
	for _, s := range streams {
		<-s.ended
		if s.seqs() != upTo(253) || !strings.Contains(s.Body.String(), "event: end") {
			t.Fatalf("a stream sent %s", s.seqs())
		}
	}
	if most := counted.most.Load(); most > 32 {
		t.Errorf("%d reads at a time", most)
	}
	if n := counted.follow.Load(); n != 1 {
		t.Errorf("the store was followed %d times", n)
	}
	if counted.following.Load() != 0 {
		t.Error("the run is still followed")
	}
}

func TestStreamsWhoseClientsDoNotReadHaveNoPlace(t *testing.T) {
	p, h := leading(t)
	id := started(t, h)
	accepts := make(chan struct{})
	streams := []*openStream{}
	for range 100 {
		streams = append(streams, openStreamOf(t, h, id, accepts))
	}
	for _, s := range streams {
		<-s.begun
	}
	ok(t, call(t, h, "GET", "/api/v1/clusters/demo/nodes", ""), 200)
	one := openStreamOf(t, h, id, nil)
	<-one.begun
	for range 450 { // more than is kept in memory for the streams
		p.Move(id, apitest.Change{State: record.RunRunning, Event: record.EventNodeState})
	}
	p.Move(id, apitest.Change{State: record.RunDone, Event: record.EventRunFinished})
	<-one.ended
	close(accepts)
	for _, s := range append(streams, one) {
		<-s.ended
		if s.seqs() != upTo(452) {
			t.Fatalf("a stream sent %s", s.seqs())
		}
	}
}
