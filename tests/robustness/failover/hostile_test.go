//go:build integration

package failover

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/replicante-io/playbooks/record"
	"github.com/replicante-io/playbooks/tests/robustness/cluster"
)

// TestWhatAnAgentSaysEndsItsOwnNodeOnly has an agent that others wrote answer with what a store, a parser or a reader cannot take, and
// has its node's key, and the probe of one of our agents, say the same.
func TestWhatAnAgentSaysEndsItsOwnNodeOnly(t *testing.T) {
	t.Parallel()
	probed := filepath.Join(t.TempDir(), "attributes")
	in := start(t, cluster.Config{Etcds: 1, Replicas: 1, Mongods: 1, Agents: 2, AgentYAML: func(id string) string {
		if id != "node-02" {
			return ""
		}
		return "probe: {command: [sh, -c, '" + `printf %s "{\"status\": \"HEALTHY\", \"attributes\": "; cat "$1" 2>&- || echo "{}"; echo "}"` + "', probe, " + probed + "], interval: 1s}"
	}})
	foreign, err := in.StartForeignAgent(t.Context(), in.Cluster, "foreign", filepath.Join(t.TempDir(), "executions"))
	in.must(err)
	t.Cleanup(foreign.Close)
	in.await("the foreign node is known", 20*time.Second, func() bool {
		nodes, err := in.client.Nodes(t.Context(), in.Cluster)
		return err == nil && len(nodes) == 3
	})
	values := cluster.HostileValues()
	for _, name := range slices.Sorted(maps.Keys(values)) {
		t.Run(name, func(t *testing.T) {
			in := in.with(t)
			if err := foreign.SetHostile(t.Context(), values[name]); err != nil {
				t.Logf("its key stays: %v", err)
			}
			in.must(os.WriteFile(probed, []byte(values[name]), 0o600))
			run := in.startRun("impatient", 100*time.Millisecond)
			var waiting *record.Wait
			for deadline := time.Now().Add(30 * time.Second); !run.State.Final(); time.Sleep(50 * time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatalf("the run does not end: it is %s with nodes %v and waits for %+v", run.State, run.Counts, waiting)
				}
				run = in.readRun(run.ID)
				waiting = run.Waiting
			}
			for _, n := range in.nodes(run.ID) {
				if n.Node != foreign.Node && n.State != record.NodeDone {
					t.Errorf("%s is %s: %+v", n.Node, n.State, n.Error)
				}
			}
			if nodes, err := in.client.Nodes(t.Context(), in.Cluster); err != nil || len(nodes) != 3 {
				t.Errorf("%d nodes are known: %v", len(nodes), err)
			}
			in.must(foreign.SetHostile(t.Context(), ""))
			in.await("nothing of the run is unsettled", time.Minute, func() bool { run = in.readRun(run.ID); return run.FinishTS != nil && run.Unsettled == 0 })
		})
	}
	leader := in.leader() // what was stored can be claimed
	leader.Kill()
	in.must(leader.Start(t.Context()))
	in.awaitReady(leader)
	in.must(os.Remove(probed))
	in.await("the node with hostile attributes is healthy", 20*time.Second, func() bool {
		node, err := in.client.Node(t.Context(), in.Cluster, "node-02")
		return err == nil && node.Status == record.StatusHealthy
	})
	nodes, err := in.client.Nodes(t.Context(), in.Cluster)
	if err != nil || slices.ContainsFunc(nodes, func(n record.Node) bool { return n.Status == record.StatusUnreachable }) {
		t.Errorf("the nodes are %+v, %v", nodes, err)
	}
}
