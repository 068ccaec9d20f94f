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
	"github.com/replicante-io/playbooks/record"
)

// Config says what is measured.
type Config struct {
	Fleet   Fleet
	Store   string // URL of the primary store; "" for SQLite in a directory that is gone at the end
	Version string
	Log     hclog.Logger
	// Measuring is called around the run that is measured. It may be nil.
	Measuring func() (measured func())
}

// Result is what was measured.
type Result struct {
	Nodes int `json:"nodes"`
	// FloorS is the bare fan-out: the median of several, some before the run and some after it.
	FloorS float64 `json:"floor_s"`
	// RunS is from asking for the run to seeing it DONE, both by the HTTP interface.
	RunS  float64 `json:"run_s"`
	Ratio float64 `json:"ratio"`
	// Starts is how many actions of the run the fleet's agents have started.
	Starts int `json:"starts"`
	// RSSMB is the most memory that the control plane's process has had until the run was DONE, in MiB.
	RSSMB int `json:"rss_mb"`
}

const (
	// patience bounds what should take a moment, on a busy machine.
	patience = time.Minute
	// pollEvery is how exactly the end of a run is seen.
	pollEvery    = 10 * time.Millisecond
	floorsBefore = 3
	floorsAfter  = 2
	// warmNodes is how many nodes the run before the one that is measured acts on: connections are there, files have grown.
	warmNodes = 512
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

// Run starts a control plane in this process on the fleet's etcd, and measures one run over the whole fleet. Its SQLite
// file is in a directory of its own.
func Run(ctx context.Context, c Config) (result Result, err error) {
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
	running, stop := context.WithCancel(ctx)
	go func() {
		ended <- replica.New(replica.Config{Core: core, BindStore: true, Version: c.Version, Log: c.Log,
			Serving: func(url string) { serving <- url }}).Run(running)
	}()
	defer func() {
		stop()
		if ended != nil {
			err = errors.Join(err, <-ended)
		}
	}()
	select {
	case url := <-serving:
		return c.measure(ctx, url)
	case err := <-ended:
		ended = nil
		return Result{}, err
	}
}

func (c Config) measure(ctx context.Context, url string) (Result, error) {
	plane, err := client.New(client.Config{Servers: []string{url}, Actor: "replibench", Version: c.Version})
	if err != nil {
		return Result{}, err
	}
	if err := c.Fleet.settle(ctx, plane); err != nil {
		return Result{}, err
	}
	if _, err := c.run(ctx, plane, "warm", fmt.Sprintf("      targets: 'node.id <= %q'\n", nodeID(warmNodes-1))); err != nil {
		return Result{}, err
	}
	agents := agentclient.New(agentclient.Config{})
	defer agents.Close()
	if _, err := fanOut(ctx, agents, c.Fleet, controller.Concurrency); err != nil { // the floor's connections are there, too
		return Result{}, err
	}
	floors, err := c.floors(ctx, agents, floorsBefore)
	if err != nil {
		return Result{}, err
	}
	if err := idle(ctx); err != nil {
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
	took, err := c.run(ctx, plane, "measured", "")
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
	if err := idle(ctx); err != nil { // the run's records are still being stamped
		return Result{}, err
	}
	more, err := c.floors(ctx, agents, floorsAfter)
	if err != nil {
		return Result{}, err
	}
	starts := after.Starts - before.Starts
	if distinct := after.Distinct - before.Distinct; starts != c.Fleet.Nodes || distinct != starts {
		return Result{}, fmt.Errorf("the fleet started %d actions, %d different ones, for a run over %d nodes", starts, distinct, c.Fleet.Nodes)
	}
	floor := median(append(floors, more...))
	return Result{
		Nodes: c.Fleet.Nodes, FloorS: floor.Seconds(), RunS: took.Seconds(), Ratio: took.Seconds() / floor.Seconds(),
		Starts: starts, RSSMB: rss,
	}, nil
}

// settle waits until the control plane leads and has saved that all nodes of the fleet are there.
func (f Fleet) settle(ctx context.Context, plane *client.Client) error {
	return until(ctx, 50*time.Millisecond, "all nodes to be known", func(ctx context.Context) (bool, error) {
		clusters, err := plane.Clusters(ctx)
		for _, cluster := range clusters {
			if cluster.ClusterID == f.Cluster && cluster.Present == f.Nodes {
				_, leaderErr := plane.Leader(ctx)
				return leaderErr == nil, nil
			}
		}
		return false, err
	})
}

// run runs a playbook over the nodes that targets matches, to its end.
func (c Config) run(ctx context.Context, plane *client.Client, name, targets string) (time.Duration, error) {
	text := fmt.Sprintf(playbookText, name, targets)
	if _, err := plane.Apply(ctx, []client.File{{Name: name, Data: []byte(text)}}); err != nil {
		return 0, fmt.Errorf("apply playbook %s: %w", name, err)
	}
	begun, busy := time.Now(), processorTime()
	run, err := plane.Start(ctx, record.RunRequest{Playbook: name, Cluster: c.Fleet.Cluster})
	if err != nil {
		return 0, fmt.Errorf("start a run: %w", err)
	}
	err = until(ctx, pollEvery, "the run to end", func(ctx context.Context) (bool, error) {
		run, err = plane.Run(ctx, run.ID)
		return run.FinishTS != nil, err
	})
	took := time.Since(begun)
	c.Log.Info("run", "playbook", name, "took", took, "processor", processorTime()-busy)
	if err == nil && run.State != record.RunDone {
		err = fmt.Errorf("run %s ended %s: %+v", run.ID, run.State, run.Error)
	}
	return took, err
}

func (c Config) floors(ctx context.Context, agents *agentclient.Client, n int) ([]time.Duration, error) {
	all := make([]time.Duration, n)
	for i := range all {
		var err error
		busy := processorTime()
		if all[i], err = fanOut(ctx, agents, c.Fleet, controller.Concurrency); err != nil {
			return nil, err
		}
		c.Log.Info("bare fan-out", "took", all[i], "processor", processorTime()-busy)
	}
	return all, nil
}

// count asks what the fleet has started.
func (f Fleet) count(ctx context.Context) (starts Starts, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, f.URL+"/starts", nil)
	if err != nil {
		return starts, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return starts, fmt.Errorf("ask the fleet what it has started: %w", err)
	}
	defer response.Body.Close()
	if err := json.NewDecoder(response.Body).Decode(&starts); err != nil {
		return starts, fmt.Errorf("ask the fleet what it has started: %w", err)
	}
	return starts, nil
}

// until asks again and again until it is so; an error ends it.
func until(ctx context.Context, every time.Duration, what string, so func(context.Context) (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, 10*patience)
	defer cancel()
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		if yes, err := so(ctx); yes || err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w", what, context.Cause(ctx))
		}
	}
}

// idle waits until this process has nothing to do.
func idle(ctx context.Context) error {
	busy := processorTime()
	return until(ctx, 200*time.Millisecond, "the control plane to be idle", func(context.Context) (bool, error) {
		was := busy
		busy = processorTime()
		return was != busy && busy-was < 20*time.Millisecond, nil
	})
}

func median(all []time.Duration) time.Duration {
	slices.Sort(all)
	return all[len(all)/2]
}
