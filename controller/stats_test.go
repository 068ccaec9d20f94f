package controller_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/replicante-io/playbooks/record"
)

func TestStatsCountRunsNodesAndWork(t *testing.T) {
	const nodes = 10_000
	synctest.Test(t, func(t *testing.T) {
		h := newInstallation(t, nodes, `  stages: [{name: a, health: none, steps: [{name: a, action: x/a, args: {delay: 1h}}]}]`)
		h.lead()
		defer h.kill()
		h.start(record.Request{}, record.RunRequest{})
		time.Sleep(time.Minute) // the nodes are saved, and nothing else allocates
		synctest.Wait()
		stats, leads := h.current.Stats()
		if !leads || stats.Clusters["c"].Present != nodes || stats.Runs[record.RunRunning] != 1 || stats.Runners.Actions != 1 {
			t.Fatalf("counted: %v %v", leads, stats)
		}
		sum := 0
		for _, n := range stats.Clusters["c"].Status {
			sum += n
		}
		if sum != nodes {
			t.Fatalf("%d nodes by status", sum)
		}
		// Metrics are scraped while runs work: counting must cost a fixed number of allocations, not one per node.
		if allocations := testing.AllocsPerRun(10, func() { h.current.Stats() }); allocations > 100 {
			t.Errorf("counting %d nodes takes %.0f allocations", nodes, allocations)
		}
	})
}

func BenchmarkStatsOf10000Nodes(b *testing.B) {
	h := newInstallation(b, 10_000, `  stages: [{name: a, health: none, steps: [{name: a, action: x/a, args: {delay: 1h}}]}]`)
	h.lead()
	defer h.kill()
	for b.Loop() {
		h.current.Stats()
	}
}
