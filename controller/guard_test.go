package controller_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/replicante-io/playbooks/record"
)

const guardedRun = `  stages:
    - name: restart
      health: none
      guard: {check: {all_up: 'nodes.all(n, n.status == "HEALTHY")'}, timeout: 30m}
      steps: [{name: a, action: x/a, args: {delay: 2s}}]
`

func TestAGuardThatTurnsFalseStopsNewBatchesAndTheRunContinuesByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newInstallation(t, 4, guardedRun)
		h.lead()
		defer func() { h.kill() }()
		run := h.start(record.Request{}, record.RunRequest{})
		time.Sleep(time.Second)
		h.setDown("node-4", true)
		time.Sleep(10 * time.Second)
		begun := func() int {
			_, byNode := h.fleet.starts()
			return len(byNode)
		}
		waiting, err := h.store.Run(t.Context(), run.ID)
		if err != nil {
			t.Fatal(err)
		}
		if w := waiting.Waiting; begun() != 1 || w == nil || w.For != record.WaitGuard || waiting.State != record.RunRunning {
			t.Fatalf("%d nodes have begun; the run is %s and waits for %+v", begun(), waiting.State, w)
		}
		h.kill()
		time.Sleep(time.Hour) // in which nobody leads
		h.lead()
		time.Sleep(20 * time.Minute)
		if begun() != 1 {
			t.Fatalf("%d nodes have begun", begun())
		}
		h.setDown("node-4", false)
		h.await(run.ID, record.RunDone)
		h.onceEach()
	})
}
