//go:build integration

package failover

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/replicante-io/playbooks/api/client"
	"github.com/replicante-io/playbooks/record"
	rig "github.com/replicante-io/playbooks/tests/robustness/cluster"
)

// TestALeaderIsKilledFiveTimes runs the whole installation, three of each kind and 50 agents.
func TestALeaderIsKilledFiveTimes(t *testing.T) {
	f := newField(t, rig.Config{Etcds: 3, Replicas: 3, Mongods: 3, Agents: 50})
	t.Run("UnderARun", func(t *testing.T) { f.with(t).killedUnderARun() })
	t.Run("WhileRunsAreStartedThroughAFollower", func(t *testing.T) { f.with(t).killedUnderStarts() })
}

func (f *field) killLeader() {
	f.t.Helper()
	leader := f.leader()
	leader.Kill()
	f.leader(leader)
	f.must(leader.Start(f.t.Context()))
}

func (f *field) killedUnderARun() {
	run := f.start("slow", 200*time.Millisecond)
	for i := range 5 {
		f.hasBegun(run.ID, 5*(i+1))
		f.killLeader()
	}
	f.done(run.ID, 2*time.Minute)
}

// killedUnderStarts starts runs as `replictl run start` does, by a list of servers that a follower leads.
func (f *field) killedUnderStarts() {
	leader := f.leader()
	plane := f.asking(append(f.others(leader), leader)...)
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
			run, err := plane.Start(f.t.Context(), record.RunRequest{Playbook: "wide", Cluster: f.Cluster, Reason: fmt.Sprintf("start %d", i),
				Params: map[string]any{"seconds": "0.01"}})
			if err != nil {
				f.t.Errorf("start %d: %v", i, err)
				continue
			}
			ids = append(ids, run.ID)
			count.Add(1)
		}
	}()
	for range 5 {
		before := count.Load()
		f.until("runs are started", 30*time.Second, func() bool { return count.Load() >= before+3 })
		f.killLeader()
	}
	close(stop)
	ids := <-acknowledged
	runs, err := f.plane.Runs(f.t.Context(), client.RunFilter{Playbook: "wide"})
	f.must(err)
	reasons, known := map[string]int{}, map[string]bool{}
	for _, run := range runs {
		reasons[run.Reason]++
		known[run.ID] = true
	}
	for _, id := range ids {
		if !known[id] {
			f.t.Errorf("run %s was acknowledged and does not exist", id)
		}
	}
	for reason, n := range reasons {
		if n != 1 {
			f.t.Errorf("%q exists %d times", reason, n)
		}
	}
	f.t.Logf("%d runs were acknowledged, %d exist", len(ids), len(runs))
	for _, run := range runs { // also those that nobody was told of
		f.done(run.ID, time.Minute)
	}
}
