//go:build integration

package failover

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/replicante-io/playbooks/api/client"
	"github.com/replicante-io/playbooks/record"
	"github.com/replicante-io/playbooks/tests/robustness/cluster"
)

// TestTheLeaderIsKilledFiveTimes runs three of everything and 50 agents.
func TestTheLeaderIsKilledFiveTimes(t *testing.T) {
	in := start(t, cluster.Config{Etcds: 3, Replicas: 3, Mongods: 3, Agents: 50})
	t.Run("DuringARun", func(t *testing.T) { in.with(t).killDuringARun() })
	t.Run("WhileRunsAreStartedThroughAFollower", func(t *testing.T) { in.with(t).killDuringStarts() })
}

func (in *installation) killLeader() {
	in.t.Helper()
	leader := in.leader()
	leader.Kill()
	in.leader(leader)
	in.must(leader.Start(in.t.Context()))
}

func (in *installation) killDuringARun() {
	run := in.startRun("slow", 200*time.Millisecond)
	for i := range 5 {
		in.awaitStarts(run.ID, 5*(i+1))
		in.killLeader()
	}
	in.awaitDone(run.ID, 2*time.Minute)
}

// killDuringStarts starts runs through a list of servers whose first is a follower.
func (in *installation) killDuringStarts() {
	leader := in.leader()
	api := in.clientOf(append(in.others(leader), leader)...)
	acknowledged := make(chan []string)
	var count atomic.Int32
	stop := make(chan struct{})
	go func() {
		var ids []string
		defer func() { acknowledged <- ids }()
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			run, err := api.Start(in.t.Context(), record.RunRequest{Playbook: "wide", Cluster: in.Cluster, Reason: fmt.Sprintf("start %d", i),
				Params: map[string]any{"seconds": "0.01"}})
			if err != nil {
				in.t.Errorf("start %d: %v", i, err)
				continue
			}
			ids = append(ids, run.ID)
			count.Add(1)
		}
	}()
	for range 5 {
		before := count.Load()
		in.await("runs are started", 30*time.Second, func() bool { return count.Load() >= before+3 })
		in.killLeader()
	}
	close(stop)
	ids := <-acknowledged
	runs, err := in.client.Runs(in.t.Context(), client.RunFilter{Playbook: "wide"})
	in.must(err)
	reasons, known := map[string]int{}, map[string]bool{}
	for _, run := range runs {
		reasons[run.Reason]++
		known[run.ID] = true
	}
	for _, id := range ids {
		if !known[id] {
			in.t.Errorf("run %s was acknowledged and does not exist", id)
		}
	}
	for reason, n := range reasons {
		if n != 1 {
			in.t.Errorf("%q exists %d times", reason, n)
		}
	}
	in.t.Logf("%d runs were acknowledged, %d exist", len(ids), len(runs))
	for _, run := range runs { // also those whose request was not acknowledged
		in.awaitDone(run.ID, time.Minute)
	}
}
