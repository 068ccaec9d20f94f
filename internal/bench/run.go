package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/hashicorp/go-hclog"

	agentclient "github.com/replicante-io/playbooks/agent/client"
	"github.com/replicante-io/playbooks/api/client"
	"github.com/replicante-io/playbooks/controller"
	"github.com/replicante-io/playbooks/internal/config"
	"github.com/replicante-io/playbooks/internal/replica"
	"github.com/replicante-io/playbooks/internal/retry"
	"github.com/replicante-io/playbooks/internal/transport"
	"github.com/replicante-io/playbooks/record"
)

// Config is what is measured.
type Config struct {
	Fleet   Fleet
	Store   string // URL of the primary store; "" takes SQLite in a temporary directory
	Version string
	Log     hclog.Logger
	// Measuring is called before the run that is measured, and what it returns after it. It may be nil.
	Measuring func() (measured func())
}

// Result is what was measured.
type Result struct {
	Nodes int `json:"nodes"`
	// FloorS is how long the bare fan-out of one POST and one GET per node takes: the median of several, before and after the run.
	FloorS float64 `json:"floor_s"`
	// FloorPostS is the same with one POST per node, whose answer the agent holds until the action has ended.
	FloorPostS float64 `json:"floor_post_s"`
	// RunS is how long the run takes, from the request to the answer that it is DONE, both by HTTP.
	RunS float64 `json:"run_s"`
	// Ratio is of RunS to FloorS.
	Ratio float64 `json:"ratio"`
	// Starts is how many actions the agents started for the run.
	Starts int `json:"starts"`
	// RSSMB is the largest memory of the control plane's process until the run was DONE, in MiB.
	RSSMB int `json:"rss_mb"`
	// NodeKiB is by how much that memory is larger than at the start of the process, per node, in KiB.
	NodeKiB float64 `json:"node_kib"`
}

const (
	// awaitTimeout bounds waiting for the control plane.
	awaitTimeout = 10 * time.Minute
	// actionTimeout bounds one action of the bare fan-out.
	actionTimeout = time.Minute
	// pollInterval is how exactly the end of a run is measured.
	pollInterval  = 10 * time.Millisecond
	fanOutsBefore = 3
	fanOutsAfter  = 2
	// postWait is how long an agent may hold its answer to a POST in the second kind of fan-out: as long as the controller lets it.
	postWait = 20 * time.Millisecond
	// warmUpNodes is how many nodes a first run acts on, so that connections exist and files have grown.
	warmUpNodes = 512
)

const playbookText = `apiVersion: replicante.io/v1
kind: Playbook
metadata: {name: %s}
spec:
  stages:
    - name: all
%s      batch: "100%%"
      health: none
      steps:
        - {name: act, action: agent.replicante.io/test.success}
`

// Run starts a control plane in this process on the fleet's etcd, and measures one run over all nodes.
func Run(ctx context.Context, c Config) (result Result, err error) {
	initial, err := peakMemory()
	if err != nil {
		return Result{}, err
	}
	dir, err := os.MkdirTemp("", "replibench-")
	if err != nil {
		return Result{}, fmt.Errorf("make a directory for the store: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if c.Store == "" {
		c.Store = "sqlite://" + filepath.Join(dir, "core.db")
	}
	core := config.Core{
		Name:       "bench",
		API:        config.API{Listen: "127.0.0.1:0"},
		Etcd:       config.Etcd{Endpoints: c.Fleet.Endpoints, Prefix: c.Fleet.Prefix, LeaseTTL: 10 * time.Second},
		Store:      config.Store{URL: c.Store, Database: "replibench_" + uuid.NewString()[:8]},
		Runs:       config.Runs{FinishedTTL: time.Hour},
		Membership: config.Membership{Grace: 30 * time.Second, ForgetAfter: 72 * time.Hour},
	}
	serving, ended := make(chan string, 1), make(chan error, 1)
	replicaCtx, stop := context.WithCancel(ctx)
	go func() {
		ended <- replica.New(replica.Config{Core: core, Version: c.Version, Log: c.Log,
			Serving: func(url string) { serving <- url }}).Run(replicaCtx)
	}()
	defer func() {
		stop()
		if ended != nil {
			err = errors.Join(err, <-ended)
		}
	}()
	select {
	case url := <-serving:
		return c.measure(ctx, url, initial)
	case err := <-ended:
		ended = nil
		return Result{}, err
	}
}

// measure measures against the control plane at url, whose process had initial KiB of memory at its start.
func (c Config) measure(ctx context.Context, url string, initial int) (Result, error) {
	api, err := client.New(client.Config{Servers: []string{url}, Actor: "replibench", Version: c.Version})
	if err != nil {
		return Result{}, err
	}
	if err := c.Fleet.awaitKnown(ctx, api); err != nil {
		return Result{}, err
	}
	if _, err := c.run(ctx, api, "warm-up", fmt.Sprintf("      targets: 'node.id <= %q'\n", nodeID(warmUpNodes-1))); err != nil {
		return Result{}, err
	}
	agents := agentclient.New(agentclient.Config{})
	defer agents.Close()
	if _, err := fanOut(ctx, agents, c.Fleet, controller.Concurrency, 0); err != nil { // its warm-up
		return Result{}, err
	}
	var floors floors
	if err := floors.measure(ctx, c, agents, fanOutsBefore); err != nil {
		return Result{}, err
	}
	if err := awaitIdle(ctx); err != nil {
		return Result{}, err
	}
	before, err := c.Fleet.count(ctx)
	if err != nil {
		return Result{}, err
	}
	var measured func()
	if c.Measuring != nil {
		measured = c.Measuring()
	}
	took, err := c.run(ctx, api, "measured", "")
	if measured != nil {
		measured()
	}
	if err != nil {
		return Result{}, err
	}
	rss, err := peakMemory()
	if err != nil {
		return Result{}, err
	}
	after, err := c.Fleet.count(ctx)
	if err != nil {
		return Result{}, err
	}
	if err := awaitIdle(ctx); err != nil { // the records of the run are still being stamped
		return Result{}, err
	}
	if err := floors.measure(ctx, c, agents, fanOutsAfter); err != nil {
		return Result{}, err
	}
	starts := after.Starts - before.Starts
	if distinct := after.Distinct - before.Distinct; starts != c.Fleet.Nodes || distinct != starts {
		return Result{}, fmt.Errorf("the agents started %d actions, %d of them different, for a run over %d nodes", starts, distinct, c.Fleet.Nodes)
	}
	floor := median(floors.postAndGet)
	return Result{
		Nodes: c.Fleet.Nodes, FloorS: floor.Seconds(), FloorPostS: median(floors.post).Seconds(),
		RunS: took.Seconds(), Ratio: took.Seconds() / floor.Seconds(),
		Starts: starts, RSSMB: rss >> 10, NodeKiB: float64(rss-initial) / float64(c.Fleet.Nodes),
	}, nil
}

// awaitKnown waits until the control plane has a leader that knows all nodes of the fleet.
func (f Fleet) awaitKnown(ctx context.Context, api *client.Client) error {
	return await(ctx, 50*time.Millisecond, "the control plane to know all nodes", func(ctx context.Context) (bool, error) {
		clusters, err := api.Clusters(ctx)
		for _, cluster := range clusters {
			if cluster.ClusterID == f.Cluster && cluster.Present == f.Nodes {
				_, leaderErr := api.Leader(ctx)
				return leaderErr == nil, nil
			}
		}
		return false, err
	})
}

// run runs a playbook over the nodes that targets matches, and returns how long that takes.
func (c Config) run(ctx context.Context, api *client.Client, name, targets string) (time.Duration, error) {
	text := fmt.Sprintf(playbookText, name, targets)
	if _, err := api.Apply(ctx, []client.File{{Name: name, Data: []byte(text)}}); err != nil {
		return 0, fmt.Errorf("apply playbook %s: %w", name, err)
	}
	begin, used := time.Now(), processorTime()
	run, err := api.Start(ctx, record.RunRequest{Playbook: name, Cluster: c.Fleet.Cluster})
	if err != nil {
		return 0, fmt.Errorf("start a run: %w", err)
	}
	err = await(ctx, pollInterval, "the run to end", func(ctx context.Context) (bool, error) {
		run, err = api.Run(ctx, run.ID)
		return run.State.Final(), err
	})
	took := time.Since(begin)
	c.Log.Info("run", "playbook", name, "took", took, "processor", processorTime()-used)
	if err == nil && run.State != record.RunDone {
		err = fmt.Errorf("run %s ended %s: %+v", run.ID, run.State, run.Error)
	}
	return took, err
}

// floors are how long bare fan-outs took.
type floors struct{ postAndGet, post []time.Duration }

// measure adds n fan-outs of each kind, in turn.
func (f *floors) measure(ctx context.Context, c Config, agents *agentclient.Client, n int) error {
	for range n {
		for _, kind := range []struct {
			wait time.Duration
			took *[]time.Duration
		}{{0, &f.postAndGet}, {postWait, &f.post}} {
			used := processorTime()
			took, err := fanOut(ctx, agents, c.Fleet, controller.Concurrency, kind.wait)
			if err != nil {
				return err
			}
			*kind.took = append(*kind.took, took)
			c.Log.Info("bare fan-out", "wait", kind.wait, "took", took, "processor", processorTime()-used)
		}
	}
	return nil
}

// count asks the fleet how many actions it has started.
func (f Fleet) count(ctx context.Context) (starts Starts, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, f.URL+"/starts", nil)
	if err != nil {
		return starts, err
	}
	response, err := transport.NewClient(transport.ClientConfig{NewConnections: true}).Do(request)
	if err != nil {
		return starts, fmt.Errorf("ask the fleet for its starts: %w", err)
	}
	defer response.Body.Close()
	if err := json.NewDecoder(response.Body).Decode(&starts); err != nil {
		return starts, fmt.Errorf("ask the fleet for its starts: %w", err)
	}
	return starts, nil
}

// await calls check until it returns true or an error.
func await(ctx context.Context, every time.Duration, what string, check func(context.Context) (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, awaitTimeout)
	defer cancel()
	for {
		if done, err := check(ctx); done || err != nil {
			return err
		}
		if !retry.Sleep(ctx, every) {
			return fmt.Errorf("wait for %s: %w", what, context.Cause(ctx))
		}
	}
}

// awaitIdle waits until this process uses hardly any processor time.
func awaitIdle(ctx context.Context) error {
	used := processorTime()
	return await(ctx, 200*time.Millisecond, "the control plane to be idle", func(context.Context) (bool, error) {
		before := used
		used = processorTime()
		return before != used && used-before < 20*time.Millisecond, nil
	})
}

func median(all []time.Duration) time.Duration {
	slices.Sort(all)
	return all[len(all)/2]
}
