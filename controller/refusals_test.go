package controller_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/replicante-io/playbooks/record"
	"github.com/replicante-io/playbooks/store"
)

// refusingStore refuses commits and claims.
type refusingStore struct {
	store.Store
	commit func(commit *record.Commit) error
	claim  func(id string) error
}

func (s refusingStore) Commit(ctx context.Context, term int64, commit record.Commit) error {
	if s.commit != nil {
		if err := s.commit(&commit); err != nil {
			return err
		}
	}
	return s.Store.Commit(ctx, term, commit)
}

func (s refusingStore) Claim(ctx context.Context, term int64, id string) (record.Run, []record.RunNode, error) {
	if s.claim != nil {
		if err := s.claim(id); err != nil {
			return record.Run{}, nil, err
		}
	}
	return s.Store.Claim(ctx, term, id)
}

// badPayload is the node of a commit whose record has a payload with a bad key; empty for none.
func badPayload(commit *record.Commit) string {
	for _, n := range commit.Nodes {
		for _, a := range n.Actions {
			if _, bad := a.Payload["bad"]; bad {
				return n.Node
			}
		}
	}
	return ""
}

// TestARecordThatCannotBeStoredEndsItsOwnNode, or where the store cannot name it, its run, and nothing else: not the other runs of the
// cluster, and the store is not blamed for not answering.
func TestARecordThatCannotBeStoredEndsItsOwnNode(t *testing.T) {
	for name, c := range map[string]struct {
		err   func(node string) error
		named bool
	}{
		"named": {func(node string) error {
			return fmt.Errorf("commit: %w", &store.RecordError{Node: node, Err: errors.New("it takes 17 MiB")})
		}, true},
		"not named":  {func(string) error { return fmt.Errorf("commit: %w: BSON", store.ErrNotStorable) }, false},
		"not known":  {func(string) error { return errors.New("malformed JSON") }, false},
		"named once": {nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newInstallation(t, 5, "  stages: [{name: s, batch: 2, max_failures: 1, health: none, steps: [{name: a, action: x/a, args: {delay: 100ms}}]}]\n")
				h.fleet.payload["http://node-3"] = `{"bad":1}`
				h.wrap = func(s store.Store) store.Store {
					return refusingStore{Store: s, commit: func(commit *record.Commit) error {
						if stats, ok := h.current.Stats(); ok && stats.DelayedRuns > 0 {
							t.Errorf("the store is said to be away: %v", stats.DelayReason)
						}
						if node := badPayload(commit); node != "" {
							return c.err(node)
						}
						return nil
					}}
				}
				if c.err == nil { // its record is refused without the payload too
					h.wrap = func(s store.Store) store.Store {
						return refusingStore{Store: s, commit: func(commit *record.Commit) error {
							for _, n := range commit.Nodes {
								if n.Node == "node-3" && n.State == record.NodeFailed && commit.Run.Outcome == "" && !commit.Run.State.Final() {
									return &store.RecordError{Node: "node-3", Err: errors.New("it takes 17 MiB")}
								}
							}
							if node := badPayload(commit); node != "" {
								return &store.RecordError{Node: node, Err: errors.New("it takes 17 MiB")}
							}
							return nil
						}}
					}
				}
				h.lead()
				defer h.kill()
				first := h.start(record.Request{}, record.RunRequest{}).ID
				run := h.await(first, record.RunFailed)
				nodes, _, err := h.store.RunNodes(t.Context(), first, nil, store.Page{})
				if err != nil {
					t.Fatal(err)
				}
				bad := nodes[2]
				if bad.State != record.NodeFailed || bad.Error.Code != record.CodeNotStorable || len(bad.Actions) != 1 || bad.Actions[0].Payload != nil {
					t.Errorf("%s, error %+v", bad.State, bad.Error)
				}
				if c.named && (run.Error.Code != record.CodeNodesFailed || run.Counts[record.NodeDone] != 4) ||
					!c.named && run.Error.Code != record.CodeNotStorable {
					t.Errorf("run error %+v, counts %v", run.Error, run.Counts)
				}
				h.onceEach()
				h.fleet.mu.Lock()
				delete(h.fleet.payload, "http://node-3")
				h.fleet.mu.Unlock()
				if c.err != nil {
					h.await(h.start(record.Request{}, record.RunRequest{}).ID, record.RunDone)
				}
			})
		})
	}
}

// TestACommandIsCarriedOutAlthoughANodeIsRefusedWithIt: it comes while a commit takes long, with the end of an action.
func TestACommandIsCarriedOutAlthoughANodeIsRefusedWithIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newInstallation(t, 3, "  stages: [{name: s, max_failures: 1, health: none, steps: [{name: a, action: x/a, args: {delay: 100ms}}]}]\n")
		h.fleet.payload["http://node-1"] = `{"bad":1}`
		refused := 0
		h.wrap = func(s store.Store) store.Store {
			return refusingStore{Store: s, commit: func(commit *record.Commit) error {
				if node := badPayload(commit); node != "" {
					if commit.Run.State != record.RunPaused && commit.Run.State != record.RunPausing {
						t.Errorf("the command is not in the commit: the run is %s", commit.Run.State)
					}
					refused++
					return &store.RecordError{Node: node, Err: errors.New("it takes 17 MiB")}
				}
				if len(commit.Nodes) > 0 && len(commit.Nodes[0].Actions) > 0 && commit.Nodes[0].Actions[0].State == record.ActionRunning {
					time.Sleep(time.Second)
				}
				return nil
			}}
		}
		h.lead()
		defer h.kill()
		id := h.start(record.Request{}, record.RunRequest{}).ID
		time.Sleep(500 * time.Millisecond)
		if _, err := h.current.Command(t.Context(), record.Request{}, id, record.Command{Verb: record.VerbPause}); err != nil {
			t.Fatal(err)
		}
		h.await(id, record.RunPaused)
		if refused != 1 {
			t.Errorf("%d commits were refused", refused)
		}
	})
}

// TestARunThatCannotEvenBeEndedIsLeft, and its cluster's nodes with it; runs of other clusters continue, and the leader leads.
func TestARunThatCannotEvenBeEndedIsLeft(t *testing.T) {
	for _, what := range []string{"Commit", "Claim"} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newInstallation(t, 2, slow)
				var bad atomic.Value
				refuse := func(method, id string) error {
					if method == what && bad.Load() == id {
						return errors.New("malformed JSON")
					}
					return nil
				}
				h.wrap = func(s store.Store) store.Store {
					return refusingStore{Store: s, commit: func(c *record.Commit) error { return refuse("Commit", c.Run.ID) },
						claim: func(id string) error { return refuse("Claim", id) }}
				}
				h.lead()
				id := h.start(record.Request{}, record.RunRequest{}).ID
				bad.Store(id)
				time.Sleep(100 * time.Millisecond)
				if what == "Claim" {
					h.kill()
					h.lead()
				}
				defer h.kill()
				synctest.Wait()
				time.Sleep(time.Minute)
				_, err := h.current.Command(t.Context(), record.Request{}, id, record.Command{Verb: record.VerbPause})
				var rejected *record.RejectedError
				if !errors.As(err, &rejected) || rejected.Code != record.CodeNotStorable {
					t.Errorf("a command to it: %v", err)
				}
				select {
				case err := <-h.ended:
					t.Fatalf("the leader has stopped leading: %v", err)
				default:
				}
				next := h.start(record.Request{}, record.RunRequest{}).ID
				time.Sleep(time.Second)
				if run, err := h.store.Run(t.Context(), next); err != nil || run.State != record.RunPending {
					t.Errorf("the next run of the cluster is %s, %v", run.State, err)
				}
			})
		})
	}
}
