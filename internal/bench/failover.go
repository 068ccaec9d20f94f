package bench

import (
	"context"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/replicante-io/playbooks/api/client"
	"github.com/replicante-io/playbooks/record"
	"github.com/replicante-io/playbooks/tests/robustness/cluster"
)

// FailoverConfig is which failovers are measured.
type FailoverConfig struct {
	Fleet    Fleet
	Store    string // URL of a primary store that several replicas can use
	Programs string // directory of replicore
	Replicas int
	Kills    int
	LeaseTTL time.Duration
	Version  string
	// Killed is called after each kill with the time until the next dispatch. It may be nil.
	Killed func(name string, took time.Duration)
}

// FailoverResult is what was measured.
type FailoverResult struct {
	Nodes     int     `json:"nodes"`
	Replicas  int     `json:"replicas"`
	LeaseTTLS float64 `json:"lease_ttl_s"`
	// DispatchS is, for each kill -9 of the leader, the time until an agent starts an action of the next term.
	DispatchS []float64 `json:"dispatch_s"`
	MedianS   float64   `json:"median_s"`
	MaxS      float64   `json:"max_s"`
	// Starts is how many actions the agents have started, each once.
	Starts int `json:"starts"`
}

// failoverPlaybook keeps a few nodes busy at every moment.
const failoverPlaybook = `apiVersion: replicante.io/v1
kind: Playbook
metadata: {name: failover}
spec:
  stages:
    - name: all
      batch: "10%"
      health: none
      steps:
        - {name: act, action: agent.replicante.io/test.loop, args: {count: 2, delay: 100ms}}
`

// Failover starts replicas on the fleet's etcd, each in a process of its own, and repeatedly kills the leader in the middle of
// runs.
func Failover(ctx context.Context, c FailoverConfig) (FailoverResult, error) {
	dir, err := os.MkdirTemp("", "replibench-")
	if err != nil {
		return FailoverResult{}, fmt.Errorf("make a directory: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	in, err := cluster.Start(ctx, cluster.Config{
		Dir: dir, Programs: c.Programs, Endpoints: c.Fleet.Endpoints, Store: c.Store,
		Database: "replibench_" + uuid.NewString()[:8], Replicas: c.Replicas, LeaseTTL: c.LeaseTTL,
	})
	if err != nil {
		return FailoverResult{}, err
	}
	defer in.Stop()
	api, err := client.New(client.Config{Servers: in.Servers(), Actor: "replibench", Version: c.Version})
	if err != nil {
		return FailoverResult{}, err
	}
	if err := c.Fleet.awaitKnown(ctx, api); err != nil {
		return FailoverResult{}, err
	}
	if _, err := api.Apply(ctx, []client.File{{Name: "failover", Data: []byte(failoverPlaybook)}}); err != nil {
		return FailoverResult{}, fmt.Errorf("apply the playbook: %w", err)
	}

	var took []time.Duration
	runs := 0
	for len(took) < c.Kills {
		run, err := api.Start(ctx, record.RunRequest{Playbook: "failover", Cluster: c.Fleet.Cluster})
		if err != nil {
			return FailoverResult{}, fmt.Errorf("start a run: %w", err)
		}
		runs++
		err = await(ctx, pollInterval, "the run to end", func(ctx context.Context) (bool, error) {
			if run, err = api.Run(ctx, run.ID); err != nil || run.State.Final() {
				return true, err
			}
			// Only while the next leader still has actions to send.
			if len(took) < c.Kills && run.State == record.RunRunning && run.Counts[record.NodePending] > c.Fleet.Nodes/2 {
				dispatch, err := c.kill(ctx, in)
				if err != nil {
					return false, err
				}
				took = append(took, dispatch)
			}
			return false, nil
		})
		if err != nil {
			return FailoverResult{}, err
		}
		if run.State != record.RunDone {
			return FailoverResult{}, fmt.Errorf("run %s ended %s: %+v", run.ID, run.State, run.Error)
		}
	}
	starts, err := c.Fleet.count(ctx)
	if err != nil {
		return FailoverResult{}, err
	}
	if starts.Distinct != starts.Starts || starts.Starts != runs*c.Fleet.Nodes {
		return FailoverResult{}, fmt.Errorf("the agents started %d actions, %d of them different, for %d runs over %d nodes",
			starts.Starts, starts.Distinct, runs, c.Fleet.Nodes)
	}
	result := FailoverResult{Nodes: c.Fleet.Nodes, Replicas: c.Replicas, LeaseTTLS: c.LeaseTTL.Seconds(), Starts: starts.Starts}
	for _, d := range took {
		result.DispatchS = append(result.DispatchS, d.Seconds())
	}
	result.MedianS, result.MaxS = median(took).Seconds(), slices.Max(took).Seconds()
	return result, nil
}

// kill kills the leader, and starts it again once an agent has started an action of the next term. It returns how long that
// took.
func (c FailoverConfig) kill(ctx context.Context, in *cluster.Installation) (time.Duration, error) {
	leader, err := in.Leader(ctx)
	if err != nil {
		return 0, err
	}
	term, _, err := c.awaitDispatch(ctx, 0)
	if err != nil {
		return 0, err
	}
	killed := time.Now()
	leader.Kill()
	_, at, err := c.awaitDispatch(ctx, term)
	if err != nil {
		return 0, err
	}
	took := at.Sub(killed)
	if c.Killed != nil {
		c.Killed(leader.Name, took)
	}
	return took, leader.Start(ctx)
}

// awaitDispatch waits until the fleet has started an action of a later term, and returns the latest term and when its first
// action was started.
func (c FailoverConfig) awaitDispatch(ctx context.Context, after int64) (term int64, at time.Time, err error) {
	err = await(ctx, 2*time.Millisecond, "the next dispatch", func(ctx context.Context) (bool, error) {
		starts, err := c.Fleet.count(ctx)
		if err != nil {
			return false, err
		}
		for t, first := range starts.FirstTS {
			if t > term {
				term, at = t, first
			}
		}
		return term > after, nil
	})
	return term, at, err
}
