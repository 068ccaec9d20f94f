// Package bench measures a run over a simulated fleet against the bare fan-out.
//
// The fleet and its etcd are in one process and the control plane is in another, so that its memory and processor time can be
// measured. The agents are real, with journals in memory, and are called by HTTP; every node has its key in etcd.
package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/errgroup"

	"github.com/replicante-io/playbooks/agent"
	"github.com/replicante-io/playbooks/agent/wire"
	"github.com/replicante-io/playbooks/internal/etcd"
	"github.com/replicante-io/playbooks/internal/etcd/embedded"
	"github.com/replicante-io/playbooks/internal/node"
	"github.com/replicante-io/playbooks/membership"
)

// FleetConfig describes a fleet, and where it is registered.
type FleetConfig struct {
	Nodes     int
	Cluster   string
	Listen    string   // address; port 0 takes any
	Endpoints []string // of etcd; without any the fleet starts an etcd of its own, in Dir
	Prefix    string   // of the installation in etcd
	Dir       string
	Version   string
	Log       hclog.Logger
	// Ready is called once all agents answer and are registered.
	Ready func(Fleet)
}

// Fleet is the address of a fleet.
type Fleet struct {
	URL       string   `json:"url"` // the agent of a node is at <url>/agents/<node>; <url>/starts counts the actions they have started
	Endpoints []string `json:"endpoints"`
	Prefix    string   `json:"prefix"`
	Cluster   string   `json:"cluster"`
	Nodes     int      `json:"nodes"`
}

// Starts counts the actions that a fleet's agents have started.
type Starts struct {
	Starts   int `json:"starts"`
	Distinct int `json:"distinct"` // by ID
	// FirstTS is when the first action of each term was started.
	FirstTS map[int64]time.Time `json:"first_ts"`
}

// nodeID is the ID of a node: in the order of their numbers.
func nodeID(i int) string { return fmt.Sprintf("node-%06d", i+1) }

// agentURL is the URL of the agent of a node, in a fleet at url.
func agentURL(url string, i int) string { return url + "/agents/" + nodeID(i) }

const (
	leaseTTL = 30 * time.Second
	// maxPuts bounds the keys that one transaction writes: etcd accepts at most 128.
	maxPuts = 100
)

// RunFleet serves the fleet until ctx ends (nil).
func RunFleet(ctx context.Context, c FleetConfig) error {
	f, err := newFleet(ctx, c)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", c.Listen)
	if err != nil {
		return fmt.Errorf("listen for the agents: %w", err)
	}
	defer func() { _ = listener.Close() }()
	endpoints := c.Endpoints
	if len(endpoints) == 0 {
		own, err := embedded.Start(ctx, c.Dir, "127.0.0.1:0")
		if err != nil {
			return err
		}
		defer own.Close()
		endpoints = []string{own.Endpoint}
	}
	client, err := etcd.Dial(etcd.DialConfig{Endpoints: endpoints})
	if err != nil {
		return err
	}
	defer func() { _ = client.Close() }()
	at := Fleet{URL: "http://" + listener.Addr().String(), Endpoints: endpoints, Prefix: c.Prefix, Cluster: c.Cluster, Nodes: c.Nodes}
	work, ctx := errgroup.WithContext(ctx)
	work.Go(func() error { return node.Serve(ctx, listener, f.handler(), len(f.agents), nil, c.Log) })
	work.Go(func() error { return f.register(ctx, client, at) })
	return work.Wait()
}

// fleet are the agents, by node.
type fleet struct {
	config FleetConfig
	agents map[string]*agent.Agent
	begin  time.Time

	mu      sync.Mutex
	starts  int
	started map[string]struct{}
	firstTS map[int64]time.Time
}

func newFleet(ctx context.Context, c FleetConfig) (*fleet, error) {
	f := &fleet{config: c, agents: make(map[string]*agent.Agent, c.Nodes), started: map[string]struct{}{}, firstTS: map[int64]time.Time{}, begin: time.Now().UTC()}
	for i := range c.Nodes {
		a := agent.New(agent.Config{NodeID: nodeID(i), ClusterID: c.Cluster, OnStart: f.start, Version: wire.AgentVersion{Number: c.Version}})
		if err := a.Open(ctx); err != nil {
			return nil, err
		}
		f.agents[nodeID(i)] = a
	}
	return f, nil
}

func (f *fleet) start(action wire.Action) {
	term, _ := strconv.ParseInt(action.Metadata[wire.MetaTerm], 10, 64) // the bare fan-out has none
	f.mu.Lock()
	defer f.mu.Unlock()
	f.starts++
	f.started[action.ID] = struct{}{}
	if f.firstTS[term].IsZero() {
		f.firstTS[term] = time.Now()
	}
}

func (f *fleet) handler() http.Handler {
	mux := http.NewServeMux()
	agent.Mount(mux, "/agents/{agent}", func(r *http.Request) *agent.Agent { return f.agents[r.PathValue("agent")] })
	mux.HandleFunc("GET /starts", func(w http.ResponseWriter, _ *http.Request) {
		f.mu.Lock()
		defer f.mu.Unlock()
		_ = json.NewEncoder(w).Encode(Starts{Starts: f.starts, Distinct: len(f.started), FirstTS: f.firstTS})
	})
	return mux
}

// register keeps the keys of all nodes on one lease, and writes them again whenever the lease is lost.
func (f *fleet) register(ctx context.Context, client *clientv3.Client, at Fleet) error {
	ready := sync.OnceFunc(func() {
		if f.config.Ready != nil {
			f.config.Ready(at)
		}
	})
	backoff := etcd.NewBackoff()
	for ctx.Err() == nil {
		err := etcd.Hold(ctx, client, leaseTTL, func(ctx context.Context, lease clientv3.LeaseID) error {
			if err := f.put(ctx, client, lease, at.URL); err != nil {
				return err
			}
			ready()
			backoff.Reset()
			<-ctx.Done()
			return nil
		})
		if err != nil && ctx.Err() == nil {
			f.config.Log.Warn("cannot register the nodes; trying again", "error", err)
		}
		backoff.Wait(ctx)
	}
	return nil
}

func (f *fleet) put(ctx context.Context, client *clientv3.Client, lease clientv3.LeaseID, url string) error {
	var puts []clientv3.Op
	for i := range f.config.Nodes {
		id := nodeID(i)
		value, err := json.Marshal(membership.Node{
			NodeID: id, ClusterID: f.config.Cluster, AgentURL: agentURL(url, i), JournalID: f.agents[id].JournalID(),
			Attributes: map[string]any{"zone": string("abc"[i%3])}, StoreID: id, StoreVersion: "1.0.0", Status: wire.StatusHealthy,
			Role: "SECONDARY", Kinds: f.agents[id].Kinds(), AgentVersion: f.config.Version, StartTS: f.begin,
		})
		if err != nil {
			return fmt.Errorf("encode the key of node %s: %w", id, err)
		}
		key := strings.TrimSuffix(f.config.Prefix, "/") + "/clusters/" + f.config.Cluster + "/nodes/" + id
		puts = append(puts, clientv3.OpPut(key, string(value), clientv3.WithLease(lease)))
		if len(puts) < maxPuts && i < f.config.Nodes-1 {
			continue
		}
		if _, err := client.Txn(ctx).Then(puts...).Commit(); err != nil {
			return fmt.Errorf("write the keys of the nodes: %w", err)
		}
		puts = puts[:0]
	}
	return nil
}
