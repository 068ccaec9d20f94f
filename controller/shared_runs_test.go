package controller_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/replicante-io/playbooks/membership"
	"github.com/replicante-io/playbooks/record"
	"github.com/replicante-io/playbooks/store"
)

// TestChaosShared runs shared and exclusive runs under pauses, cancels, kills of the leader, commits in doubt, agents and nodes that come
// and go, for N seeds (20) from FROM (environment).
func TestChaosShared(t *testing.T) {
	from, _ := strconv.Atoi(os.Getenv("FROM"))
	n, err := strconv.Atoi(os.Getenv("N"))
	if err != nil {
		n = 20
	}
	for seed := from; seed < from+n; seed++ {
		chaosOnce(t, uint64(seed))
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

func chaosOnce(t *testing.T, seed uint64) {
	synctest.Test(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(seed, 7))
		nodes := 2 + r.IntN(7)
		spec := func(conc string) string {
			batch := []string{"1", "2", "\"100%\"", "[1, \"50%\"]"}[r.IntN(4)]
			health := []string{"{timeout: 30s}", "none", "{check: 'true'}"}[r.IntN(3)]
			order := []string{"", "      order_by: 'node.role == \"PRIMARY\"'\n", "      order_by: '-size(node.id)'\n"}[r.IntN(3)]
			return "  concurrency: " + conc + "\n  membership: {grace: 5s, removed: ignore}\n  stages:\n    - name: first\n      max_failures: 20\n      batch: " + batch + "\n      health: " + health + "\n" + order +
				"      batch_pause: " + []string{"0s", "300ms"}[r.IntN(2)] + "\n      steps: [{name: a, action: x/a, timeout: 5s, args: {delay: 200ms}}, {name: b, action: x/b, timeout: 5s, retry: {attempts: 2, backoff: 100ms}, args: {delay: 100ms}}]\n" +
				"    - name: second\n      health: none\n      max_failures: 20\n      batch: \"100%\"\n      steps: [{name: c, action: x/c, timeout: 5s, args: {delay: 100ms}}]\n"
		}
		h := newInstallation(t, nodes, spec("exclusive"))
		h.apply("s1", spec("shared"))
		h.apply("s2", spec("shared"))
		h.lead()
		var ids []string
		var mu sync.Mutex
		ri := rand.New(rand.NewPCG(seed, 8))
		intercept := func() {
			h.memory.Intercept(func(op string, do func() error) error {
				if op != "Commit" {
					return do()
				}
				mu.Lock()
				x, pause := ri.IntN(60), ri.IntN(300)
				mu.Unlock()
				switch {
				case x == 0:
					return errors.New("boom")
				case x == 1:
					_ = do()
					return errors.New("boom after")
				case x == 2:
					return fmt.Errorf("x: %w", store.ErrUnavailable)
				case x == 3:
					_ = do()
					return fmt.Errorf("x: %w", store.ErrUnavailable)
				case x < 12:
					time.Sleep(time.Duration(pause) * time.Millisecond)
				}
				return do()
			})
		}
		gone := map[string]bool{}
		intercept()
		for range 10 + r.IntN(30) {
			time.Sleep(time.Duration(r.IntN(800)) * time.Millisecond)
			switch x := r.IntN(14); {
			case x < 3 && len(ids) < 6:
				pb := []string{"s1", "s2", "s1", "test"}[r.IntN(4)]
				run, err := h.current.Start(t.Context(), record.Request{}, record.RunRequest{Cluster: "c", Playbook: pb})
				if err != nil {
					t.Logf("start: %v", err)
				} else {
					ids = append(ids, run.ID)
				}
			case x == 3:
				h.memory.Intercept(nil)
				h.kill()
				h.lead()
				intercept()
			case x < 8 && len(ids) > 0:
				id := ids[r.IntN(len(ids))]
				verb := []record.Verb{record.VerbPause, record.VerbResume, record.VerbResume, record.VerbPause, record.VerbCancel}[r.IntN(5)]
				if verb == record.VerbCancel && r.IntN(3) > 0 {
					break
				}
				_, _ = h.current.Command(t.Context(), record.Request{}, id, record.Command{Verb: verb, Kill: r.IntN(2) == 0})
			case x == 8:
				name := h.nodes[r.IntN(len(h.nodes))]
				h.fleet.mu.Lock()
				h.fleet.down["http://"+name] = !h.fleet.down["http://"+name]
				h.fleet.mu.Unlock()
			case x == 9:
				name := h.nodes[r.IntN(len(h.nodes))]
				c := h.key(name)
				c.Gone = !gone[name]
				gone[name] = c.Gone
				h.join <- membership.Update{Changes: []membership.Change{c}}
			case x == 10 && len(h.nodes) < 10:
				name := fmt.Sprintf("new-%d", len(h.nodes))
				h.nodes = append(h.nodes, name)
				h.join <- membership.Update{Changes: []membership.Change{h.key(name)}}
			}
		}
		h.memory.Intercept(nil)
		h.fleet.mu.Lock()
		h.fleet.down = map[string]bool{}
		h.fleet.mu.Unlock()
		for name, is := range gone {
			if is {
				h.join <- membership.Update{Changes: []membership.Change{h.key(name)}}
			}
		}
		deadline := time.Now().Add(time.Hour)
		for _, id := range ids {
			for {
				run, err := h.store.Run(t.Context(), id)
				if err != nil {
					t.Fatal(err)
				}
				if !run.Open() {
					break
				}
				for _, id := range ids {
					if run, _ := h.store.Run(t.Context(), id); run.State == record.RunPaused {
						_, _ = h.current.Command(t.Context(), record.Request{}, id, record.Command{Verb: record.VerbResume})
					}
				}
				if time.Now().After(deadline) {
					for _, id := range ids {
						run, _ := h.store.Run(t.Context(), id)
						t.Errorf("%s is %s %v waiting %+v groups %+v unsettled %d", id, run.State, run.Counts, run.Waiting, run.Stages[0].Groups, run.Unsettled)
					}
					t.FailNow()
				}
				time.Sleep(50 * time.Millisecond)
			}
		}
		h.onceEach()
		type span struct {
			run      string
			from, to time.Time
		}
		spans := map[string][]span{}
		for _, id := range ids {
			list, _, _ := h.store.RunNodes(t.Context(), id, nil, store.Page{})
			run, _ := h.store.Run(t.Context(), id)
			if run.Concurrency != record.Shared {
				continue
			}
			for _, n := range list {
				var s *span
				for _, a := range n.Actions {
					if a.Stage != "first" || a.FinishTS == nil {
						continue
					}
					if a.Step == "a" {
						spans[n.Node] = append(spans[n.Node], span{id, a.StartTS, *a.FinishTS})
						s = &spans[n.Node][len(spans[n.Node])-1]
					} else if s != nil {
						s.to = *a.FinishTS
					}
				}
			}
		}
		for node, list := range spans {
			for i := range list {
				for j := range i {
					if list[i].run != list[j].run && list[i].from.Before(list[j].to) && list[j].from.Before(list[i].to) {
						t.Errorf("%s: %v and %v", node, list[i], list[j])
					}
				}
			}
		}
		// all nodes must be free again
		time.Sleep(time.Second)
		done := h.start(record.Request{}, record.RunRequest{}).ID
		for range 5000 {
			run, _ := h.store.Run(t.Context(), done)
			if run.State.Final() {
				break
			}
			time.Sleep(100 * time.Millisecond)
		}
		run, _ := h.store.Run(t.Context(), done)
		if run.State != record.RunDone {
			t.Errorf("the last run is %s, error %+v, waiting %+v", run.State, run.Error, run.Waiting)
		}
		h.kill()
	})
}
