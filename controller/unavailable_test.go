package controller_test

import (
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/replicante-io/playbooks/record"
)

// limited is a run beside others that takes so many nodes out at most, and leaves what it has acted on as it is.
const limited = `  concurrency: shared
  stages:
    - name: restart
      health: none
      batch: 3
      max_unavailable: 1
      steps: [{name: a, action: x/a, args: {delay: 300ms}}]
`

// TestTwoRunsNeverTakeTwoNodesOutTogetherWhoeverLeads judges by what the agents did: a node is out from when an action starts on it until
// half a second after it has ended. One of the runs waits for the health of its nodes, the other does not.
func TestTwoRunsNeverTakeTwoNodesOutTogetherWhoeverLeads(t *testing.T) {
	for seed := range uint64(10) {
		synctest.Test(t, func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 3))
			h := newInstallation(t, 5, limited)
			h.apply("other", strings.Replace(limited, "      health: none\n", "      groups: {by: size(node.id), at_once: \"100%\"}\n", 1))
			h.fleet.downtime = 500 * time.Millisecond
			h.fleet.latency = func() time.Duration { return time.Duration(rand.IntN(80)) * time.Millisecond } // agents answer side by side
			h.lead()
			defer func() { h.kill() }()
			one := h.start(record.Request{}, record.RunRequest{})
			two := h.start(record.Request{}, record.RunRequest{Playbook: "other"})
			for range 6 {
				time.Sleep(time.Duration(random.IntN(1500)) * time.Millisecond)
				h.kill()
				h.lead()
			}
			h.await(one.ID, record.RunDone)
			h.await(two.ID, record.RunDone)
			h.onceEach()
			if _, byNode := h.fleet.starts(); len(byNode) != 5 || byNode["node-1"] != 2 || byNode["node-5"] != 2 {
				t.Errorf("seed %d: starts by node: %v", seed, byNode)
			}
			if h.fleet.outAtOnce != 1 {
				t.Errorf("seed %d: %d nodes were out at once; in order %v", seed, h.fleet.outAtOnce, h.fleet.startOrder)
			}
		})
	}
}

func TestARunWithoutRoomForANodeSaysWhichAreOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newInstallation(t, 4, limited)
		h.lead()
		defer func() { h.kill() }()
		h.setDown("node-4", true)
		run := h.start(record.Request{}, record.RunRequest{})
		time.Sleep(20 * time.Second)
		waiting, err := h.store.Run(t.Context(), run.ID)
		if err != nil {
			t.Fatal(err)
		}
		w := waiting.Waiting
		if w == nil || w.For != record.WaitNode || w.Data["code"] != record.CauseMaxUnavailable {
			t.Fatalf("waiting %+v", w)
		}
		if named := w.Data["named"].([]any); len(named) != 1 || named[0].(map[string]any)["node"] != "node-4" {
			t.Errorf("out are %v", named)
		}
		h.setDown("node-4", false)
		began := time.Now()
		h.await(run.ID, record.RunDone)
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("it took %s", took)
		}
	})
}
