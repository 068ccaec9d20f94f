package mongo_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/replicante-io/playbooks/record"
)

func TestArgumentsThatLookLikeExpressionsAreStoredAsTheyAre(t *testing.T) {
	a := newDatabase(t)
	s := a.open(t)
	ctx := soon(t)
	term, err := s.BeginTerm(ctx, 0)
	must(t, err)
	create := newRun(2)
	must(t, s.Create(ctx, term.Term, create))
	commit := next(create.Run)
	commit.Nodes = create.Nodes
	commit.Nodes[1].Actions = []record.Action{{ID: "1", Args: record.Document{
		"home": "$HOME", "root": "$$ROOT", "$set": map[string]any{"a.b": int64(1), "$x": "$y"}, "dotted.name": []any{"$a", map[string]any{"$add": []any{int64(1), 2.5}}},
		"": nil,
	}}}
	must(t, s.Commit(ctx, term.Term, commit))
	_, nodes, err := s.Claim(ctx, term.Term, commit.Run.ID)
	must(t, err)
	if diff := cmp.Diff(commit.Nodes, nodes, cmpopts.EquateEmpty()); diff != "" {
		t.Error(diff)
	}
}

func TestRecordsOfAllSizesAreReplacedAndInsertedTogether(t *testing.T) {
	a := newDatabase(t)
	s := a.open(t)
	ctx := soon(t)
	term, err := s.BeginTerm(ctx, 0)
	must(t, err)
	create := newRun(200)
	must(t, s.Create(ctx, term.Term, create))
	commit := next(create.Run)
	for i := range 300 { // a third of them new
		node := newRun(1).Nodes[0]
		node.RunID, node.Node, node.State = create.Run.ID, fmt.Sprintf("node-%05d", i), record.NodeRunning
		switch {
		case i%50 == 49:
			node.History = []record.NodeChange{longHistory(1200 << 10)}
		case i%10 == 9:
			node.History = []record.NodeChange{longHistory(300 << 10)}
		}
		commit.Nodes = append(commit.Nodes, node)
	}
	must(t, s.Commit(ctx, term.Term, commit))
	_, nodes, err := s.Claim(ctx, term.Term, commit.Run.ID)
	must(t, err)
	if diff := cmp.Diff(commit.Nodes, nodes, cmpopts.EquateEmpty()); diff != "" {
		t.Error(strings.ToValidUTF8(diff[:min(len(diff), 2000)], ""))
	}
}
