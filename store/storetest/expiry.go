package storetest

import (
	"errors"
	"testing"
	"time"

	"github.com/replicante-io/playbooks/record"
	"github.com/replicante-io/playbooks/store"
)

func sealedRunExpires(t *testing.T, backend Backend) {
	s := openAt(t, backend(t), time.Second)
	ctx := t.Context()
	term := lead(t, s)
	withKey := func(key string) record.Run {
		commit := newRun(term, 20)
		commit.Idempotency = []record.IdempotencyRecord{{Key: key, Digest: "d", RunID: commit.Run.ID}}
		must(t, s.Create(ctx, term, commit))
		return commit.Run
	}
	unfinished, stamped, reopened := withKey("unfinished"), withKey("stamped"), withKey("reopened")
	must(t, s.SaveNodes(ctx, term, []record.Node{{NodeID: "n", ClusterID: "c"}}))
	apply(t, s, revision("p", "1"))
	must(t, s.ForgetNode(ctx, term, record.NodeKey{Cluster: "c", Node: "n"}, &record.IdempotencyRecord{Key: "no run", Digest: "d"}))

	// A run that ended long enough from now for this test to reopen it, and one that ended long ago.
	reopened = finish(t, s, term, reopened, record.Now().Add(time.Minute))
	must(t, s.StampFinished(ctx, term, reopened.ID))
	again := after(reopened)
	again.Fence = true
	again.Run.FinishTS = nil
	must(t, s.Commit(ctx, term, again))
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
		_, effectErr := s.IdempotencyRecord(ctx, "stamped", "d")
		_, otherErr := s.IdempotencyRecord(ctx, "no run", "d")
		return gone(err) && gone(nodeErr) && gone(eventErr) && gone(effectErr) && gone(otherErr)
	})
	// Nothing of it is left for a run of the same ID.
	remains := newRun(term, 0)
	remains.Run.ID = stamped.ID
	for i := range remains.Events {
		remains.Events[i].RunID = stamped.ID
	}
	eventually(t, "all that is the run's own expires", func() bool {
		err := s.Create(ctx, term, remains)
		if err == nil {
			_, nodes, events := readBack(t, s, stamped.ID)
			if len(nodes) != 0 || len(events) != 2 {
				t.Errorf("%d nodes and %d events are left", len(nodes), len(events)-2)
			}
		}
		return err == nil
	})
	for _, run := range []record.Run{unfinished, reopened} {
		_, nodes, events := readBack(t, s, run.ID)
		if len(nodes) != 20 || int64(len(events)) != run.Seq {
			t.Errorf("an unfinished run is left with %d nodes and %d of %d events", len(nodes), len(events), run.Seq)
		}
	}
	for _, key := range []string{"unfinished", "reopened"} {
		_, err := s.IdempotencyRecord(ctx, key, "d")
		must(t, err)
	}
	_, err := s.Playbook(ctx, "p", 0)
	must(t, err)
}
