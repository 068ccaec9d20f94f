package controller_test

import (
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/replicante-io/playbooks/record"
	"github.com/replicante-io/playbooks/store"
)

// The tests of this file show faults: each fails on the code that it was written against.

// TestRunAfterOneThatWasCancelledBetweenTwoWaves: a batch of 1,500 nodes is entered in waves of 1,024; the run is cancelled while the
// first wave is stored. The next run of the cluster must find all nodes free.
func TestRunAfterOneThatWasCancelledBetweenTwoWaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newInstallation(t, 1500, "  stages: [{name: s, batch: \"100%\", health: none, steps: [{name: a, action: x/a, args: {delay: 200ms}}]}]\n")
		h.lead()
		defer h.kill()
		h.memory.Intercept(func(op string, do func() error) error {
			if op == "Commit" {
				time.Sleep(500 * time.Millisecond)
			}
			return do()
		})
		id := h.start(record.Request{}, record.RunRequest{}).ID
		for {
			run, _ := h.store.Run(t.Context(), id)
			if run.Stages[0].State == record.StageRunning {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
		time.Sleep(100 * time.Millisecond) // the first wave is being stored
		if _, err := h.current.Command(t.Context(), record.Request{}, id, record.Command{Verb: record.VerbCancel}); err != nil {
			t.Fatal(err)
		}
		h.await(id, record.RunCancelled)
		h.memory.Intercept(nil)
		stats, _ := h.current.Stats()
		t.Logf("after the run has ended: %+v", stats.Clusters["c"])
		next := h.start(record.Request{}, record.RunRequest{}).ID
		h.await(next, record.RunDone)
	})
}

// TestRunAfterOneWithAnUnsettledAction: a run ends with an action that may still be running. The next run waits for it two minutes,
// then the node counts as failed and the run ends.
func TestRunAfterOneWithAnUnsettledAction(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newInstallation(t, 2, "  stages: [{name: s, max_failures: 1, health: none, steps: [{name: a, action: x/a, timeout: 10s, args: {delay: 1h}}]}]\n")
		h.apply("next", "  stages: [{name: s, max_failures: 1, health: none, steps: [{name: a, action: x/a}]}]\n")
		h.lead()
		defer h.kill()
		id := h.start(record.Request{}, record.RunRequest{}).ID
		time.Sleep(time.Second)
		h.fleet.mu.Lock()
		h.fleet.down["http://node-1"] = true
		h.fleet.mu.Unlock()
		first := h.await(id, record.RunFailed)
		if first.Unsettled != 1 {
			t.Fatalf("unsettled: %d", first.Unsettled)
		}
		next := h.start(record.Request{}, record.RunRequest{Playbook: "next"}).ID
		time.Sleep(30 * time.Minute)
		run, _ := h.store.Run(t.Context(), next)
		if !run.State.Final() {
			t.Errorf("after 30 minutes the run is %s, counts %v, waiting %+v", run.State, run.Counts, run.Waiting)
		}
	})
}

// TestSharedRunsThatWaitForEachOthersUnsettledActions: each has an unsettled action on the node that the other wants next, and both agents
// are gone for good.
func TestSharedRunsThatWaitForEachOthersUnsettledActions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const stage = "max_failures: 2, health: none, steps: [{name: a, action: x/a, timeout: 10s, args: {delay: 1h}}]}]\n"
		h := newInstallation(t, 2, "  concurrency: shared\n  stages: [{name: s, "+stage)
		h.apply("back", "  concurrency: shared\n  stages: [{name: s, order_by: 'node.id == \"node-1\"', "+stage)
		h.lead()
		defer h.kill()
		one := h.start(record.Request{}, record.RunRequest{}).ID
		two := h.start(record.Request{}, record.RunRequest{Playbook: "back"}).ID
		time.Sleep(time.Second)
		h.fleet.mu.Lock()
		h.fleet.down["http://node-1"], h.fleet.down["http://node-2"] = true, true
		h.fleet.mu.Unlock()
		time.Sleep(24 * time.Hour)
		for _, id := range []string{one, two} {
			run, _ := h.store.Run(t.Context(), id)
			if !run.State.Final() {
				t.Errorf("after a day run %s is %s, counts %v, waiting %+v", id, run.State, run.Counts, run.Waiting)
			}
		}
	})
}

// TestTwoCommandsAtOnceToARunThatHasEnded: both nodes of an ended run are resolved at the same time; both commands must be carried out.
func TestTwoCommandsAtOnceToARunThatHasEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newInstallation(t, 2, "  stages: [{name: s, batch: 2, max_failures: 2, health: none, steps: [{name: a, action: x/a, timeout: 10s, args: {delay: 1h}}]}]\n")
		h.lead()
		defer h.kill()
		id := h.start(record.Request{}, record.RunRequest{}).ID
		time.Sleep(time.Second)
		h.fleet.mu.Lock()
		h.fleet.down["http://node-1"], h.fleet.down["http://node-2"] = true, true
		h.fleet.mu.Unlock()
		h.await(id, record.RunFailed)
		// The agents lost what they did: the actions stay UNKNOWN and are settled.
		h.fleet.mu.Lock()
		for _, a := range h.fleet.agents {
			for _, action := range a.actions {
				action.state.Phase = "FAILED"
				action.state.Error = []byte(`{"code":"lost","message":"lost"}`)
			}
		}
		h.fleet.down = map[string]bool{}
		h.fleet.mu.Unlock()
		time.Sleep(time.Minute)
		run, _ := h.store.Run(t.Context(), id)
		if run.Unsettled != 0 || run.Counts[record.NodeUnknown] != 2 {
			t.Fatalf("unsettled %d, %v", run.Unsettled, run.Counts)
		}
		h.memory.Intercept(func(op string, do func() error) error {
			if op == "Claim" {
				time.Sleep(100 * time.Millisecond) // the other command comes meanwhile
			}
			return do()
		})
		var wait sync.WaitGroup
		for _, node := range []string{"node-1", "node-2"} {
			wait.Go(func() {
				_, err := h.current.Command(t.Context(), record.Request{Key: node, Digest: node}, id,
					record.Command{Verb: record.VerbResolve, Node: node, State: record.NodeDone})
				if err != nil {
					t.Errorf("resolve %s: %v", node, err)
				}
			})
		}
		wait.Wait()
		h.memory.Intercept(nil)
		nodes, _, _ := h.store.RunNodes(t.Context(), id, nil, store.Page{})
		for _, n := range nodes {
			if n.State != record.NodeDone {
				t.Errorf("%s is %s", n.Node, n.State)
			}
		}
	})
}

// TestLargeBatchIsNotStarvedBySmallOnes: a shared run wants all nodes for one batch; later shared runs take one node at a time, three of
// them at any moment. The earlier run must get its nodes some time.
func TestLargeBatchIsNotStarvedBySmallOnes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const step = "steps: [{name: a, action: x/a, args: {delay: 1s}}]}]\n"
		h := newInstallation(t, 4, "  concurrency: shared\n  stages: [{name: s, health: none, "+step)
		h.apply("large", "  concurrency: shared\n  stages: [{name: s, health: none, batch: \"100%\", "+step)
		h.lead()
		defer h.kill()
		small := []string{h.start(record.Request{}, record.RunRequest{}).ID}
		time.Sleep(500 * time.Millisecond)
		large := h.start(record.Request{}, record.RunRequest{Playbook: "large"}).ID
		for range 2 {
			time.Sleep(1300 * time.Millisecond)
			small = append(small, h.start(record.Request{}, record.RunRequest{}).ID)
		}
		passed := 0
		for range 36_000 {
			time.Sleep(100 * time.Millisecond)
			for i, id := range small {
				if run, _ := h.store.Run(t.Context(), id); run.State.Final() {
					passed++
					small[i] = h.start(record.Request{}, record.RunRequest{}).ID
				}
			}
			if run, _ := h.store.Run(t.Context(), large); run.State.Final() {
				return
			}
		}
		run, _ := h.store.Run(t.Context(), large)
		t.Errorf("in an hour %d later runs have ended; the earlier one is %s with %d events, counts %v, waiting %+v", passed, run.State, run.Seq, run.Counts, run.Waiting)
	})
}

// TestATakeoverClaimsRunsAtTheSameTime: one run whose claim takes long, or many runs, do not keep a new leader from its work.
func TestATakeoverClaimsRunsAtTheSameTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newInstallation(t, 1, slow)
		h.lead()
		var last record.Run
		for range 160 {
			last = h.start(record.Request{}, record.RunRequest{})
		}
		h.kill()
		var claims atomic.Int32
		h.memory.Intercept(func(method string, do func() error) error {
			if method == "Claim" {
				claims.Add(1)
				time.Sleep(50 * time.Millisecond)
			}
			return do()
		})
		begun := time.Now()
		h.lead()
		if took := time.Since(begun); took > time.Second {
			t.Errorf("160 claims of 50 ms took %s", took)
		}
		if claims.Load() != 160 {
			t.Errorf("160 runs were claimed by %d calls", claims.Load())
		}
		h.memory.Intercept(nil)
		h.await(last.ID, record.RunDone)
		h.onceEach()
		h.kill()
	})
}
