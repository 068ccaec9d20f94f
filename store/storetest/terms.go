package storetest

import (
	"context"
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/replicante-io/playbooks/record"
	"github.com/replicante-io/playbooks/store"
)

func initMayBeRepeated(t *testing.T, backend Backend) {
	s := open(t, backend)
	before, err := s.Term(t.Context())
	must(t, err)
	if before.Term != 0 || before.Installation == "" || before.Schema < 1 {
		t.Errorf("a new store's terms record is %+v", before)
	}
	term := beginTerm(t, s)
	must(t, s.Init(t.Context()))
	must(t, s.Ping(t.Context()))
	after, err := s.Term(t.Context())
	must(t, err)
	before.Term = term
	same(t, "terms record after init was repeated", after, before)
	wrong, err := s.Check(t.Context())
	must(t, err)
	same(t, "what is wrong", wrong, []string{})
}

func finishedTTLStays(t *testing.T, backend Backend) {
	database := backend(t)
	reopen := func(config store.Config) record.Term {
		t.Helper()
		s, err := database.Open(config)
		must(t, err)
		must(t, s.Init(t.Context()))
		term, err := s.Term(t.Context())
		must(t, err)
		begun, err := s.BeginTerm(t.Context(), 0)
		must(t, err)
		term.Term++
		same(t, "terms record", begun, term)
		must(t, s.Close())
		return term
	}
	first := reopen(store.Config{FinishedTTL: 336 * time.Hour, CreatedBy: record.CreatedByDev})
	if first.FinishedTTL() != 336*time.Hour || first.CreatedBy != record.CreatedByDev {
		t.Errorf("a new store's terms record is %+v", first)
	}
	for _, step := range []struct {
		config store.Config
		want   time.Duration
	}{
		{store.Config{FinishedTTL: time.Hour}, 336 * time.Hour},
		{store.Config{FinishedTTL: 1000 * time.Hour, CreatedBy: "another"}, 336 * time.Hour},
		{store.Config{FinishedTTL: time.Hour, SetFinishedTTL: true}, time.Hour},
		{store.Config{FinishedTTL: 336 * time.Hour}, time.Hour},
	} {
		if term := reopen(step.config); term.FinishedTTL() != step.want || term.CreatedBy != record.CreatedByDev {
			t.Errorf("with %+v the terms record becomes %+v", step.config, term)
		}
	}
}

func eachStoreIsAnotherInstallation(t *testing.T, backend Backend) {
	one, err := open(t, backend).Term(t.Context())
	must(t, err)
	other, err := open(t, backend).Term(t.Context())
	must(t, err)
	if one.Installation == other.Installation {
		t.Errorf("two stores are both installation %s", one.Installation)
	}
}

func beforeInitThereIsNoTerm(t *testing.T, backend Backend) {
	s, err := backend(t).Open(store.Config{FinishedTTL: neverExpires})
	must(t, err)
	defer s.Close()
	_, err = s.Term(t.Context())
	wantError(t, "term before init", err, store.ErrNotFound)
	wantError(t, "ping before init", s.Ping(t.Context()), store.ErrNotFound)
	wrong, err := s.Check(t.Context())
	must(t, err)
	if len(wrong) == 0 {
		t.Error("check finds nothing wrong with a store that is not set up")
	}
	_, err = s.Term(t.Context())
	wantError(t, "term after check", err, store.ErrNotFound)
}

func newerSchemaIsRefused(t *testing.T, backend Backend) {
	database := backend(t)
	s, err := database.Open(store.Config{FinishedTTL: neverExpires})
	must(t, err)
	must(t, s.Init(t.Context()))
	must(t, s.Close())
	must(t, database.SetSchema(1000))
	s, err = database.Open(store.Config{FinishedTTL: neverExpires})
	must(t, err)
	defer s.Close()
	wantError(t, "init", s.Init(t.Context()), store.ErrUnusable)
	wrong, err := s.Check(t.Context())
	if err == nil && len(wrong) == 0 {
		t.Error("check finds nothing wrong with a newer schema")
	}
}

func dataSurvivesReopening(t *testing.T, backend Backend) {
	database := backend(t)
	s, err := database.Open(store.Config{FinishedTTL: neverExpires})
	must(t, err)
	must(t, s.Init(t.Context()))
	term := beginTerm(t, s)
	created := create(t, s, term, 3)
	run, nodes, events := readAll(t, s, created.ID)
	was, err := s.Term(t.Context())
	must(t, err)
	must(t, s.Close())

	s = openDatabase(t, database, neverExpires)
	is, err := s.Term(t.Context())
	must(t, err)
	same(t, "terms record", is, was)
	run2, nodes2, events2 := readAll(t, s, created.ID)
	same(t, "run", run2, run)
	same(t, "nodes", nodes2, nodes)
	same(t, "events", events2, events)
}

func termsGrow(t *testing.T, backend Backend) {
	s := open(t, backend)
	last := int64(0)
	for _, floor := range []int64{0, 0, 41, 3, 42, 1 << 16} {
		term, err := s.BeginTerm(t.Context(), floor)
		must(t, err)
		if term.Term <= last || term.Term <= floor {
			t.Errorf("after term %d and with floor %d begins term %d", last, floor, term.Term)
		}
		last = term.Term
		read, err := s.Term(t.Context())
		must(t, err)
		same(t, "terms record", read, term)
	}
}

func termsAreBounded(t *testing.T, backend Backend) {
	s := open(t, backend)
	term := beginTerm(t, s)
	for _, floor := range []int64{term + store.MaxTermRaise + 1, store.MaxTerm, math.MaxInt64} {
		_, err := s.BeginTerm(t.Context(), floor)
		wantError(t, fmt.Sprintf("begin a term above %d", floor), err, store.ErrTermOutOfRange)
	}
	after, err := s.BeginTerm(t.Context(), math.MinInt64)
	must(t, err)
	if after.Term != term+1 {
		t.Errorf("after refused floors the term after %d is %d", term, after.Term)
	}
}

func concurrentTermsDiffer(t *testing.T, backend Backend) {
	s := open(t, backend)
	terms := make([]int64, 16)
	var group errgroup.Group
	for i := range terms {
		group.Go(func() error {
			term, err := s.BeginTerm(t.Context(), 0)
			terms[i] = term.Term
			return err
		})
	}
	must(t, group.Wait())
	slices.Sort(terms)
	if len(slices.Compact(terms)) != 16 {
		t.Errorf("16 calls began the terms %v", terms)
	}
}

func endedContextIsUnavailable(t *testing.T, backend Backend) {
	s := open(t, backend)
	term := beginTerm(t, s)
	run := create(t, s, term, 1)
	ctx, stop := context.WithCancel(t.Context())
	stop()
	for what, ask := range map[string]func() error{
		"ping":   func() error { return s.Ping(ctx) },
		"term":   func() error { _, err := s.Term(ctx); return err },
		"begin":  func() error { _, err := s.BeginTerm(ctx, 0); return err },
		"create": func() error { return s.Create(ctx, term, newRun(term, 1)) },
		"claim":  func() error { _, _, err := s.Claim(ctx, term, run.ID); return err },
		"commit": func() error { return s.Commit(ctx, term, nextCommit(run)) },
		"stamp":  func() error { return s.StampFinished(ctx, term, run.ID) },
		"run":    func() error { _, err := s.Run(ctx, run.ID); return err },
		"events": func() error { _, err := s.Events(ctx, run.ID, 0, 0); return err },
		"apply":  func() error { _, err := s.Apply(ctx, term, playbooks(revision("a", "1")), nil, nil); return err },
		"save":   func() error { return s.SaveNodes(ctx, term, []record.Node{{NodeID: "n", ClusterID: "c"}}) },
	} {
		wantError(t, what, ask(), store.ErrUnavailable)
	}
}
