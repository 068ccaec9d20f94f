package dev

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/errgroup"

	"github.com/hashicorp/go-hclog"

	"github.com/replicante-io/playbooks/agent"
	"github.com/replicante-io/playbooks/agent/wire"
	"github.com/replicante-io/playbooks/internal/etcd"
	"github.com/replicante-io/playbooks/internal/node"
)

// fleet is the agents, all behind one port.
type fleet struct {
	listener net.Listener
	client   *clientv3.Client
	nodes    map[string]*node.Node
	log      hclog.Logger
}

// newFleet makes the agents node-1, node-2 …: zones a, b and c in turn, the first one the primary.
func newFleet(c Config, endpoint string) (*fleet, error) {
	dir := filepath.Join(c.Data, "agents")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make a directory for the agents: %w", err)
	}
	client, err := etcd.Dial(etcd.DialConfig{Endpoints: []string{endpoint}})
	if err != nil {
		return nil, err
	}
	listener, err := listenAsBefore(filepath.Join(dir, "port"))
	if err != nil {
		_ = client.Close()
		return nil, err
	}
	f := &fleet{listener: listener, client: client, nodes: map[string]*node.Node{}, log: c.Log}
	for i := range c.Agents {
		id := "node-" + strconv.Itoa(i+1)
		role := "SECONDARY"
		if i == 0 {
			role = "PRIMARY"
		}
		f.nodes[id] = node.New(node.Config{
			Agent: agent.Config{
				NodeID: id, ClusterID: Cluster, DataDir: filepath.Join(dir, id),
				Attributes: map[string]any{"zone": string("abc"[i%3])},
				Probe: func(context.Context) (agent.Info, error) {
					return agent.Info{Status: wire.StatusHealthy, Role: role, StoreID: id, StoreVersion: "1.0.0"}, nil
				},
				Log: c.Log.Named("agent").With("node", id),
			},
			URL: "http://" + listener.Addr().String() + "/agents/" + id, Version: c.Version,
			Etcd: client, Prefix: prefix, TTL: leaseTTL, Log: c.Log,
		})
	}
	return f, nil
}

// Run serves the agents until ctx ends.
func (f *fleet) Run(ctx context.Context) error {
	mux := http.NewServeMux()
	agent.Mount(mux, "/agents/{agent}", func(r *http.Request) *agent.Agent {
		if n := f.nodes[r.PathValue("agent")]; n != nil {
			return n.Agent()
		}
		return nil
	})
	work, ctx := errgroup.WithContext(ctx)
	work.Go(func() error { return node.Serve(ctx, f.listener, mux, len(f.nodes), nil, f.log) })
	for _, n := range f.nodes {
		work.Go(func() error { return n.Run(ctx) })
	}
	return work.Wait()
}

func (f *fleet) Close() {
	_ = f.listener.Close()
	_ = f.client.Close()
}

// The agents' ports: below those that systems give to whoever connects somewhere, so that none is gone by accident.
const firstPort, lastPort = 16100, 16999

// listenAsBefore listens on the port that the file names, and otherwise on a free one that it then names: an action
// that was saved with its agent's URL in an earlier life still reaches its agent.
func listenAsBefore(file string) (net.Listener, error) {
	text, err := os.ReadFile(file)
	if err == nil {
		listener, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strings.TrimSpace(string(text))))
		if err != nil {
			return nil, fmt.Errorf("listen for the agents where they were before: %w: end what uses the port, "+
				"or remove %s (what was in flight is then unknown)", err, file)
		}
		return listener, nil
	}
	if !os.IsNotExist(err) {
		return nil, fmt.Errorf("read the agents' port: %w", err)
	}
	ports := lastPort - firstPort + 1
	start := rand.IntN(ports)
	for i := range ports {
		var listener net.Listener
		port := strconv.Itoa(firstPort + (start+i)%ports)
		if listener, err = net.Listen("tcp", "127.0.0.1:"+port); err != nil {
			continue
		}
		if err := os.WriteFile(file, []byte(port+"\n"), 0o600); err != nil {
			_ = listener.Close()
			return nil, fmt.Errorf("write the agents' port: %w", err)
		}
		return listener, nil
	}
	return nil, fmt.Errorf("listen for the agents: %w", err)
}
