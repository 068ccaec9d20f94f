package controller_test

import (
	"errors"
	"testing"
	"testing/synctest"

	"github.com/replicante-io/playbooks/record"
	"github.com/replicante-io/playbooks/store"
)

func TestARunIsForTheNodesThatItsStartSelects(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newInstallation(t, 4, slow)
		h.lead()
		run := h.start(record.Request{}, record.RunRequest{
			Where: `node.status == "HEALTHY" && node.id != "node-1"`, Nodes: []string{"node-1", "node-3"}})
		run = h.await(run.ID, record.RunDone)
		nodes, _, err := h.memory.RunNodes(t.Context(), run.ID, nil, store.Page{})
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range nodes {
			want := record.NodeSkipped
			if n.Node == "node-3" {
				want = record.NodeDone
			}
			if n.State != want || want == record.NodeSkipped && n.History[0].Cause.Code != record.CauseSubset {
				t.Errorf("node %s is %s: %+v", n.Node, n.State, n.History)
			}
		}
		if run.Counts[record.NodeSkipped] != 3 || run.Counts[record.NodeDone] != 1 {
			t.Errorf("counts are %v", run.Counts)
		}
		h.kill()
	})
}

func TestAStartWhoseNodesCannotBeDecidedIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newInstallation(t, 2, slow)
		h.lead()
		for code, start := range map[string]record.RunRequest{
			record.CodeBadWhere:       {Where: "node.nothing"},
			record.CodeUnknownNodes:   {Nodes: []string{"node-1", "node-7"}},
			record.CodeNoneSelected:   {Where: "false"},
			record.CodeNodesUndecided: {Where: "node.attributes.rack == 'r'"},
		} {
			start.Playbook, start.Cluster = "test", "c"
			_, err := h.current.Start(t.Context(), record.Request{}, start)
			var rejected *record.RejectedError
			if !errors.As(err, &rejected) || rejected.Code != code {
				t.Errorf("want %s, got %v", code, err)
			}
		}
		h.kill()
	})
}
