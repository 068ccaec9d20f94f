package sqlite_test

import (
	"errors"
	"math"
	"path/filepath"
	"testing"

	"github.com/replicante-io/playbooks/record"
	"github.com/replicante-io/playbooks/store"
)

func TestARecordThatHasNoJSONIsNamed(t *testing.T) {
	s := setUp(t, filepath.Join(t.TempDir(), "core.db"))
	ctx := t.Context()
	term, err := s.BeginTerm(ctx, 0)
	if err != nil {
		t.Fatal(err)
	}
	run := record.Run{ID: "r", Cluster: "c", State: record.RunPending, Rev: 1, CommitID: "1", CreatedTS: record.Now(), UpdateTS: record.Now()}
	if err := s.Create(ctx, term.Term, record.Commit{ID: "1", Run: run}); err != nil {
		t.Fatal(err)
	}
	run.Rev, run.CommitID = 2, "2"
	bad := record.Document{"x": math.NaN()}
	for what, commit := range map[string]record.Commit{
		"record": {Nodes: []record.RunNode{{Node: "a"}, {Node: "b", Actions: []record.Action{{Payload: bad}}}}},
		"event":  {Nodes: []record.RunNode{{Node: "a"}}, Events: []record.Event{{Seq: 1}, {Seq: 2, Node: "b", Data: bad}}},
	} {
		commit.ID, commit.After, commit.Run = "2", "1", run
		var named *store.RecordError
		if err := s.Commit(ctx, term.Term, commit); !errors.As(err, &named) || named.Node != "b" || !errors.Is(err, store.ErrNotStorable) {
			t.Errorf("%s: %v", what, err)
		}
	}
	run.Error = &record.Error{Data: bad}
	if err := s.Commit(ctx, term.Term, record.Commit{ID: "2", After: "1", Run: run}); !errors.Is(err, store.ErrNotStorable) || errors.As(err, new(*store.RecordError)) {
		t.Errorf("run: %v", err)
	}
	run.Error = nil
	if err := s.Commit(ctx, term.Term, record.Commit{ID: "2", After: "1", Run: run}); err != nil {
		t.Error(err)
	}
}
