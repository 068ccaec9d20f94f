package api_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/replicante-io/playbooks/api"
	"github.com/replicante-io/playbooks/api/apitest"
	"github.com/replicante-io/playbooks/record"
	"github.com/replicante-io/playbooks/store"
)

func TestAPageOfLargeRecordsEndsEarlyAndIsContinued(t *testing.T) {
	p, h := leading(t)
	names := []string{}
	for i := range 60 {
		names = append(names, fmt.Sprintf("wide-%02d", i))
	}
	p.Nodes("wide", names...)
	ok(t, call(t, h, "POST", "/api/v1/apply", apitest.Playbook), 200)
	run := into[record.Run](t, ok(t, call(t, h, "POST", "/api/v1/runs", `{"playbook":"restart","cluster":"wide"}`), 201))
	change := apitest.Change{State: record.RunRunning, Event: record.EventNodeState}
	for _, name := range names {
		change.Nodes = append(change.Nodes, record.RunNode{Node: name, State: record.NodeFailed,
			Actions: []record.Action{{StdoutTail: strings.Repeat("x", 200<<10)}}})
	}
	p.Move(run.ID, change)
	seen, pages, cursor := 0, 0, ""
	for {
		a := ok(t, call(t, h, "GET", "/api/v1/runs/"+run.ID+"/nodes?limit=1000&cursor="+cursor, ""), 200)
		page := into[api.List[record.RunNode]](t, a)
		if seen, pages, cursor = seen+len(page.Items), pages+1, page.NextCursor; len(a.body) > 5<<20 {
			t.Errorf("a page of %d nodes has %d bytes", len(page.Items), len(a.body))
		}
		if cursor == "" {
			break
		}
	}
	if seen != 60 || pages < 3 {
		t.Errorf("%d nodes on %d pages", seen, pages)
	}
}

// slowStore is a store whose reads of nodes wait until they are released.
type slowStore struct {
	store.Store
	now, most atomic.Int64
	arrived   chan struct{}
	release   chan struct{}
}

func (s *slowStore) Nodes(ctx context.Context, cluster string, page store.Page) ([]record.Node, string, error) {
	now := s.now.Add(1)
	for most := s.most.Load(); now > most && !s.most.CompareAndSwap(most, now); most = s.most.Load() {
	}
	s.arrived <- struct{}{}
	<-s.release
	s.now.Add(-1)
	return s.Store.Nodes(ctx, cluster, page)
}

func TestFewReadsAreAnsweredAtATime(t *testing.T) {
	slow := &slowStore{arrived: make(chan struct{}, 100), release: make(chan struct{})}
	p := apitest.New(t)
	h := p.Replica("core-1", func(c *api.Config) {
		slow.Store = c.Store
		c.Store = slow
	})
	var reads sync.WaitGroup
	for range 100 {
		reads.Go(func() { call(t, h, "GET", "/api/v1/clusters/demo/nodes", "") })
	}
	for range 32 {
		<-slow.arrived
	}
	close(slow.release)
	reads.Wait()
	if most := slow.most.Load(); most > 32 {
		t.Errorf("%d reads at a time", most)
	}
}
