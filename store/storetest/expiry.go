package storetest

import (
	"errors"
	"testing"
	"time"

	"github.com/replicante-io/playbooks/record"
	"github.com/replicante-io/playbooks/store"
)

func stampedRunExpires(t *testing.T, backend Backend) {
	s := openDatabase(t, backend(t), time.Second)
	ctx := t.Context()
	term := beginTerm(t, s)
	withKey := func(key string) record.Run {
		commit := newRun(term, 20)
		commit.Idempotency = []record.IdempotencyRecord{{Key: key, Digest: "d", RunID: commit.Run.ID}}
		must(t, s.Create(ctx, term, commit))
		return commit.Run
	}
	unfinished, unstamped, stamped, reopened := withKey("unfinished"), withKey("unstamped"), withKey("stamped"), withKey("reopened")
	unsettled, settled := withKey("unsettled"), withKey("settled")
	must(t, s.SaveNodes(ctx, term, []record.Node{{NodeID: "n", ClusterID: "c"}}))
	apply(t, s, revision("p", "1"))
	must(t, s.ForgetNode(ctx, term, record.NodeKey{Cluster: "c", Node: "n"}, &record.IdempotencyRecord{Key: "no run", Digest: "d"}))

	// One run ended in the future, so that this test can reopen it before it expires; the others ended long ago.
	reopened = finish(t, s, term, reopened, record.Now().Add(time.Minute))
	must(t, s.StampFinished(ctx, term, reopened.ID))
	again := nextCommit(reopened)
	again.Fence = true
	again.Run.EndTS, again.Run.FinishTS = nil, nil
	must(t, s.Commit(ctx, term, again))
	// Two ended long ago with something unsettled, and that of one is settled now: its time begins now.
	unsettled = endUnsettled(t, s, term, unsettled, record.Now().Add(-2*time.Minute))
	settled = settle(t, s, term, endUnsettled(t, s, term, settled, record.Now().Add(-2*time.Minute)), record.Now().Add(time.Minute))
	unstamped = finish(t, s, term, unstamped, record.Now().Add(-2*time.Minute))
	stamped = finish(t, s, term, stamped, record.Now().Add(-time.Minute))
	must(t, s.StampFinished(ctx, term, stamped.ID))

	gone := func(err error) bool {
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			t.Fatal(err)
		}
		return err != nil
	}
	eventually(t, "the stamped run expires", func() bool {
		_, err := s.Run(ctx, stamped.ID)
		_, nodeErr := s.RunNode(ctx, stamped.ID, nodeName(19))
		_, eventErr := s.Events(ctx, stamped.ID, 0, 0)
		_, keyErr := s.IdempotencyRecord(ctx, "stamped", "d")
		_, otherErr := s.IdempotencyRecord(ctx, "no run", "d")
		return gone(err) && gone(nodeErr) && gone(eventErr) && gone(keyErr) && gone(otherErr)
	})
	// A new run with the same ID has no records of the expired one.
	remains := newRun(term, 0)
	remains.Run.ID = stamped.ID
	for i := range remains.Events {
		remains.Events[i].RunID = stamped.ID
	}
	eventually(t, "all records of the run expire", func() bool {
		err := s.Create(ctx, term, remains)
		if err == nil {
			_, nodes, events := readAll(t, s, stamped.ID)
			if len(nodes) != 0 || len(events) != 2 {
				t.Errorf("%d nodes and %d events of the expired run are left", len(nodes), len(events)-2)
			}
		}
		return err == nil
	})
	for _, run := range []record.Run{unfinished, unstamped, reopened, unsettled, settled} {
		_, nodes, events := readAll(t, s, run.ID)
		if len(nodes) != 20 || int64(len(events)) != run.Seq {
			t.Errorf("run %s has %d nodes and %d of %d events", run.ID, len(nodes), len(events), run.Seq)
		}
	}
	for _, key := range []string{"unfinished", "unstamped", "reopened", "unsettled", "settled"} {
		_, err := s.IdempotencyRecord(ctx, key, "d")
		must(t, err)
	}
	_, err := s.Playbook(ctx, "p", 0)
	must(t, err)

	unsettled = settle(t, s, term, unsettled, record.Now().Add(-time.Minute))
	eventually(t, "the run expires once it is settled", func() bool {
		_, err := s.Run(ctx, unsettled.ID)
		return gone(err)
	})
}

// settle finishes a run that ended with something unsettled.
func settle(t *testing.T, s store.Store, term int64, run record.Run, when time.Time) record.Run {
	t.Helper()
	commit := nextCommit(run)
	commit.Run.Unsettled, commit.Run.FinishTS = 0, &when
	addEvents(&commit, 1)
	must(t, s.Commit(t.Context(), term, commit))
	must(t, s.StampFinished(t.Context(), term, run.ID))
	return commit.Run
}
