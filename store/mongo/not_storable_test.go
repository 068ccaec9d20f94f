package mongo_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/replicante-io/playbooks/record"
	"github.com/replicante-io/playbooks/store"
)

// TestARecordThatMongoDBDoesNotTakeIsNamed: the run can be committed to afterwards as if nothing had been tried.
func TestARecordThatMongoDBDoesNotTakeIsNamed(t *testing.T) {
	s := newDatabase(t).open(t)
	ctx := soon(t)
	term, err := s.BeginTerm(ctx, 0)
	must(t, err)
	create := newRun(3)
	create.Run.Term = term.Term
	must(t, s.Create(ctx, term.Term, create))
	run, nodes, err := s.Claim(ctx, term.Term, create.Run.ID)
	must(t, err)
	deep := record.Document{"x": "y"}
	for range 250 {
		deep = record.Document{"d": map[string]any(deep)}
	}
	for name, payload := range map[string]record.Document{
		"a NUL in a key": {"a\x00b": "x"}, "250 levels": deep, "17 MiB": {"x": strings.Repeat("x", 17<<20)},
	} {
		commit := next(run)
		commit.Nodes = append([]record.RunNode(nil), nodes...)
		commit.Nodes[1].Actions = []record.Action{{ID: "a", Payload: payload}}
		err := s.Commit(ctx, term.Term, commit)
		var named *store.RecordError
		if !errors.Is(err, store.ErrNotStorable) || !errors.As(err, &named) || named.Node != nodes[1].Node || errors.Is(err, store.ErrUnavailable) {
			t.Errorf("a node's record with %s: %.300v", name, err)
		}
		commit = next(run)
		commit.Events[0].Node, commit.Events[0].Data = nodes[2].Node, payload
		if err := s.Commit(ctx, term.Term, commit); !errors.Is(err, store.ErrNotStorable) || errors.Is(err, store.ErrUnavailable) {
			t.Errorf("an event with %s: %.300v", name, err)
		}
		commit = next(run)
		commit.Run.Error = &record.Error{Code: "x", Data: payload}
		if err := s.Commit(ctx, term.Term, commit); !errors.Is(err, store.ErrNotStorable) || errors.As(err, new(*store.RecordError)) {
			t.Errorf("a run with %s: %.300v", name, err)
		}
		node := record.Node{NodeID: "n", ClusterID: "c", Attributes: payload}
		if err := s.SaveNodes(ctx, term.Term, []record.Node{node}); !errors.Is(err, store.ErrNotStorable) {
			t.Errorf("a known node with %s: %.300v", name, err)
		}
	}
	must(t, s.Commit(ctx, term.Term, next(run)))
}
