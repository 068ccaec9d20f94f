package controller_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/replicante-io/playbooks/record"
	"github.com/replicante-io/playbooks/store"
)

// TestABackupIsMadeOnceByTheNextCandidateWhereTheFirstFails kills the leader while the second candidate is at work.
func TestABackupIsMadeOnceByTheNextCandidateWhereTheFirstFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newInstallation(t, 4, `  stages:
    - name: backup
      targets: 'node.id != "node-1"'
      order_by: 'node.id == "node-3" ? 0 : 1'
      pick: 1
      max_failures: 1
      health: none
      steps: [{name: backup, action: agent.replicante.io/test.success, args: {delay: 1s}}]
`)
		h.fleet.fails["http://node-3"] = true
		h.lead()
		id := h.start(record.Request{}, record.RunRequest{}).ID
		h.await(id, record.RunRunning)
		time.Sleep(1500 * time.Millisecond)
		h.kill()
		h.lead()
		run := h.await(id, record.RunDone)
		if st := run.Stages[0]; st.State != record.StageDone || st.Total != 2 || st.Counts[record.NodeDone] != 1 || st.Counts[record.NodeFailed] != 1 {
			t.Errorf("%+v", st)
		}
		nodes, _, err := h.memory.RunNodes(t.Context(), id, nil, store.Page{})
		if err != nil {
			t.Fatal(err)
		}
		want := map[string]record.NodeState{"node-1": record.NodeSkipped, "node-2": record.NodeDone, "node-3": record.NodeFailed, "node-4": record.NodeSkipped}
		for _, n := range nodes {
			if n.State != want[n.Node] || n.State == record.NodeSkipped && len(n.Stages)+len(n.Actions) > 0 {
				t.Errorf("%s is %s: %+v", n.Node, n.State, n.Stages)
			}
		}
		if _, byNode := h.fleet.starts(); byNode["node-2"] != 1 || byNode["node-3"] != 1 || byNode["node-4"] != 0 {
			t.Errorf("started %v", byNode)
		}
		h.kill()
	})
}
