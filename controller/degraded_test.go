package controller_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/replicante-io/playbooks/record"
	"github.com/replicante-io/playbooks/store"
)

// away makes every write fail until it is called with false.
func (h *installation) away(away bool) {
	if !away {
		h.memory.Intercept(nil)
		return
	}
	h.memory.Intercept(func(op string, _ func() error) error { return fmt.Errorf("%s: %w", op, store.ErrUnavailable) })
}

func TestReadsFromMemoryAreWhatIsCommitted(t *testing.T) {
	for seed := range uint64(20) {
		synctest.Test(t, func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 2))
			h := newInstallation(t, 5, slow)
			h.lead()
			defer h.kill()
			id := h.start(record.Request{}, record.RunRequest{}).ID
			waited := 0
			for range 30 {
				time.Sleep(time.Duration(random.IntN(100)) * time.Millisecond)
				h.away(random.IntN(2) == 0)
				synctest.Wait()
				stored, err := h.store.Run(t.Context(), id)
				if err != nil {
					t.Fatal(err)
				}
				read, waits, ok := h.current.CommittedRun(id)
				if stored.FinishTS != nil {
					break
				}
				if !ok {
					t.Fatalf("seed %d: the run is %s and nothing is read", seed, stored.State)
				}
				if waits {
					waited++
					if w := read.Waiting; w == nil || w.For != record.WaitStore || w.Since.IsZero() {
						t.Errorf("seed %d: it waits for %+v", seed, w)
					}
					read.Waiting = stored.Waiting
				}
				if diff := cmp.Diff(stored, read, cmpopts.EquateEmpty()); diff != "" {
					t.Fatalf("seed %d: the run, -stored +read:\n%s", seed, diff)
				}
				nodes, _, err := h.store.RunNodes(t.Context(), id, nil, store.Page{})
				if err != nil {
					t.Fatal(err)
				}
				known, _ := h.current.CommittedNodes(id)
				if diff := cmp.Diff(nodes, known, cmpopts.EquateEmpty()); diff != "" {
					t.Fatalf("seed %d: the nodes, -stored +read:\n%s", seed, diff)
				}
				if runs := h.current.CommittedRuns(); len(runs) != 1 || runs[0].ID != id || runs[0].Playbook.Spec != nil {
					t.Errorf("seed %d: runs %+v", seed, runs)
				}
			}
			if waited == 0 {
				t.Errorf("seed %d: it never waited", seed)
			}
			h.away(false)
			h.await(id, record.RunDone)
			h.onceEach()
		})
	}
}

func TestACommandThatWaitsForTheStoreIsCarriedOutOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newInstallation(t, 3, slow)
		h.lead()
		defer h.kill()
		id := h.start(record.Request{}, record.RunRequest{}).ID
		time.Sleep(100 * time.Millisecond)
		h.away(true)
		pause := func(patience time.Duration) error {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			_, err := h.current.Command(ctx, record.Request{Key: "k", Digest: "d"}, id, record.Command{Verb: record.VerbPause})
			return err
		}
		for range 3 {
			if err := pause(5 * time.Second); !errors.Is(err, store.ErrUnavailable) {
				t.Fatalf("a command that cannot be stored is answered %v", err)
			}
		}
		h.away(false)
		if err := pause(time.Minute); err != nil {
			t.Errorf("once it is stored, its repetition is answered %v", err)
		}
		h.await(id, record.RunPaused)
		events, err := h.store.Events(t.Context(), id, 0, 0)
		if err != nil {
			t.Fatal(err)
		}
		times := 0
		for _, event := range events {
			if event.Type == record.EventRunPausing {
				times++
			}
		}
		if times != 1 {
			t.Errorf("it was times %d times", times)
		}
	})
}

func TestAStartThatWaitsForTheStoreDoesNotBlockItsRepetition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newInstallation(t, 3, slow)
		h.lead()
		defer h.kill()
		h.away(true)
		start := func(patience time.Duration) (record.Run, error) {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			return h.current.Start(ctx, record.Request{Key: "k", Digest: "d"}, record.RunRequest{Playbook: "test", Cluster: "c", IfBusy: "fail"})
		}
		for range 2 {
			if _, err := start(5 * time.Second); !errors.Is(err, store.ErrUnavailable) {
				t.Fatalf("a run that cannot be stored is answered %v", err)
			}
		}
		h.away(false)
		run, err := start(time.Minute)
		if err != nil {
			t.Fatalf("once it is stored, its repetition is answered %v", err)
		}
		h.await(run.ID, record.RunDone)
		if runs, _, err := h.store.Runs(t.Context(), store.RunFilter{}, store.Page{}); err != nil || len(runs) != 1 {
			t.Errorf("%d runs, %v", len(runs), err)
		}
	})
}
