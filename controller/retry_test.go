package controller_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/replicante-io/playbooks/record"
)

// TestAFailedCanaryIsRetriedToItsEnd has a canary fail, repairs the node, and retries the stamped run, with a takeover in the middle and a run
// that is in the way. No step is done twice on a node.
func TestAFailedCanaryIsRetriedToItsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newInstallation(t, 5, slow)
		fails := func(fails bool) {
			h.fleet.mu.Lock()
			defer h.fleet.mu.Unlock()
			h.fleet.fails["http://node-3"] = fails
		}
		h.lead()
		defer func() { h.kill() }()
		fails(true)
		id := h.start(record.Request{}, record.RunRequest{}).ID
		h.await(id, record.RunFailed)
		h.awaitFinished(id)
		fails(false)
		before := h.start(record.Request{}, record.RunRequest{}).ID
		h.await(before, record.RunRunning)

		request := record.Request{Actor: "op", Key: "r", Digest: "r"}
		command := record.Command{Verb: record.VerbRetry, Reason: "repaired"}
		run, err := h.current.Command(t.Context(), request, id, command)
		if err != nil || run.State != record.RunPending || run.EndTS != nil || run.FinishTS != nil {
			t.Fatalf("%s, end_ts %v, finish_ts %v, %v", run.State, run.EndTS, run.FinishTS, err)
		}
		if n := h.stampedNodes(id); n != 0 {
			t.Errorf("%d of its nodes expire while it runs", n)
		}
		if again, err := h.current.Command(t.Context(), request, id, command); err != nil || again.State != record.RunPending {
			t.Fatalf("the same request again: %s, %v", again.State, err)
		}
		h.await(before, record.RunDone)
		h.await(id, record.RunRunning)
		time.Sleep(300 * time.Millisecond)
		h.kill()
		h.lead()
		h.await(id, record.RunDone)
		h.awaitFinished(id)
		h.onceEach()
		_, byNode := h.fleet.starts()
		for _, name := range h.nodes {
			want := 6 // three steps of each run
			if name == "node-3" {
				want = 7 // and the attempt that failed
			}
			if byNode[name] != want {
				t.Errorf("%s started %d actions, not %d", name, byNode[name], want)
			}
		}
		var rejected *record.RejectedError
		if _, err := h.current.Command(t.Context(), record.Request{}, id, command); !errors.As(err, &rejected) || rejected.Code != record.CodeNothingToRetry {
			t.Errorf("a retry of what is done: %v", err)
		}
	})
}
