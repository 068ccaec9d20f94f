package controller_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/replicante-io/playbooks/membership"
	"github.com/replicante-io/playbooks/record"
	"github.com/replicante-io/playbooks/store"
)

// unsettledStage has a step whose end nobody knows when its agent goes away.
const unsettledStage = "  stages: [{name: s, max_failures: 1, health: none, steps: [{name: a, action: x/a, timeout: 10s, args: {delay: 1h}}]}]\n"

// endUnsettled is a run that has ended while an action on node-1 may still be running: its agent has gone away.
func (h *installation) endUnsettled() record.Run {
	h.t.Helper()
	id := h.start(record.Request{}, record.RunRequest{}).ID
	time.Sleep(time.Second)
	h.setDown("node-1", true)
	run := h.await(id, record.RunFailed)
	if run.Unsettled != 1 {
		h.t.Fatalf("unsettled: %d", run.Unsettled)
	}
	return run
}

func (h *installation) setDown(node string, down bool) {
	h.fleet.mu.Lock()
	defer h.fleet.mu.Unlock()
	h.fleet.down["http://"+node] = down
}

// awaitFinished waits until the run and all its records are stamped.
func (h *installation) awaitFinished(id string) record.Run {
	h.t.Helper()
	for range 10_000 {
		run, err := h.store.Run(h.t.Context(), id)
		if err != nil {
			h.t.Fatal(err)
		}
		if !run.Open() {
			return run
		}
		time.Sleep(10 * time.Millisecond)
	}
	h.t.Fatalf("run %s is not finished", id)
	return record.Run{}
}

// stampedNodes counts the node records of a run that have a finish_ts.
func (h *installation) stampedNodes(id string) (n int) {
	h.t.Helper()
	nodes, _, err := h.store.RunNodes(h.t.Context(), id, nil, store.Page{})
	if err != nil {
		h.t.Fatal(err)
	}
	for i := range nodes {
		if nodes[i].FinishTS != nil {
			n++
		}
	}
	return n
}

func TestARunIsFinishedOnceNothingOfItIsUnsettled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newInstallation(t, 2, unsettledStage)
		h.apply("next", "  stages: [{name: s, max_failures: 1, health: none, steps: [{name: a, action: x/a}]}]\n")
		h.lead()
		ended := h.endUnsettled()
		if ended.EndTS == nil || ended.FinishTS != nil || h.stampedNodes(ended.ID) > 0 {
			t.Errorf("it ended at %v and finished at %v; %d records are stamped", ended.EndTS, ended.FinishTS, h.stampedNodes(ended.ID))
		}
		h.kill()
		h.lead()
		defer h.kill()
		next := h.start(record.Request{}, record.RunRequest{Playbook: "next"}).ID
		run := h.await(next, record.RunRunning) // it need not wait for its turn
		time.Sleep(time.Second)
		if run, _ = h.store.Run(t.Context(), next); run.Waiting == nil || run.Waiting.For != record.WaitUnsettled || run.Waiting.Node != "node-1" {
			t.Errorf("the next run is %s and waits for %+v", run.State, run.Waiting)
		}
		h.setDown("node-1", false)
		h.await(next, record.RunDone)
		finished := h.awaitFinished(ended.ID)
		if !finished.EndTS.Equal(*ended.EndTS) || !finished.FinishTS.After(*finished.EndTS) || h.stampedNodes(ended.ID) != 2 {
			t.Errorf("it ended at %s and finished at %s; %d records are stamped", finished.EndTS, finished.FinishTS, h.stampedNodes(ended.ID))
		}
		if finished.Waiting != nil {
			t.Errorf("it waits for %+v", finished.Waiting)
		}
	})
}

func TestForgettingANodeWritesOffWhatMayStillRunOnIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newInstallation(t, 2, unsettledStage)
		h.lead()
		defer h.kill()
		ended := h.endUnsettled()
		node := record.NodeKey{Cluster: "c", Node: "node-1"}
		var rejected *record.RejectedError
		if err := h.current.Forget(t.Context(), record.Request{}, node); !errors.As(err, &rejected) || rejected.Code != record.CodeNodePresent {
			t.Fatalf("a node with a key is forgotten: %v", err)
		}
		if run, _ := h.store.Run(t.Context(), ended.ID); run.Unsettled != 1 {
			t.Errorf("a refused request has written off an action")
		}
		gone := h.key("node-1")
		gone.Gone = true
		h.join <- membership.Update{Changes: []membership.Change{gone}}
		time.Sleep(time.Second)
		if err := h.current.Forget(t.Context(), record.Request{Actor: "op"}, node); err != nil {
			t.Fatal(err)
		}
		run := h.awaitFinished(ended.ID)
		events, _ := h.store.Events(t.Context(), ended.ID, ended.Seq, 0)
		if run.Unsettled != 0 || len(events) == 0 || events[0].Type != record.EventActionSettled || events[0].Actor != "op" ||
			events[0].Data["code"] != record.CauseNodeForgotten {
			t.Errorf("%d unsettled; events %+v", run.Unsettled, events)
		}
		if _, err := h.store.Node(t.Context(), node); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("the node is known: %v", err)
		}
	})
}

// TestANodeWithAnUnsettledActionStaysKnown: it is not forgotten by itself, so that an operator can forget it and with it the action.
func TestANodeWithAnUnsettledActionStaysKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newInstallation(t, 3, unsettledStage)
		h.lead()
		defer h.kill()
		ended := h.endUnsettled()
		for _, name := range []string{"node-1", "node-2"} {
			gone := h.key(name)
			gone.Gone = true
			h.join <- membership.Update{Changes: []membership.Change{gone}}
		}
		time.Sleep(100 * time.Hour)
		for name, known := range map[string]bool{"node-1": true, "node-2": false, "node-3": true} {
			if _, err := h.store.Node(t.Context(), record.NodeKey{Cluster: "c", Node: name}); (err == nil) != known {
				t.Errorf("%s: %v", name, err)
			}
		}
		if err := h.current.Forget(t.Context(), record.Request{}, record.NodeKey{Cluster: "c", Node: "node-1"}); err != nil {
			t.Error(err)
		}
		h.awaitFinished(ended.ID)
	})
}

// TestANodeOfABatchThatIsFreeAgainIsTaken: the other nodes of the batch did not wait for it.
func TestANodeOfABatchThatIsFreeAgainIsTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newInstallation(t, 3, unsettledStage)
		h.apply("next", "  stages: [{name: s, health: none, batch: 3, steps: [{name: a, action: x/a}]}]\n")
		h.lead()
		defer h.kill()
		h.endUnsettled()
		next := h.start(record.Request{}, record.RunRequest{Playbook: "next"}).ID
		time.Sleep(10 * time.Second)
		if node, err := h.store.RunNode(t.Context(), next, "node-3"); err != nil || node.State != record.NodeDone {
			t.Errorf("%s is %s, %v", node.Node, node.State, err)
		}
		h.setDown("node-1", false)
		h.await(next, record.RunDone)
	})
}

// TestARunThatIsGoneFromTheStoreIsOver: somebody deletes a run, in whatever state it is. Nothing else must notice.
func TestARunThatIsGoneFromTheStoreIsOver(t *testing.T) {
	over := map[string]func(h *installation) string{
		"running": func(h *installation) string {
			id := h.start(record.Request{}, record.RunRequest{}).ID
			time.Sleep(time.Second)
			h.memory.Delete(id)
			return id
		},
		"its late answer arrives": func(h *installation) string {
			id := h.endUnsettled().ID
			h.memory.Delete(id)
			h.setDown("node-1", false)
			return id
		},
		"it is resolved": func(h *installation) string {
			id := h.endUnsettled().ID
			h.memory.Delete(id)
			_, err := h.current.Command(h.t.Context(), record.Request{}, id,
				record.Command{Verb: record.VerbResolve, Node: "node-1", State: record.NodeFailed})
			if !errors.Is(err, store.ErrNotFound) {
				h.t.Errorf("resolve: %v", err)
			}
			h.setDown("node-1", false)
			return id
		},
	}
	for name, vanish := range over {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newInstallation(t, 2, unsettledStage)
				h.apply("next", "  stages: [{name: s, health: none, batch: 2, steps: [{name: a, action: x/a}]}]\n")
				var log bytes.Buffer
				h.log = hclog.New(&hclog.LoggerOptions{Output: &log, Level: hclog.Warn})
				h.lead()
				defer h.kill()
				ended := h.ended
				id := vanish(h)
				next := h.start(record.Request{}, record.RunRequest{Playbook: "next"}).ID
				h.await(next, record.RunDone)
				time.Sleep(time.Minute)
				synctest.Wait()
				select {
				case err := <-ended:
					t.Fatalf("the leader has stepped down: %v", err)
				default:
				}
				if n := strings.Count(log.String(), "a run is gone from the primary store"); n != 1 || !strings.Contains(log.String(), id) {
					t.Errorf("logged %d times:\n%s", n, log.String())
				}
			})
		})
	}
}
