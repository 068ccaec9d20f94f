package storetest

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/replicante-io/playbooks/record"
	"github.com/replicante-io/playbooks/store"
)

var kinds = []error{store.ErrStaleTerm, store.ErrConflict, store.ErrNotFound, store.ErrExists, store.ErrKeyReused}

// kind is the sentinel that err wraps, err itself if it wraps none.
func kind(err error) error {
	for _, kind := range kinds {
		if errors.Is(err, kind) {
			return kind
		}
	}
	return err
}

// history applies the same writes to a store and to its model, Memory, and compares their results.
type history struct {
	tb       *rapid.T
	store    store.Store
	model    *Memory
	terms    []int64
	runs     []string
	versions map[string][]record.Run // of each run, from which a leader may decide
	tried    []attempt
}

// attempt is a commit that was tried in a term.
type attempt struct {
	term   int64
	commit record.Commit
}

// both calls do on the store and on the model, and compares the results.
func (h *history) both(what string, do func(s store.Store) (any, error)) error {
	got, err := do(h.store)
	want, wantErr := do(h.model)
	if kind(err) != kind(wantErr) {
		h.tb.Fatalf("%s: got %v, the model %v", what, err, wantErr)
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		h.tb.Fatalf("%s (-model +got):\n%s", what, diff)
	}
	return err
}

func (h *history) term() int64 { return rapid.SampledFrom(h.terms).Draw(h.tb, "term") }
func (h *history) run() string { return rapid.SampledFrom(h.runs).Draw(h.tb, "run") }

// learn reads the run as a leader may know it from now on.
func (h *history) learn(runID string) {
	run, err := h.model.Run(h.tb.Context(), runID)
	if err != nil {
		h.tb.Fatal(err)
	}
	h.versions[runID] = append(h.versions[runID], run)
}

func (h *history) beginTerm(*rapid.T) {
	floor := rapid.Int64Range(0, 10).Draw(h.tb, "floor")
	_ = h.both("begin term", func(s store.Store) (any, error) {
		term, err := s.BeginTerm(h.tb.Context(), floor)
		return term.Term, err
	})
	term, _ := h.model.Term(h.tb.Context())
	h.terms = append(h.terms, term.Term)
}

func (h *history) create(*rapid.T) {
	term := h.term()
	commit := newRun(term, 3)
	commit.Run.CreatedTS = start.Add(time.Duration(rapid.IntRange(0, 3).Draw(h.tb, "created")) * time.Millisecond)
	commit.Run.QueuedTS = h.queued()
	commit.Idempotency = h.keys(commit.Run.ID)
	if h.both("create", func(s store.Store) (any, error) { return nil, s.Create(h.tb.Context(), term, commit) }) == nil {
		h.runs = append(h.runs, commit.Run.ID)
		h.learn(commit.Run.ID)
	}
}

func (h *history) queued() *time.Time {
	if rapid.IntRange(0, 2).Draw(h.tb, "has queued_ts") == 0 {
		return nil
	}
	return startPlus(time.Duration(rapid.IntRange(0, 3).Draw(h.tb, "queued")) * time.Millisecond)
}

func (h *history) keys(runID string) []record.IdempotencyRecord {
	if rapid.IntRange(0, 2).Draw(h.tb, "keyed") > 0 {
		return nil
	}
	key := rapid.SampledFrom([]string{"a", "b", "c", "d", "e", "f", "g", "h"}).Draw(h.tb, "key")
	return []record.IdempotencyRecord{{Key: key, Digest: rapid.SampledFrom([]string{"1", "2"}).Draw(h.tb, "digest"), RunID: runID}}
}

func (h *history) claim(*rapid.T) {
	if len(h.runs) == 0 {
		return
	}
	term, runID := h.term(), h.run()
	err := h.both("claim", func(s store.Store) (any, error) {
		run, nodes, err := s.Claim(h.tb.Context(), term, runID)
		return []any{run, nodes}, err
	})
	if err == nil {
		h.learn(runID)
	}
}

func (h *history) commit(*rapid.T) {
	if len(h.runs) == 0 {
		return
	}
	runID := h.run()
	versions := h.versions[runID]
	run := versions[len(versions)-1]
	if rapid.IntRange(0, 3).Draw(h.tb, "outdated") == 0 {
		run = rapid.SampledFrom(versions).Draw(h.tb, "version")
	}
	term := run.Term
	if rapid.IntRange(0, 3).Draw(h.tb, "other term") == 0 {
		term = h.term()
	}
	commit := nextCommit(run)
	commit.Run.Term = term
	commit.Run.State = rapid.SampledFrom([]record.RunState{record.RunRunning, record.RunPaused, record.RunDone}).Draw(h.tb, "state")
	commit.Run.Unsettled = rapid.IntRange(0, 1).Draw(h.tb, "unsettled")
	commit.Run.EndTS, commit.Run.FinishTS = nil, nil
	if commit.Run.State.Final() {
		commit.Run.EndTS = startPlus(time.Duration(rapid.IntRange(1, 9).Draw(h.tb, "end")) * time.Hour)
		if commit.Run.Unsettled == 0 {
			commit.Run.FinishTS = commit.Run.EndTS
		}
	}
	commit.Run.QueuedTS = h.queued()
	commit.Fence = rapid.Bool().Draw(h.tb, "fence")
	for _, i := range rapid.SliceOfDistinct(rapid.IntRange(0, 5), rapid.ID[int]).Draw(h.tb, "nodes") {
		commit.Nodes = append(commit.Nodes, busyNode(runID, i))
	}
	addEvents(&commit, rapid.IntRange(0, 3).Draw(h.tb, "events"))
	commit.Idempotency = h.keys(runID)
	h.try(term, commit)
	h.tried = append(h.tried, attempt{term, commit})
}

func (h *history) try(term int64, commit record.Commit) {
	if h.both("commit", func(s store.Store) (any, error) { return nil, s.Commit(h.tb.Context(), term, commit) }) == nil {
		h.learn(commit.Run.ID)
	}
}

func (h *history) repeat(*rapid.T) {
	if len(h.tried) > 0 {
		i := rapid.IntRange(max(0, len(h.tried)-3), len(h.tried)-1).Draw(h.tb, "commit")
		h.try(h.tried[i].term, h.tried[i].commit)
	}
}

func (h *history) stamp(*rapid.T) {
	if len(h.runs) == 0 {
		return
	}
	term, runID := h.term(), h.run()
	if h.both("stamp", func(s store.Store) (any, error) { return nil, s.StampFinished(h.tb.Context(), term, runID) }) == nil {
		h.learn(runID)
	}
}

// compare reads everything from both.
func (h *history) compare(*rapid.T) {
	for _, runID := range h.runs {
		_ = h.both("run", func(s store.Store) (any, error) { return s.Run(h.tb.Context(), runID) })
		_ = h.both("nodes", func(s store.Store) (any, error) {
			nodes, _, err := s.RunNodes(h.tb.Context(), runID, nil, store.Page{})
			return nodes, err
		})
		_ = h.both("events", func(s store.Store) (any, error) { return s.Events(h.tb.Context(), runID, 0, 0) })
	}
	_ = h.both("open runs", func(s store.Store) (any, error) { return s.OpenRuns(h.tb.Context()) })
	_ = h.both("runs", func(s store.Store) (any, error) {
		runs, _, err := s.Runs(h.tb.Context(), store.RunFilter{}, store.Page{})
		return runs, err
	})
	for _, key := range []string{"a", "b", "c", "d", "e", "f", "g", "h"} {
		_ = h.both(fmt.Sprint("idempotency key ", key), func(s store.Store) (any, error) { return s.IdempotencyRecord(h.tb.Context(), key, "1") })
	}
}

// checkFor checks a property as rapid does. A slow store gets fewer cases: as many as it has time for.
func checkFor(t *testing.T, budget time.Duration, property func(t *rapid.T)) {
	deadline := time.Now().Add(budget)
	failed := false
	rapid.Check(t, func(t *rapid.T) {
		if time.Now().After(deadline) && !failed {
			return
		}
		defer func() { failed = failed || t.Failed() }()
		property(t)
	})
}

func randomWritesMatchTheModel(t *testing.T, backend Backend) {
	checkFor(t, 4*time.Second, func(tb *rapid.T) {
		s, err := backend(t).Open(store.Config{FinishedTTL: neverExpires})
		must(tb, err)
		defer s.Close()
		must(tb, s.Init(tb.Context()))
		h := &history{tb: tb, store: s, model: NewMemory(), versions: map[string][]record.Run{}}
		h.beginTerm(tb)
		writes := []func(*rapid.T){h.create, h.claim, h.claim, h.commit, h.commit, h.commit, h.commit, h.commit, h.repeat, h.stamp, h.stamp, h.beginTerm}
		for range rapid.IntRange(1, 60).Draw(tb, "writes") {
			writes[rapid.IntRange(0, len(writes)-1).Draw(tb, "write")](tb)
		}
		h.compare(tb)
	})
}
