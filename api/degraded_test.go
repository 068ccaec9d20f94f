package api_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/replicante-io/playbooks/api"
	"github.com/replicante-io/playbooks/api/apitest"
	"github.com/replicante-io/playbooks/record"
	"github.com/replicante-io/playbooks/store"
)

// shaky is a store that answers, fails, or hangs.
type shaky struct {
	mode  atomic.Int32
	calls atomic.Int32
}

const (
	answers int32 = iota
	fails
	hangs
)

func (s *shaky) of(p *apitest.Plane) func(*api.Config) {
	return func(c *api.Config) {
		c.Store = &store.Interceptor{Store: p.Memory, Call: func(ctx context.Context, method string, do func() error) error {
			s.calls.Add(1)
			switch s.mode.Load() {
			case fails:
				return fmt.Errorf("%s: %w", method, store.ErrUnavailable)
			case hangs:
				<-ctx.Done()
				return fmt.Errorf("%s: %w", method, ctx.Err())
			}
			return do()
		}}
	}
}

func unavailable() (time.Time, error) { return time.Now().Add(-time.Minute), store.ErrUnavailable }

func TestTheLeaderAnswersFromMemoryWhileTheStoreIsUnavailable(t *testing.T) {
	p, h := leading(t)
	id := started(t, h)
	var s shaky
	leader, follower := p.Replica("core-1", s.of(p)), p.Replica("core-2", s.of(p))
	const message = "the primary store has not answered since noon"

	s.mode.Store(fails)
	run := into[record.Run](t, ok(t, call(t, leader, "GET", "/api/v1/runs/"+id, ""), 200))
	if run.ID != id || run.Playbook.Spec == nil || run.Waiting == nil || run.Waiting.For != record.WaitStore || !strings.HasPrefix(run.Waiting.Message, "the primary store has not answered since") {
		t.Errorf("before the leader knows that the store is unavailable: %+v", run)
	}
	p.Delay(message)
	asked := s.calls.Load()
	run = into[record.Run](t, ok(t, call(t, leader, "GET", "/api/v1/runs/"+id, ""), 200))
	if run.Waiting == nil || run.Waiting.Message != message {
		t.Errorf("it waits for %+v", run.Waiting)
	}
	page := into[items[record.RunNode]](t, ok(t, call(t, leader, "GET", "/api/v1/runs/"+id+"/nodes?limit=2", ""), 200))
	rest := into[items[record.RunNode]](t, ok(t, call(t, leader, "GET", "/api/v1/runs/"+id+"/nodes?limit=2&cursor="+page.NextCursor, ""), 200))
	if len(page.Items) != 2 || len(rest.Items) != 1 || rest.Items[0].Node != "node-3" || rest.NextCursor != "" {
		t.Errorf("nodes: %+v, then %+v", page, rest)
	}
	if none := into[items[record.RunNode]](t, ok(t, call(t, leader, "GET", "/api/v1/runs/"+id+"/nodes?state=DONE", ""), 200)); len(none.Items) != 0 {
		t.Errorf("nodes that are DONE: %+v", none)
	}
	node := into[record.RunNode](t, ok(t, call(t, leader, "GET", "/api/v1/runs/"+id+"/nodes/node-2", ""), 200))
	if node.Node != "node-2" {
		t.Errorf("node: %+v", node)
	}
	rejected(t, call(t, leader, "GET", "/api/v1/runs/"+id+"/nodes/node-9", ""), 404, "not_found")
	if s.calls.Load() != asked {
		t.Error("a store that is known to be unavailable was asked")
	}

	for _, path := range []string{"/runs", "/runs/" + id, "/runs/" + id + "/nodes", "/runs/" + id + "/nodes/node-1"} {
		rejected(t, call(t, follower, "GET", "/api/v1"+path, ""), 503, "store_unavailable")
	}
	rejected(t, call(t, leader, "GET", "/api/v1/runs/nosuch", ""), 503, "store_unavailable")
}

func TestTheUnfinishedRunsAreListedFromMemory(t *testing.T) {
	p, h := leading(t)
	over, id := started(t, h), started(t, h)
	p.Move(over, apitest.Change{State: record.RunDone, Event: record.EventRunFinished})
	var s shaky
	leader := p.Replica("core-1", s.of(p), func(c *api.Config) { c.StoreUnavailable = unavailable })
	s.mode.Store(hangs)
	type runs struct {
		Items   []record.Run
		Partial bool
	}
	all := into[runs](t, ok(t, call(t, leader, "GET", "/api/v1/runs", ""), 200))
	if len(all.Items) != 1 || all.Items[0].ID != id || all.Items[0].Playbook.Spec != nil || !all.Partial {
		t.Errorf("%+v", all)
	}
	for _, query := range []string{"?cluster=other", "?playbook=other", "?state=PAUSED"} {
		if none := into[runs](t, ok(t, call(t, leader, "GET", "/api/v1/runs"+query, ""), 200)); len(none.Items) != 0 || !none.Partial {
			t.Errorf("%s: %+v", query, none)
		}
	}
	s.mode.Store(answers)
}

func TestAReadDoesNotWaitLongForAStoreThatHangs(t *testing.T) {
	p, h := leading(t)
	id := started(t, h)
	synctest.Test(t, func(t *testing.T) {
		var s shaky
		s.mode.Store(hangs)
		leader := p.Replica("core-1", s.of(p))
		begun := time.Now()
		ok(t, call(t, leader, "GET", "/api/v1/runs/"+id, ""), 200)
		if took := time.Since(begun); took != 3*time.Second {
			t.Errorf("the leader answers from memory after %s", took)
		}
		follower := p.Replica("core-2", s.of(p), func(c *api.Config) { c.StoreUnavailable = unavailable })
		begun = time.Now()
		rejected(t, call(t, follower, "GET", "/api/v1/runs/"+id, ""), 503, "timeout")
		if took := time.Since(begun); took != 3*time.Second {
			t.Errorf("a follower that knows that the store is unavailable answers after %s", took)
		}
	})
}

func TestAStreamReportsThatTheStoreIsUnavailableAndContinuesAfterwards(t *testing.T) {
	p, h := leading(t)
	id := started(t, h)
	var s shaky
	server := p.Serve("core-1", s.of(p))
	url := server.URL + "/api/v1/runs/" + id + "/events"
	open := stream(t, url)
	want(t, open, "id: 1", "data: ")
	s.mode.Store(fails)
	p.Delay("the primary store")
	want(t, open, "event: waiting", `data: {"waiting":{"for":"store"`)
	late := stream(t, url)
	want(t, late, "event: waiting", `data: {"waiting":{"for":"store"`)
	s.mode.Store(answers)
	want(t, late, "id: 1", "data: ")
	p.Delay("")
	for _, lines := range []<-chan string{open, late} {
		want(t, lines, "event: waiting", `data: {"waiting":null}`)
	}
	p.Move(id, apitest.Change{State: record.RunDone, Event: record.EventRunFinished})
	for _, lines := range []<-chan string{open, late} {
		want(t, lines, "id: 2", "data: ", "event: end", "data: {}")
		closed(t, lines)
	}
}
