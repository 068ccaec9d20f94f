package controller_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/replicante-io/playbooks/controller"
	"github.com/replicante-io/playbooks/membership"
	"github.com/replicante-io/playbooks/record"
	"github.com/replicante-io/playbooks/store"
)

const slow = `  stages:
    - name: first
      batch: 2
      steps: [{name: a, action: x/a, args: {delay: 200ms}}, {name: b, action: x/b, args: {delay: 200ms}}]
    - name: second
      health: none
      batch: "100%"
      steps: [{name: c, action: x/c, args: {delay: 100ms}}]
`

func TestRunGoesToItsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newInstallation(t, 5, slow)
		h.lead()
		defer h.kill()
		run := h.await(h.start(record.Request{}, record.RunRequest{}).ID, record.RunDone)
		h.onceEach()
		if _, byNode := h.fleet.starts(); byNode["node-1"] != 3 || byNode["node-5"] != 3 {
			t.Errorf("starts by node: %v", byNode)
		}
		for !run.Stamped {
			time.Sleep(time.Millisecond)
			run, _ = h.store.Run(t.Context(), run.ID)
		}
		nodes, _, err := h.store.RunNodes(t.Context(), run.ID, nil, store.Page{})
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range nodes {
			if n.State != record.NodeDone || n.FinishTS == nil {
				t.Errorf("%s is %s, finished %v", n.Node, n.State, n.FinishTS)
			}
		}
		if took := run.FinishTS.Sub(*run.StartTS); took > 3*time.Second {
			t.Errorf("1.3 s of work took %s", took)
		}
	})
}

func TestNextLeaderGoesOnWhereTheLastOneWasKilled(t *testing.T) {
	for seed := range uint64(30) {
		synctest.Test(t, func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 1))
			h := newInstallation(t, 5, slow)
			h.lead()
			id := h.start(record.Request{}, record.RunRequest{}).ID
			for range 5 {
				time.Sleep(time.Duration(random.IntN(400)) * time.Millisecond)
				h.kill()
				h.lead()
			}
			defer h.kill()
			h.await(id, record.RunDone)
			h.onceEach()
			if _, byNode := h.fleet.starts(); len(byNode) != 5 || byNode["node-3"] != 3 {
				t.Errorf("seed %d: starts by node: %v", seed, byNode)
			}
		})
	}
}

func TestCommitInDoubtLandsOnce(t *testing.T) {
	for _, stored := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			h := newInstallation(t, 3, slow)
			h.lead()
			defer h.kill()
			id := h.start(record.Request{}, record.RunRequest{}).ID
			for range 20 {
				time.Sleep(50 * time.Millisecond)
				h.memory.FailNext("Commit", stored)
			}
			h.await(id, record.RunDone)
			h.onceEach()
		})
	}
}

func TestNothingIsSentWhileTheStoreIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newInstallation(t, 3, slow)
		h.lead()
		defer h.kill()
		id := h.start(record.Request{}, record.RunRequest{}).ID
		time.Sleep(100 * time.Millisecond)
		h.memory.Intercept(func(op string, do func() error) error { return fmt.Errorf("%s: %w", op, store.ErrUnavailable) })
		before, _ := h.fleet.starts()
		time.Sleep(time.Minute)
		if after, _ := h.fleet.starts(); len(after) != len(before) {
			t.Errorf("%d actions were started while nothing could be saved", len(after)-len(before))
		}
		h.memory.Intercept(nil)
		h.await(id, record.RunDone)
	})
}

func TestLeaderWhoseTermIsOverStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newInstallation(t, 3, slow)
		h.lead()
		id := h.start(record.Request{}, record.RunRequest{}).ID
		time.Sleep(100 * time.Millisecond)
		old, oldEnded := h.current, h.ended
		h.lead() // without the first one's knowing
		if err := <-oldEnded; !errors.Is(err, store.ErrStaleTerm) {
			t.Errorf("it ended with %v", err)
		}
		if _, err := old.Start(t.Context(), record.Request{}, record.RunRequest{}); !errors.Is(err, controller.ErrNotLeading) {
			t.Errorf("it takes commands: %v", err)
		}
		defer h.kill()
		h.await(id, record.RunDone)
		h.onceEach()
	})
}

func TestAgentThatHasSeenAHigherTermMakesTheLeaderStepDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newInstallation(t, 2, slow)
		h.fleet.term = 77
		h.lead()
		h.start(record.Request{}, record.RunRequest{})
		var higher *controller.HigherTermError
		if err := <-h.ended; !errors.As(err, &higher) || higher.Term != 77 {
			t.Fatalf("it ended with %v", err)
		}
	})
}

func TestAnAgentWithATermThatNoElectionReachedFailsItsOwnNodeOnly(t *testing.T) {
	for reported, aside := range map[int64][]record.NodeKey{
		math.MaxInt64: nil, 1 << 53: nil, 2 + store.MaxTermRaise: nil, 77: {{Cluster: "c", Node: "node-2"}},
	} {
		synctest.Test(t, func(t *testing.T) {
			h := newInstallation(t, 3, `  stages: [{name: a, max_failures: 1, steps: [{name: a, action: x/a}]}]`)
			h.fleet.wild["http://node-2"] = reported
			h.aside = aside
			h.lead()
			defer h.kill()
			run := h.await(h.start(record.Request{}, record.RunRequest{}).ID, record.RunFailed)
			nodes, _, err := h.store.RunNodes(t.Context(), run.ID, nil, store.Page{})
			if err != nil {
				t.Fatal(err)
			}
			for _, n := range nodes {
				switch {
				case n.Node != "node-2" && n.State != record.NodeDone:
					t.Errorf("term %d: %s is %s", reported, n.Node, n.State)
				case n.Node == "node-2" && (n.State != record.NodeFailed || n.Actions[0].Error.Code != record.CodeTermRefused):
					t.Errorf("term %d: %s is %s: %+v", reported, n.Node, n.State, n.Actions)
				}
			}
		})
	}
}

func TestAnActionInFlightWhoseAgentTurnsAwayIsUnsettled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newInstallation(t, 1, `  stages: [{name: a, steps: [{name: a, action: x/a, args: {delay: 1h}, timeout: 2h}]}]`)
		h.lead()
		defer h.kill()
		id := h.start(record.Request{}, record.RunRequest{}).ID
		time.Sleep(time.Second)
		h.fleet.mu.Lock()
		h.fleet.wild["http://node-1"] = math.MaxInt64
		h.fleet.mu.Unlock()
		if _, err := h.current.Command(t.Context(), record.Request{}, id, record.Command{Verb: record.VerbCancel, Kill: true}); err != nil {
			t.Fatal(err)
		}
		h.await(id, record.RunCancelled)
		node, err := h.store.RunNode(t.Context(), id, "node-1")
		if err != nil || node.State != record.NodeUnknown || !node.Actions[0].Unsettled {
			t.Errorf("%v: %+v", err, node)
		}
	})
}

func TestAClockThatIsBehindThatOfTheLeaderBeforeIsReportedAtTheTakeover(t *testing.T) {
	for ahead, reported := range map[time.Duration]bool{time.Minute: true, 500 * time.Millisecond: false, -time.Hour: false} {
		synctest.Test(t, func(t *testing.T) {
			h := newInstallation(t, 1, slow)
			h.lead()
			run := h.start(record.Request{}, record.RunRequest{})
			h.kill()
			// The leader before had another clock.
			term, err := h.store.BeginTerm(t.Context(), 0)
			if err != nil {
				t.Fatal(err)
			}
			claimed, _, err := h.store.Claim(t.Context(), term.Term, run.ID)
			if err != nil {
				t.Fatal(err)
			}
			commit := record.Commit{ID: "clock", After: claimed.CommitID, Run: claimed}
			commit.Run.Rev, commit.Run.CommitID, commit.Run.UpdateTS = claimed.Rev+1, commit.ID, record.Now().Add(ahead)
			if err := h.store.Commit(t.Context(), term.Term, commit); err != nil {
				t.Fatal(err)
			}
			var log bytes.Buffer
			h.log = hclog.New(&hclog.LoggerOptions{Output: &log})
			h.lead()
			h.kill()
			if said := strings.Contains(log.String(), "is behind that of the leader before"); said != reported {
				t.Errorf("with a clock that was %s ahead it logs %q", ahead, log.String())
			}
		})
	}
}

func TestARunThatNeedsAnUnknownFeatureIsLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newInstallation(t, 1, slow)
		// What a newer version has created: a run, and the revision of a playbook.
		spec := record.Document{"stages": []any{map[string]any{"name": "a", "newer_key": int64(1),
			"steps": []any{map[string]any{"name": "s", "action": "x/a"}}}}}
		if err := h.applyDocuments(record.Documents{Playbooks: []record.Playbook{{Name: "newer", Spec: spec, Digest: "newer"}}}); err != nil {
			t.Fatal(err)
		}
		term, err := h.store.BeginTerm(t.Context(), 0)
		if err != nil {
			t.Fatal(err)
		}
		newer := record.Run{ID: "newer", Cluster: "c", State: record.RunRunning, Term: term.Term, Rev: 1, CreatedTS: record.Now(),
			Concurrency: record.Exclusive, Playbook: record.PlaybookCopy{Name: "newer", Spec: spec}}
		if err := h.store.Create(t.Context(), term.Term, record.Commit{ID: "c", Run: newer}); err != nil {
			t.Fatal(err)
		}
		h.lead()
		defer h.kill()
		behind := h.start(record.Request{}, record.RunRequest{})
		for what, err := range map[string]error{
			"a command": commandOf(h, "newer", record.VerbCancel),
			"a start": func() error {
				_, err := h.current.Start(t.Context(), record.Request{}, record.RunRequest{Cluster: "c", Playbook: "newer"})
				return err
			}(),
		} {
			var rejected *record.RejectedError
			if !errors.As(err, &rejected) || rejected.Code != record.CodeUnknownFeature || len(rejected.Problems) != 1 {
				t.Errorf("%s: %v", what, err)
			}
		}
		time.Sleep(time.Minute)
		run, err := h.store.Run(t.Context(), "newer")
		if err != nil || run.Rev != 1 || run.Term != term.Term {
			t.Errorf("its record has changed: %+v, %v", run, err)
		}
		if w := run.Waiting; w == nil || w.For != record.WaitLeader || w.Data["code"] != record.CodeUnknownFeature {
			t.Errorf("it waits for %+v", w)
		}
		if run, err := h.store.Run(t.Context(), behind.ID); err != nil || run.State != record.RunPending {
			t.Errorf("a run beside it is %s, %v", run.State, err)
		}
	})
}

func commandOf(h *installation, id string, verb record.Verb) error {
	ctx, cancel := context.WithTimeout(h.t.Context(), time.Minute)
	defer cancel()
	_, err := h.current.Command(ctx, record.Request{}, id, record.Command{Verb: verb})
	return err
}

func TestExclusiveRunsOfAClusterGoOneAfterTheOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newInstallation(t, 2, slow)
		h.apply("shared", "  concurrency: shared\n"+slow)
		h.lead()
		first := h.start(record.Request{}, record.RunRequest{Playbook: "shared"})
		beside := h.start(record.Request{}, record.RunRequest{Playbook: "shared"})
		exclusive := h.start(record.Request{}, record.RunRequest{})
		late := h.start(record.Request{}, record.RunRequest{Playbook: "shared"})
		_, err := h.current.Start(t.Context(), record.Request{}, record.RunRequest{Cluster: "c", Playbook: "test", IfBusy: "fail"})
		var refusal *record.RejectedError
		if !errors.As(err, &refusal) || refusal.Code != "cluster_busy" {
			t.Errorf("if_busy: fail answers %v", err)
		}
		time.Sleep(100 * time.Millisecond)
		for id, want := range map[string]record.RunState{
			first.ID: record.RunRunning, beside.ID: record.RunRunning, exclusive.ID: record.RunPending, late.ID: record.RunPending,
		} {
			if run, _ := h.store.Run(t.Context(), id); run.State != want {
				t.Errorf("run %s is %s, want %s; waiting %+v", id, run.State, want, run.Waiting)
			}
		}
		h.kill()
		h.lead()
		defer h.kill()
		one := h.await(exclusive.ID, record.RunDone)
		two := h.await(late.ID, record.RunDone)
		if two.StartTS.Before(*one.FinishTS) {
			t.Error("a later run passed an earlier one in the queue")
		}
		h.onceEach()
	})
}

func TestSharedRunsNeverActOnOneNodeAtTheSameTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newInstallation(t, 3, "  concurrency: shared\n"+slow)
		h.lead()
		defer h.kill()
		ids := []string{h.start(record.Request{}, record.RunRequest{}).ID, h.start(record.Request{}, record.RunRequest{}).ID, h.start(record.Request{}, record.RunRequest{}).ID}
		type span struct{ from, to time.Time }
		spans := map[string][]span{}
		for _, id := range ids {
			h.await(id, record.RunDone)
			nodes, _, _ := h.store.RunNodes(t.Context(), id, nil, store.Page{})
			for _, n := range nodes {
				for _, a := range n.Actions {
					spans[n.Node] = append(spans[n.Node], span{a.StartTS, *a.FinishTS})
				}
			}
		}
		for node, list := range spans {
			for i := range list {
				for j := range i {
					if list[i].from.Before(list[j].to) && list[j].from.Before(list[i].to) {
						t.Errorf("%s had two actions at once: %v and %v", node, list[i], list[j])
					}
				}
			}
		}
	})
}

// TestNoTakeoverRunsTwoExclusiveRuns gives a running and a queued run every order of stored places in the queue.
func TestNoTakeoverRunsTwoExclusiveRuns(t *testing.T) {
	for _, places := range [][2]int{{0, 1}, {1, 1}, {1, 0}} {
		synctest.Test(t, func(t *testing.T) {
			h := newInstallation(t, 2, slow)
			h.lead()
			first := h.start(record.Request{}, record.RunRequest{})
			second := h.start(record.Request{}, record.RunRequest{})
			time.Sleep(100 * time.Millisecond)
			h.kill()
			for i, id := range []string{first.ID, second.ID} {
				h.requeue(id, first.CreatedTS.Add(time.Duration(places[i])*time.Second))
			}
			h.lead()
			defer h.kill()
			time.Sleep(100 * time.Millisecond)
			for id, want := range map[string]record.RunState{first.ID: record.RunRunning, second.ID: record.RunPending} {
				if run, _ := h.store.Run(t.Context(), id); run.State != want {
					t.Errorf("places %v: run %s is %s, want %s", places, id, run.State, want)
				}
			}
			one, two := h.await(first.ID, record.RunDone), h.await(second.ID, record.RunDone)
			if two.StartTS.Before(*one.FinishTS) {
				t.Errorf("places %v: the second run began at %s, the first ended at %s", places, two.StartTS, one.FinishTS)
			}
		})
	}
}

func TestStepsOfSharedRunsDoNotInterleaveOnANode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newInstallation(t, 3, "  concurrency: shared\n"+strings.Replace(slow, "batch: 2", "batch: [2, 1]", 1))
		h.lead()
		defer h.kill()
		type span struct {
			run      string
			from, to time.Time
		}
		var ids []string
		for range 3 {
			ids = append(ids, h.start(record.Request{}, record.RunRequest{}).ID)
		}
		spans := map[string][]span{}
		for _, id := range ids {
			h.await(id, record.RunDone)
			nodes, _, _ := h.store.RunNodes(t.Context(), id, nil, store.Page{})
			for _, n := range nodes {
				first, last := n.Actions[0], n.Actions[1] // the steps of the first stage
				spans[n.Node] = append(spans[n.Node], span{id, first.StartTS, *last.FinishTS})
			}
		}
		for node, list := range spans {
			for i := range list {
				for j := range i {
					if list[i].from.Before(list[j].to) && list[j].from.Before(list[i].to) {
						t.Errorf("%s went through steps of two runs at once: %v and %v", node, list[i], list[j])
					}
				}
			}
		}
	})
}

func TestSameRequestAgainStartsNoSecondRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newInstallation(t, 2, slow)
		h.lead()
		request := record.Request{Actor: "me", Key: "k1", Digest: "d1"}
		ids := make(chan string, 10)
		for range 10 {
			go func() {
				run, err := h.current.Start(t.Context(), request, record.RunRequest{Cluster: "c", Playbook: "test"})
				if err != nil {
					t.Error(err)
				}
				ids <- run.ID
			}()
		}
		first := <-ids
		for range 9 {
			if id := <-ids; id != first {
				t.Errorf("run %s and run %s", first, id)
			}
		}
		h.kill()
		h.lead()
		defer h.kill()
		if run := h.start(request, record.RunRequest{}); run.ID != first {
			t.Errorf("after a takeover: run %s and run %s", first, run.ID)
		}
		request.Digest = "d2"
		if _, err := h.current.Start(t.Context(), request, record.RunRequest{Cluster: "c", Playbook: "test"}); !errors.Is(err, store.ErrKeyReused) {
			t.Errorf("another request under the same key: %v", err)
		}
	})
}

func TestCommandIsAnsweredOnceItIsCommitted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newInstallation(t, 3, slow)
		h.lead()
		defer h.kill()
		id := h.start(record.Request{}, record.RunRequest{}).ID
		time.Sleep(50 * time.Millisecond)
		run, err := h.current.Command(t.Context(), record.Request{Key: "p", Digest: "p"}, id, record.Command{Verb: record.VerbPause})
		if err != nil || run.State != record.RunPausing {
			t.Fatalf("%s, %v", run.State, err)
		}
		h.await(id, record.RunPaused)
		again, err := h.current.Command(t.Context(), record.Request{Key: "p", Digest: "p"}, id, record.Command{Verb: record.VerbPause})
		if err != nil || again.State != record.RunPaused {
			t.Fatalf("the same command again: %s, %v", again.State, err)
		}
		if _, err := h.current.Command(t.Context(), record.Request{}, id, record.Command{Verb: record.VerbResume}); err != nil {
			t.Fatal(err)
		}
		h.await(id, record.RunDone)
		var refusal *record.RejectedError
		_, err = h.current.Command(t.Context(), record.Request{}, id, record.Command{Verb: record.VerbPause})
		if !errors.As(err, &refusal) || refusal.Code != record.CodeWrongState || refusal.Data["state"] != "DONE" {
			t.Fatalf("pausing an ended run: %v", err)
		}
	})
}

func TestUnreachableAgentFailsItsNodeWithoutWaitingForTheTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newInstallation(t, 2, strings.ReplaceAll(slow, "batch: 2", "health: none"))
		h.fleet.down["http://node-1"] = true
		h.lead()
		defer h.kill()
		run := h.await(h.start(record.Request{}, record.RunRequest{}).ID, record.RunFailed)
		n, _ := h.store.RunNode(t.Context(), run.ID, "node-1")
		if n.Error == nil || n.Error.Code != record.CodeUnreachable || run.FinishTS.Sub(*run.StartTS) > 40*time.Second {
			t.Errorf("error %+v after %s", n.Error, run.FinishTS.Sub(*run.StartTS))
		}
	})
}

func TestNodeThatJoinsTakesPart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newInstallation(t, 2, slow)
		h.lead()
		defer h.kill()
		id := h.start(record.Request{}, record.RunRequest{}).ID
		time.Sleep(100 * time.Millisecond)
		h.join <- membership.Update{Changes: []membership.Change{h.key("node-9")}}
		h.await(id, record.RunDone)
		if n, err := h.store.RunNode(t.Context(), id, "node-9"); err != nil || n.State != record.NodeDone || n.Membership != record.MemberAdded {
			t.Errorf("%+v, %v", n, err)
		}
	})
}
