package storetest

import (
	"context"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/replicante-io/playbooks/record"
	"github.com/replicante-io/playbooks/store"
)

// stamps counts the records of a run with finish_ts when, and those without finish_ts.
func stamps(tb testing.TB, s store.Store, runID string, when time.Time) (stamped, bare int) {
	tb.Helper()
	_, nodes, events := readAll(tb, s, runID)
	count := func(finish *time.Time) {
		switch {
		case finish == nil:
			bare++
		case finish.Equal(when):
			stamped++
		default:
			tb.Errorf("a record is stamped %s, the run %s", finish, when)
		}
	}
	for _, node := range nodes {
		count(node.FinishTS)
	}
	for _, event := range events {
		count(event.FinishTS)
	}
	return stamped, bare
}

func stampCoversEveryRecord(t *testing.T, backend Backend) {
	s := open(t, backend)
	term := beginTerm(t, s)
	busy := nextCommit(create(t, s, term, 5))
	node := busyNode(busy.Run.ID, 3)
	node.Actions[0].Args, node.Actions[0].Payload = document(), document()
	busy.Nodes = []record.RunNode{node}
	addEvents(&busy, 1)
	busy.Events[0].Data = document()
	must(t, s.Commit(t.Context(), term, busy))
	ended := finish(t, s, term, busy.Run, *startPlus(time.Minute))
	if stamped, bare := stamps(t, s, ended.ID, *ended.FinishTS); stamped != 0 || bare != 9 {
		t.Errorf("before the stamp %d records are stamped and %d are not", stamped, bare)
	}
	_, nodes, events := readAll(t, s, ended.ID)
	for i := range nodes {
		nodes[i].FinishTS = ended.FinishTS
	}
	for i := range events {
		events[i].FinishTS = ended.FinishTS
	}
	for range 2 {
		must(t, s.StampFinished(t.Context(), term, ended.ID))
		run, stampedNodes, stampedEvents := readAll(t, s, ended.ID)
		want := ended
		want.Stamped = true
		same(t, "run", run, want)
		same(t, "nodes", stampedNodes, nodes)
		same(t, "events", stampedEvents, events)
	}
}

func unfinishedRunIsNotStamped(t *testing.T, backend Backend) {
	s := open(t, backend)
	term := beginTerm(t, s)
	run := create(t, s, term, 2)
	unchanged(t, s, run.ID, func() {
		wantError(t, "stamp", s.StampFinished(t.Context(), term, run.ID), store.ErrConflict)
	})
}

func interruptedStampIsResumed(t *testing.T, backend Backend) {
	s := open(t, backend)
	term := beginTerm(t, s)
	run := create(t, s, term, 6000)
	events := nextCommit(run)
	addEvents(&events, 6000)
	must(t, s.Commit(t.Context(), term, events))
	ended := finish(t, s, term, events.Run, *startPlus(time.Minute))
	interrupted := 0
	for timeout := time.Millisecond; ; timeout += timeout / 2 {
		ctx, cancel := context.WithTimeout(t.Context(), timeout)
		err := s.StampFinished(ctx, term, run.ID)
		cancel()
		if err == nil {
			break
		}
		interrupted++
		term = beginTerm(t, s)
		run, err := s.Run(t.Context(), run.ID)
		must(t, err)
		if run.Stamped {
			break // it was applied, although the call did not learn it
		}
	}
	stamped, bare := stamps(t, s, ended.ID, *ended.FinishTS)
	if bare != 0 {
		t.Errorf("after the stamp, interrupted %d times, %d are stamped and %d are not", interrupted, stamped, bare)
	}
	after, err := s.Run(t.Context(), run.ID)
	must(t, err)
	if !after.Stamped || after.Rev != ended.Rev {
		t.Errorf("the run is stamped: %v, at revision %d instead of %d", after.Stamped, after.Rev, ended.Rev)
	}
	t.Logf("interrupted %d times", interrupted)
}

func staleStampIsRefused(t *testing.T, backend Backend) {
	s := open(t, backend)
	first := beginTerm(t, s)
	ended := finish(t, s, first, create(t, s, first, 2), *startPlus(time.Minute))
	_, _, err := s.Claim(t.Context(), beginTerm(t, s), ended.ID)
	must(t, err)
	unchanged(t, s, ended.ID, func() {
		wantError(t, "stamp", s.StampFinished(t.Context(), first, ended.ID), store.ErrStaleTerm)
	})
}

func commitRemovesStamp(t *testing.T, backend Backend) {
	s := open(t, backend)
	term := beginTerm(t, s)
	ended := finish(t, s, term, create(t, s, term, 2), *startPlus(time.Minute))
	must(t, s.StampFinished(t.Context(), term, ended.ID))
	stamped, err := s.Run(t.Context(), ended.ID)
	must(t, err)
	late := nextCommit(stamped)
	late.Nodes = []record.RunNode{busyNode(ended.ID, 1)}
	addEvents(&late, 1)
	must(t, s.Commit(t.Context(), term, late))
	run, err := s.Run(t.Context(), ended.ID)
	must(t, err)
	openRuns, err := s.OpenRuns(t.Context())
	must(t, err)
	if run.Stamped || len(openRuns) != 1 {
		t.Errorf("after a commit the run is stamped: %v, and %d runs are open", run.Stamped, len(openRuns))
	}
	must(t, s.StampFinished(t.Context(), term, ended.ID))
	if stamped, bare := stamps(t, s, ended.ID, *ended.FinishTS); stamped != 6 || bare != 0 {
		t.Errorf("%d are stamped and %d are not", stamped, bare)
	}
}

func commitDuringStamp(t *testing.T, backend Backend) {
	s := open(t, backend)
	ctx := t.Context()
	term := beginTerm(t, s)
	many := nextCommit(create(t, s, term, 1500))
	addEvents(&many, 2500)
	must(t, s.Commit(ctx, term, many))
	ended := finish(t, s, term, many.Run, *startPlus(time.Minute))
	stamped := 0
	for round := range 40 {
		commit := nextCommit(ended)
		commit.Nodes = []record.RunNode{busyNode(ended.ID, 1)}
		addEvents(&commit, 1)
		var group errgroup.Group
		group.Go(func() error { return s.StampFinished(ctx, term, ended.ID) })
		group.Go(func() error {
			time.Sleep(time.Duration(round) * 200 * time.Microsecond) // for different interleavings
			return s.Commit(ctx, term, commit)
		})
		must(t, group.Wait())
		ended = commit.Run
		run, err := s.Run(ctx, ended.ID)
		must(t, err)
		if !run.Stamped {
			continue
		}
		stamped++
		last, err := s.Events(ctx, run.ID, run.Seq-1, 0)
		must(t, err)
		node, err := s.RunNode(ctx, run.ID, nodeName(1))
		must(t, err)
		if len(last) != 1 || last[0].FinishTS == nil || node.FinishTS == nil {
			t.Fatalf("round %d: the run is stamped, but its last event or node record is not stamped: %+v, %+v", round, last, node)
		}
	}
	must(t, s.StampFinished(ctx, term, ended.ID))
	if _, bare := stamps(t, s, ended.ID, *ended.FinishTS); bare > 0 {
		t.Errorf("%d records are not stamped", bare)
	}
	t.Logf("%d of 40 times the run was stamped after the commit", stamped)
}

func reopeningRemovesStamps(t *testing.T, backend Backend) {
	s := open(t, backend)
	term := beginTerm(t, s)
	ended := finish(t, s, term, create(t, s, term, 5), *startPlus(time.Minute))
	must(t, s.StampFinished(t.Context(), term, ended.ID))
	run, nodes, err := s.Claim(t.Context(), term, ended.ID)
	must(t, err)
	reopen := nextCommit(run)
	reopen.Fence = true
	reopen.Run.State, reopen.Run.EndTS, reopen.Run.FinishTS, reopen.Run.Stamped = record.RunRunning, nil, nil, false
	reopen.Nodes = nodes[:1]
	reopen.Nodes[0].FinishTS = nil
	addEvents(&reopen, 1)
	must(t, s.Commit(t.Context(), term, reopen))
	if stamped, bare := stamps(t, s, ended.ID, *ended.FinishTS); stamped != 0 || bare != 9 {
		t.Errorf("of the reopened run %d are stamped and %d are not", stamped, bare)
	}
	again := finish(t, s, term, reopen.Run, *startPlus(time.Hour))
	must(t, s.StampFinished(t.Context(), term, ended.ID))
	if stamped, bare := stamps(t, s, ended.ID, *again.FinishTS); stamped != 10 || bare != 0 {
		t.Errorf("of the run that ended again %d are stamped and %d are not", stamped, bare)
	}
}

func openRuns(t *testing.T, backend Backend) {
	s := open(t, backend)
	ctx := t.Context()
	term := beginTerm(t, s)
	var runs []record.Run
	for i := range 6 {
		commit := newRun(term, 1)
		commit.Run.CreatedTS = start.Add(time.Duration([]int{3, 0, 5, 1, 4, 2}[i]) * 50 * time.Millisecond)
		must(t, s.Create(ctx, term, commit))
		runs = append(runs, commit.Run)
	}
	want := func(what string, indexes ...int) {
		t.Helper()
		found, err := s.OpenRuns(ctx)
		must(t, err)
		var ids []string
		for _, i := range indexes {
			ids = append(ids, runs[i].ID)
		}
		same(t, "open runs "+what, namesOf(found, func(run record.Run) string { return run.ID }), ids)
		for _, run := range found {
			if run.Playbook.Spec != nil || run.Playbook.Name == "" {
				t.Errorf("the head of an open run carries the playbook %+v", run.Playbook)
			}
		}
	}
	want("at first", 1, 3, 5, 0, 4, 2)
	runs[3] = finish(t, s, term, runs[3], *startPlus(time.Minute))
	want("when one has ended", 1, 3, 5, 0, 4, 2)
	must(t, s.StampFinished(ctx, term, runs[3].ID))
	want("when it is stamped", 1, 5, 0, 4, 2)

	runs[0] = endUnsettled(t, s, term, runs[0], *startPlus(time.Minute))
	wantError(t, "stamp what is unsettled", s.StampFinished(ctx, term, runs[0].ID), store.ErrConflict)
	want("when one has ended and is unsettled", 1, 5, 0, 4, 2)
	settled := nextCommit(runs[0])
	settled.Run.Unsettled, settled.Run.FinishTS = 0, startPlus(time.Hour)
	must(t, s.Commit(ctx, term, settled))
	want("when it is settled", 1, 5, 0, 4, 2)
	must(t, s.StampFinished(ctx, term, runs[0].ID))
	want("when it is stamped", 1, 5, 4, 2)
}
