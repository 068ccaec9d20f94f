package main

import (
	"strings"
	"testing"

	"github.com/replicante-io/playbooks/record"
)

func TestNodesAreListedInNaturalOrderWithTheReasonsOfTheirStatuses(t *testing.T) {
	d := newOperator(t)
	if err := d.SaveNodes(t.Context(), 1, []record.Node{
		{ClusterID: "demo", NodeID: "node-10", Status: record.StatusUnhealthy, StatusReason: "the replication link is down", Present: true},
	}); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(d.ok("node", "list", "--cluster", "demo"), "\n")
	if len(lines) != 6 || !strings.HasPrefix(lines[2], "node-2 ") || !strings.HasPrefix(lines[4], "node-10 ") || !strings.HasSuffix(lines[4], "the replication link is down") {
		t.Errorf("%s", strings.Join(lines, "\n"))
	}
}
