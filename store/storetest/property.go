package storetest

import (
	"context"
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

// history drives a store and its model, Memory, through the same writes, and compares what they answer.
type history struct {
	tb     *rapid.T
	ctx    context.Context
	store  store.Store
	model  *Memory
	terms  []int64
	runs   []string
	known  map[string][]record.Run // every version of a run that a leader may believe in
	done   []record.Commit         // commits that were tried, with their terms
	doneBy []int64
}

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
func (h *history) learn(runID string) {
	run, err := h.model.Run(h.ctx, runID)
	if err != nil {
		h.tb.Fatal(err)
	}
	h.known[runID] = append(h.known[runID], run)
}

func (h *history) lead(*rapid.T) {
	floor := rapid.Int64Range(0, 10).Draw(h.tb, "floor")
	_ = h.both("lead", func(s store.Store) (any, error) {
		term, err := s.BeginTerm(h.ctx, floor)
		return term.Term, err
	})
	term, _ := h.model.Term(h.ctx)
	h.terms = append(h.terms, term.Term)
}

func (h *history) create(*rapid.T) {
	term := h.term()
	commit := newRun(term, 3)
	commit.Run.CreatedTS = start.Add(time.Duration(rapid.IntRange(0, 3).Draw(h.tb, "created")) * time.Millisecond)
	commit.Run.QueuedTS = h.queued()
	commit.Idempotency = h.effects(commit.Run.ID)
	if h.both("create", func(s store.Store) (any, error) { return nil, s.Create(h.ctx, term, commit) }) == nil {
		h.runs = append(h.runs, commit.Run.ID)
		h.learn(commit.Run.ID)
	}
}

func (h *history) queued() *time.Time {
	if rapid.IntRange(0, 2).Draw(h.tb, "has queued_ts") == 0 {
		return nil
	}
	return at(time.Duration(rapid.IntRange(0, 3).Draw(h.tb, "queued")) * time.Millisecond)
}

func (h *history) effects(runID string) []record.IdempotencyRecord {
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
		run, nodes, err := s.Claim(h.ctx, term, runID)
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
	versions := h.known[runID]
	run := versions[len(versions)-1]
	if rapid.IntRange(0, 3).Draw(h.tb, "outdated") == 0 {
		run = rapid.SampledFrom(versions).Draw(h.tb, "version")
	}
	term := run.Term
	if rapid.IntRange(0, 3).Draw(h.tb, "other term") == 0 {
		term = h.term()
	}
	commit := after(run)
	commit.Run.Term = term
	commit.Run.State = rapid.SampledFrom([]record.RunState{record.RunRunning, record.RunPaused, record.RunDone}).Draw(h.tb, "state")
	commit.Run.FinishTS = nil
	if commit.Run.State.Final() {
		commit.Run.FinishTS = at(time.Duration(rapid.IntRange(1, 9).Draw(h.tb, "finish")) * time.Hour)
	}
	commit.Run.QueuedTS = h.queued()
	commit.Run.Unsettled = rapid.IntRange(0, 1).Draw(h.tb, "unsettled")
	commit.Fence = rapid.Bool().Draw(h.tb, "fence")
	for _, i := range rapid.SliceOfDistinct(rapid.IntRange(0, 5), rapid.ID[int]).Draw(h.tb, "nodes") {
		commit.Nodes = append(commit.Nodes, busyNode(runID, i))
	}
	addEvents(&commit, rapid.IntRange(0, 3).Draw(h.tb, "events"))
	commit.Idempotency = h.effects(runID)
	h.try(term, commit)
	h.done, h.doneBy = append(h.done, commit), append(h.doneBy, term)
}

func (h *history) try(term int64, commit record.Commit) {
	if h.both("commit", func(s store.Store) (any, error) { return nil, s.Commit(h.ctx, term, commit) }) == nil {
		h.learn(commit.Run.ID)
	}
}

func (h *history) repeat(*rapid.T) {
	if len(h.done) > 0 {
		i := rapid.IntRange(max(0, len(h.done)-3), len(h.done)-1).Draw(h.tb, "commit")
		h.try(h.doneBy[i], h.done[i])
	}
}

func (h *history) stamp(*rapid.T) {
	if len(h.runs) == 0 {
		return
	}
	term, runID := h.term(), h.run()
	if h.both("stamp", func(s store.Store) (any, error) { return nil, s.StampFinished(h.ctx, term, runID) }) == nil {
		h.learn(runID)
	}
}

// compare reads everything from both.
func (h *history) compare(*rapid.T) {
	for _, runID := range h.runs {
		_ = h.both("run", func(s store.Store) (any, error) { return s.Run(h.ctx, runID) })
		_ = h.both("nodes", func(s store.Store) (any, error) {
			nodes, _, err := s.RunNodes(h.ctx, runID, nil, store.Page{})
			return nodes, err
		})
		_ = h.both("events", func(s store.Store) (any, error) { return s.Events(h.ctx, runID, 0, 0) })
	}
	_ = h.both("open runs", func(s store.Store) (any, error) { return s.OpenRuns(h.ctx) })
	_ = h.both("runs", func(s store.Store) (any, error) {
		runs, _, err := s.Runs(h.ctx, store.RunFilter{}, store.Page{})
		return runs, err
	})
	for _, key := range []string{"a", "b", "c", "d", "e", "f", "g", "h"} {
		_ = h.both(fmt.Sprint("effect ", key), func(s store.Store) (any, error) { return s.IdempotencyRecord(h.ctx, key, "1") })
	}
}

func anySequenceEndsAsInTheModel(t *testing.T, backend Backend) {
	deadline := time.Now().Add(4 * time.Second)
	failed := false
	rapid.Check(t, func(tb *rapid.T) {
		if time.Now().After(deadline) && !failed {
			return // a slow store gets fewer sequences
		}
		defer func() { failed = failed || tb.Failed() }()
		place := backend(t)
		s, err := place.Open(forEver)
		must(t, err)
		defer s.Close()
		must(t, s.Init(t.Context()))
		h := &history{tb: tb, ctx: t.Context(), store: s, model: NewMemory(), known: map[string][]record.Run{}}
		h.lead(tb)
		writes := []func(*rapid.T){h.create, h.claim, h.claim, h.commit, h.commit, h.commit, h.commit, h.commit, h.repeat, h.stamp, h.stamp, h.lead}
		for range rapid.IntRange(1, 60).Draw(tb, "writes") {
			writes[rapid.IntRange(0, len(writes)-1).Draw(tb, "write")](tb)
		}
		h.compare(tb)
	})
}
