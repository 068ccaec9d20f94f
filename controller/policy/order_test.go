package policy_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/replicante-io/playbooks/controller/policy"
	"github.com/replicante-io/playbooks/record"
)

func TestNodesAreTakenInTheNaturalOrderOfTheirIDs(t *testing.T) {
	for name, stages := range map[string]string{
		"without an order":  oneStep,
		"with equal values": strings.Replace(oneStep, "      steps", "      order_by: node.cluster\n      steps", 1),
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 12, stages)
			w.apply(policy.Admit{})
			w.work()
			w.ended(record.RunDone)
			var took []string
			for line := range strings.Lines(w.story()) {
				if _, nodes, found := strings.Cut(line, "batch.started"); found {
					_, node, _ := strings.Cut(nodes, "nodes=[")
					took = append(took, strings.TrimSuffix(strings.TrimSpace(node), "]"))
				}
			}
			want := []string{"node-1", "node-2", "node-3", "node-4", "node-5", "node-6", "node-7", "node-8", "node-9", "node-10", "node-11", "node-12"}
			if !slices.Equal(took, want) {
				t.Errorf("took %v", took)
			}
		})
	}
}
