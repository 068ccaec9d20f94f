package replica_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/replicante-io/playbooks/api/client"
	"github.com/replicante-io/playbooks/record"
	"github.com/replicante-io/playbooks/store"
	"github.com/replicante-io/playbooks/store/storetest"
)

// removable is a store of several replicas that can be made unavailable to all of them.
type removable struct {
	shared
	gone *atomic.Bool
}

func newRemovable() removable {
	l := removable{gone: &atomic.Bool{}}
	l.Store = &store.Interceptor{Store: storetest.NewMemory(), Call: func(_ context.Context, method string, do func() error) error {
		if l.gone.Load() {
			return fmt.Errorf("%s: no route to it: %w", method, store.ErrUnavailable)
		}
		return do()
	}}
	return l
}

const twoStages = `
apiVersion: replicante.io/v1
kind: Playbook
metadata: {name: two}
spec:
  stages:
    - name: first
      steps: [{name: wait, action: agent.replicante.io/test.loop, args: {count: 10, delay: 100ms}}]
    - name: second
      steps: [{name: ping, action: agent.replicante.io/test.success}]
`

func storeUnavailable(t *testing.T, i *installation) {
	i.agent("a")
	s := newRemovable()
	leader := i.start(i.config("core-1", ""), s)
	leader.ready()
	follower := i.start(i.config("core-2", ""), s)
	follower.ready()
	if _, err := follower.plane.Apply(t.Context(), []client.File{{Name: "two.yaml", Data: []byte(twoStages)}}); err != nil {
		t.Fatal(err)
	}
	var reported report
	both, err := client.New(client.Config{Servers: []string{follower.url, leader.url}, Waiting: reported.set})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the node is known", func() bool {
		known, err := both.Nodes(t.Context(), "c")
		return err == nil && len(known) == 1
	})
	run, err := both.Start(t.Context(), record.RunRequest{Playbook: "two", Cluster: "c"})
	if err != nil {
		t.Fatal(err)
	}
	watched := make(chan error, 1)
	var last atomic.Value
	go func() {
		watched <- both.Follow(t.Context(), run.ID, 0, func(event record.Event) error {
			last.Store(event.Type)
			return nil
		})
	}()
	eventually(t, "its action runs", func() bool {
		nodes, err := both.RunNodes(t.Context(), run.ID, nil, 0)
		return err == nil && len(nodes) == 1 && len(nodes[0].Actions) == 1 && nodes[0].Actions[0].State == record.ActionRunning
	})
	if n := scrape(t, leader)[`replicante_effects_in_flight{kind="action"}`]; n != 1 {
		t.Errorf("%v actions are in flight, want 1", n)
	}

	s.gone.Store(true)
	eventually(t, "the run reports that it waits for the store", func() bool {
		run, err := both.Run(t.Context(), run.ID)
		return err == nil && run.State == record.RunRunning && strings.Contains(waitMessage(run), "the primary store has not answered since")
	})
	for range 20 { // the action has ended meanwhile: that is not stored, shown or sent
		time.Sleep(100 * time.Millisecond)
		nodes, err := both.RunNodes(t.Context(), run.ID, nil, 0)
		if err != nil || len(nodes) != 1 || len(nodes[0].Actions) != 1 || nodes[0].Actions[0].State != record.ActionRunning {
			t.Fatalf("shown: %+v, %v", nodes, err)
		}
	}
	runs, err := both.Runs(t.Context(), client.RunFilter{})
	if err != nil || len(runs) != 1 || !strings.Contains(waitMessage(runs[0]), "the primary store") {
		t.Errorf("runs %+v, %v", runs, err)
	}
	for _, r := range []*running{leader, follower} {
		if status, body := get(t, r.url+"/readyz"); status != http.StatusServiceUnavailable || !strings.Contains(body, "the primary store: ") {
			t.Errorf("/readyz of %s answers %d: %s", r.url, status, body)
		}
		if status, _ := get(t, r.url+"/healthz"); status != http.StatusOK {
			t.Errorf("/healthz of %s answers %d", r.url, status)
		}
	}
	if status, body := get(t, follower.url+"/api/v1/runs/"+run.ID); status != http.StatusServiceUnavailable || !strings.Contains(body, "store_unavailable") {
		t.Errorf("the follower answers %d: %s", status, body)
	}
	if leads, err := both.Leader(t.Context()); err != nil || leads.Name != "core-1" || leads.Term != 1 {
		t.Errorf("leader %+v, %v", leads, err)
	}
	eventually(t, "it is reported to followers of the run", func() bool { return strings.Contains(reported.get(), "the primary store") })

	s.gone.Store(false)
	if err := <-watched; err != nil || last.Load() != record.EventRunFinished {
		t.Errorf("the watch ended with %v after %v", err, last.Load())
	}
	if run, err = both.Run(t.Context(), run.ID); err != nil || run.State != record.RunDone || run.Term != 1 {
		t.Errorf("the run ended %s in term %d, %v", run.State, run.Term, err)
	}
	if last := reported.get(); last != "" {
		t.Errorf("the last report is %q", last)
	}
}

// report keeps the latest text.
type report struct {
	mu   sync.Mutex
	text string
}

func (s *report) set(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.text = text
}

func (s *report) get() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text
}

func electedWithoutStore(t *testing.T, i *installation) {
	s := newRemovable()
	first := i.start(i.config("core-1", ""), s)
	first.ready()
	second := i.start(i.config("core-2", ""), s)
	second.ready()
	s.gone.Store(true)
	first.stop()
	second.refused("this replica was elected and cannot lead: ")
	s.gone.Store(false)
	second.ready()
	if leads, err := second.plane.Leader(t.Context()); err != nil || leads.Name != "core-2" || leads.Term != 2 {
		t.Errorf("leader %+v, %v", leads, err)
	}
}

func storeElsewhere(t *testing.T, i *installation) {
	i.agent("a")
	memory := storetest.NewMemory()
	var cut atomic.Bool
	here := shared{&store.Interceptor{Store: memory, Call: func(_ context.Context, method string, do func() error) error {
		if cut.Load() {
			return fmt.Errorf("%s: no route to it: %w", method, store.ErrUnavailable)
		}
		return do()
	}}}
	log := &lines{}
	c := i.config("core-1", "")
	c.Log = log.log()
	first := i.start(c, here)
	first.StoreElsewhereAfter(time.Second)
	first.ready()
	second := i.start(i.config("core-2", ""), shared{memory})
	second.ready()
	if _, err := second.plane.Apply(t.Context(), []client.File{{Name: "two.yaml", Data: []byte(twoStages)}}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the node is known", func() bool {
		known, err := second.plane.Nodes(t.Context(), "c")
		return err == nil && len(known) == 1
	})
	run, err := second.plane.Start(t.Context(), record.RunRequest{Playbook: "two", Cluster: "c"})
	if err != nil {
		t.Fatal(err)
	}
	cut.Store(true)
	eventually(t, "the run ends under the other replica", func() bool {
		run, err = second.plane.Run(t.Context(), run.ID)
		return err == nil && run.State == record.RunDone && run.Term == 2
	})
	log.want(t, "gained 1 open_runs=0", "lost 1 reason=store_elsewhere", "followed 2 leader=core-2")
}

func waitMessage(run record.Run) string {
	if run.Waiting == nil {
		return ""
	}
	return run.Waiting.Message
}
