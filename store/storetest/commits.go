package storetest

import (
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/replicante-io/playbooks/record"
	"github.com/replicante-io/playbooks/store"
)

func claimRefusesEarlierTerms(t *testing.T, backend Backend) {
	s := open(t, backend)
	first := beginTerm(t, s)
	created := create(t, s, first, 3)
	second := beginTerm(t, s)
	run, _, err := s.Claim(t.Context(), second, created.ID)
	must(t, err)
	if run.Rev != created.Rev+1 || run.Term != second || run.CommitID != created.CommitID {
		t.Errorf("the claim made revision %d of term %d after %s", run.Rev, run.Term, run.CommitID)
	}
	unchanged(t, s, run.ID, func() {
		for what, decidedOn := range map[string]record.Run{"on what it knew": created, "on the claim": run} {
			commit := nextCommit(decidedOn)
			commit.Run.Term = first
			addEvents(&commit, 1)
			wantError(t, "a commit of the earlier term "+what, s.Commit(t.Context(), first, commit), store.ErrStaleTerm)
		}
		_, _, err = s.Claim(t.Context(), first, run.ID)
		wantError(t, "a claim of the earlier term", err, store.ErrStaleTerm)
	})
	must(t, s.Commit(t.Context(), second, nextCommit(run)))
}

func claimMayBeRepeated(t *testing.T, backend Backend) {
	s := open(t, backend)
	term := beginTerm(t, s)
	created := create(t, s, term, 3)
	first, _, err := s.Claim(t.Context(), term, created.ID)
	must(t, err)
	second, nodes, err := s.Claim(t.Context(), term, created.ID)
	must(t, err)
	if first.Rev != created.Rev+1 || second.Rev != first.Rev+1 || len(nodes) != 3 {
		t.Errorf("claims went from revision %d to %d to %d, with %d nodes", created.Rev, first.Rev, second.Rev, len(nodes))
	}
	wantError(t, "a commit on the first claim", s.Commit(t.Context(), term, nextCommit(first)), store.ErrConflict)
	must(t, s.Commit(t.Context(), term, nextCommit(second)))
}

func waitingIsSet(t *testing.T, backend Backend) {
	s := open(t, backend)
	first := beginTerm(t, s)
	want := create(t, s, first, 3)
	term := beginTerm(t, s)
	_, nodes, events := readAll(t, s, want.ID)
	for _, text := range []string{"one", "two"} {
		want.Waiting = &record.Wait{For: record.WaitLeader, Since: start, Data: record.Document{"code": "unknown_feature", "error": text}}
		must(t, s.SetWaiting(t.Context(), term, want.ID, *want.Waiting))
		run, sameNodes, sameEvents := readAll(t, s, want.ID)
		same(t, "run", run, want)
		same(t, "nodes", sameNodes, nodes)
		same(t, "events", sameEvents, events)
	}
	must(t, s.Commit(t.Context(), first, nextCommit(want))) // its owner has lost nothing
	claimed, _, err := s.Claim(t.Context(), term, want.ID)
	must(t, err)
	same(t, "waiting", claimed.Waiting, want.Waiting)
	unchanged(t, s, want.ID, func() {
		wantError(t, "of an earlier term", s.SetWaiting(t.Context(), first, want.ID, record.Wait{For: record.WaitQueue, Since: start}), store.ErrStaleTerm)
	})
}

func claimReturnsNodesByName(t *testing.T, backend Backend) {
	s := open(t, backend)
	term := beginTerm(t, s)
	commit := newRun(term, 0)
	want := []string{"B", "a", "a-1", "a.b", "node-10", "node-2", "é", "日本"}
	for _, i := range []int{3, 7, 0, 5, 1, 6, 2, 4} {
		commit.Nodes = append(commit.Nodes, record.RunNode{
			RunID: commit.Run.ID, Cluster: "orders", Node: want[i], State: record.NodePending, Membership: record.MemberKnown,
		})
	}
	must(t, s.Create(t.Context(), term, commit))
	name := func(node record.RunNode) string { return node.Node }
	run, nodes, err := s.Claim(t.Context(), term, commit.Run.ID)
	must(t, err)
	same(t, "claimed nodes", namesOf(nodes, name), want)
	read, err := s.Run(t.Context(), run.ID)
	must(t, err)
	same(t, "the claimed run", run, read)
	same(t, "its playbook", run.Playbook, commit.Run.Playbook)
}

func commitIsAppliedOnce(t *testing.T, backend Backend) {
	s := open(t, backend)
	term := beginTerm(t, s)
	commit := nextCommit(create(t, s, term, 3))
	commit.Run.State = record.RunPausing
	commit.Nodes = []record.RunNode{busyNode(commit.Run.ID, 1)}
	commit.Idempotency = []record.IdempotencyRecord{{Key: "k", Digest: "d", RunID: commit.Run.ID}}
	addEvents(&commit, 2)
	must(t, s.Commit(t.Context(), term, commit))
	unchanged(t, s, commit.Run.ID, func() {
		must(t, s.Commit(t.Context(), term, commit))
	})
	run, _, events := readAll(t, s, commit.Run.ID)
	same(t, "run", run, commit.Run)
	if len(events) != 4 {
		t.Errorf("there are %d events", len(events))
	}
}

func commitIsRecognisedAfterClaim(t *testing.T, backend Backend) {
	s := open(t, backend)
	term := beginTerm(t, s)
	commit := nextCommit(create(t, s, term, 1))
	addEvents(&commit, 1)
	must(t, s.Commit(t.Context(), term, commit))
	_, _, err := s.Claim(t.Context(), term, commit.Run.ID)
	must(t, err)
	unchanged(t, s, commit.Run.ID, func() {
		must(t, s.Commit(t.Context(), term, commit))
	})
}

func misplacedCommitConflicts(t *testing.T, backend Backend) {
	s := open(t, backend)
	term := beginTerm(t, s)
	created := create(t, s, term, 3)
	first := nextCommit(created)
	must(t, s.Commit(t.Context(), term, first))
	cases := map[string]record.Commit{"on an earlier commit": nextCommit(created)}
	ahead := nextCommit(first.Run)
	ahead.Run.Rev++
	cases["of a later revision"] = ahead
	behind := nextCommit(first.Run)
	behind.Run.Rev--
	cases["of an earlier revision"] = behind
	other := nextCommit(first.Run)
	other.After = "another commit"
	cases["after another commit"] = other
	unchanged(t, s, created.ID, func() {
		for what, commit := range cases {
			commit.Nodes = []record.RunNode{busyNode(created.ID, 1)}
			addEvents(&commit, 1)
			wantError(t, "a commit "+what, s.Commit(t.Context(), term, commit), store.ErrConflict)
			commit.Fence = true
			wantError(t, "a fence commit "+what, s.Commit(t.Context(), term, commit), store.ErrConflict)
		}
	})
	must(t, s.Commit(t.Context(), term, nextCommit(first.Run)))
}

func unclaimedCommitConflicts(t *testing.T, backend Backend) {
	s := open(t, backend)
	created := create(t, s, beginTerm(t, s), 3)
	second := beginTerm(t, s)
	unchanged(t, s, created.ID, func() {
		commit := nextCommit(created)
		commit.Run.Term = second
		wantError(t, "commit", s.Commit(t.Context(), second, commit), store.ErrConflict)
	})
}

func fenceCommitIsRefused(t *testing.T, backend Backend) {
	s := open(t, backend)
	first := beginTerm(t, s)
	created := create(t, s, first, 3)
	admitted := nextCommit(created)
	admitted.Fence = true
	must(t, s.Commit(t.Context(), first, admitted))
	beginTerm(t, s)
	unchanged(t, s, created.ID, func() {
		commit := nextCommit(admitted.Run)
		commit.Fence = true
		addEvents(&commit, 1)
		wantError(t, "a fence commit", s.Commit(t.Context(), first, commit), store.ErrStaleTerm)
	})
	// A commit that only continues a run that nobody has claimed yet is not refused.
	must(t, s.Commit(t.Context(), first, nextCommit(admitted.Run)))
}

// newLeaderSeesOrRefuses races a leader's last admission with the next leader's first list of open runs: either the list has
// the run, or the admission is refused.
func newLeaderSeesOrRefuses(t *testing.T, backend Backend) {
	s := open(t, backend)
	ctx := t.Context()
	applied, stale := 0, 0
	for round := range 24 {
		term := beginTerm(t, s)
		var write func() error
		var seen func(run record.Run) bool
		if round%2 == 0 {
			commit := newRun(term, 1)
			write = func() error { return s.Create(ctx, term, commit) }
			seen = func(run record.Run) bool { return run.ID == commit.Run.ID }
		} else {
			commit := nextCommit(create(t, s, term, 1))
			commit.Fence = true
			write = func() error { return s.Commit(ctx, term, commit) }
			seen = func(run record.Run) bool { return run.CommitID == commit.ID }
		}
		var group errgroup.Group
		var wrote error
		group.Go(func() error {
			time.Sleep(time.Duration(round-12) * 200 * time.Microsecond) // for different interleavings
			wrote = write()
			return nil
		})
		var open []record.Run
		group.Go(func() error {
			time.Sleep(time.Duration(12-round) * 200 * time.Microsecond)
			if _, err := s.BeginTerm(ctx, 0); err != nil {
				return err
			}
			var err error
			open, err = s.OpenRuns(ctx)
			return err
		})
		must(t, group.Wait())
		found := false
		for _, run := range open {
			found = found || seen(run)
		}
		switch {
		case wrote == nil && !found:
			t.Fatalf("round %d: the write was applied, but the new leader does not see it", round)
		case wrote == nil:
			applied++
		case errors.Is(wrote, store.ErrStaleTerm) && !found:
			stale++
		default:
			t.Fatalf("round %d: the write returns %v, and the new leader sees it: %v", round, wrote, found)
		}
	}
	t.Logf("%d were applied, %d were refused", applied, stale)
}

func oneOfConcurrentCommitsIsApplied(t *testing.T, backend Backend) {
	s := open(t, backend)
	term := beginTerm(t, s)
	run := create(t, s, term, 2)
	var applied atomic.Int64
	var group errgroup.Group
	for i := range 8 {
		commit := nextCommit(run)
		commit.Run.Waiting = &record.Wait{For: record.WaitQueue, Since: start, Data: record.Document{"run": fmt.Sprint(i)}}
		addEvents(&commit, 1)
		group.Go(func() error {
			err := s.Commit(t.Context(), term, commit)
			if err == nil {
				applied.Add(1)
			} else if !errors.Is(err, store.ErrConflict) {
				return err
			}
			return nil
		})
	}
	must(t, group.Wait())
	_, _, events := readAll(t, s, run.ID)
	if applied.Load() != 1 || len(events) != 3 {
		t.Errorf("%d of 8 commits on the same revision were applied, and there are %d events", applied.Load(), len(events))
	}
}

func commitIsAllOrNothing(t *testing.T, backend Backend) {
	s := open(t, backend)
	term := beginTerm(t, s)
	run := create(t, s, term, 2)
	commit := nextCommit(run)
	commit.Run.State = record.RunPausing
	commit.Nodes = []record.RunNode{busyNode(run.ID, 0), busyNode(run.ID, 7)}
	commit.Idempotency = []record.IdempotencyRecord{{Key: "fresh", Digest: "d", RunID: run.ID}, {Key: "used", Digest: "d", RunID: run.ID}}
	addEvents(&commit, 3)
	other := newRun(term, 1)
	other.Idempotency = []record.IdempotencyRecord{{Key: "used", Digest: "d", RunID: other.Run.ID}}
	must(t, s.Create(t.Context(), term, other))
	unchanged(t, s, run.ID, func() {
		wantError(t, "commit", s.Commit(t.Context(), term, commit), store.ErrExists)
	})
	_, err := s.IdempotencyRecord(t.Context(), "fresh", "d")
	wantError(t, "idempotency record", err, store.ErrNotFound)
	third := newRun(term, 2)
	third.Idempotency = commit.Idempotency
	wantError(t, "create", s.Create(t.Context(), term, third), store.ErrExists)
	_, err = s.Run(t.Context(), third.Run.ID)
	wantError(t, "run", err, store.ErrNotFound)
	commit.Idempotency = commit.Idempotency[:1]
	must(t, s.Commit(t.Context(), term, commit))
}

func commitReplacesNodes(t *testing.T, backend Backend) {
	s := open(t, backend)
	term := beginTerm(t, s)
	created := newRun(term, 3)
	must(t, s.Create(t.Context(), term, created))
	commit := nextCommit(created.Run)
	commit.Nodes = []record.RunNode{busyNode(created.Run.ID, 1), busyNode(created.Run.ID, 9)}
	must(t, s.Commit(t.Context(), term, commit))
	_, nodes, _ := readAll(t, s, created.Run.ID)
	same(t, "nodes", nodes, []record.RunNode{created.Nodes[0], commit.Nodes[0], created.Nodes[2], commit.Nodes[1]})
	node, err := s.RunNode(t.Context(), created.Run.ID, nodeName(9))
	must(t, err)
	same(t, "node", node, commit.Nodes[1])
}

func immutablePartsStay(t *testing.T, backend Backend) {
	s := open(t, backend)
	term := beginTerm(t, s)
	first := newRun(term, 1)
	first.Run.Reason, first.Run.RequestedBy, first.Run.IdempotencyKey = "maintenance", "alice", "key"
	first.Run.Concurrency = "exclusive"
	first.Run.Playbook.Version, first.Run.Playbook.Source = "1.2.0", &record.Source{Repository: "r", Commit: "c", Path: "p"}
	must(t, s.Create(t.Context(), term, first))
	commit := nextCommit(first.Run)
	commit.Run.State = record.RunPaused
	commit.Run.Playbook = record.PlaybookCopy{}
	commit.Run.Params = record.Document{"other": true}
	commit.Run.Cluster, commit.Run.Reason, commit.Run.RequestedBy, commit.Run.IdempotencyKey = "x", "y", "z", ""
	commit.Run.Concurrency, commit.Run.CreatedTS = "shared", start.Add(time.Hour)
	must(t, s.Commit(t.Context(), term, commit))
	want := first.Run
	want.State, want.Rev, want.CommitID = record.RunPaused, 2, commit.ID
	run, err := s.Run(t.Context(), first.Run.ID)
	must(t, err)
	same(t, "run", run, want)
	page, _, err := s.Runs(t.Context(), store.RunFilter{Cluster: "orders", Playbook: "restart"}, store.Page{})
	must(t, err)
	if len(page) != 1 {
		t.Errorf("%d runs of the cluster and playbook are listed", len(page))
	}
}

func largeCommitIsApplied(t *testing.T, backend Backend) {
	s := open(t, backend)
	term := beginTerm(t, s)
	commit := nextCommit(create(t, s, term, 1024))
	for i := range 1024 {
		commit.Nodes = append(commit.Nodes, busyNode(commit.Run.ID, i))
	}
	addEvents(&commit, 1024)
	must(t, s.Commit(t.Context(), term, commit))
	run, nodes, events := readAll(t, s, commit.Run.ID)
	same(t, "run", run, commit.Run)
	same(t, "nodes", nodes, commit.Nodes)
	same(t, "events", events[2:], commit.Events)
}
