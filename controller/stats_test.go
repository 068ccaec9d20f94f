package controller_test

import (
	"testing"
	"time"

	"github.com/replicante-io/playbooks/record"
)

func TestACensusOf10000NodesIsCheap(t *testing.T) {
	const nodes = 10_000
	h := newHouse(t, nodes, `  stages: [{name: a, health: none, steps: [{name: a, action: x/a, args: {delay: 1h}}]}]`)
	h.lead()
	defer h.kill()
	h.start(record.Request{}, record.RunRequest{})
	begun := time.Now()
	const times = 20
	for range times {
		census, leads := h.current.Census()
		if !leads || census.Present["c"] != nodes || census.Runs[record.RunRunning]+census.Runs[record.RunPending] != 1 {
			t.Fatalf("counted: %v %v", leads, census)
		}
		sum := 0
		for _, n := range census.Nodes["c"] {
			sum += n
		}
		if sum != nodes {
			t.Fatalf("%d nodes by status", sum)
		}
	}
	each := time.Since(begun) / times
	t.Logf("a census of %d nodes takes %s", nodes, each)
	if each > 50*time.Millisecond {
		t.Errorf("a census of %d nodes takes %s", nodes, each)
	}
}
