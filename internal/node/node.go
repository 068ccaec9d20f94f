// Package node is one agent as a library: the agent itself, and its node's key in etcd, which says where the agent is
// and how the node was when it last changed.
package node

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/errgroup"

	"github.com/replicante-io/playbooks/agent"
	"github.com/replicante-io/playbooks/agent/wire"
	"github.com/replicante-io/playbooks/membership"
)

// Config says what the node is, and where it is registered.
type Config struct {
	Agent agent.Config // OnInfo, Warning and Version are set here
	URL   string       // of the agent, as others reach it
	// CheckURL has the agent call itself under its URL, and warn while that fails.
	CheckURL bool
	Etcd     *clientv3.Client
	Prefix   string
	TTL      time.Duration
	// Version is the agent program's.
	Version string
	Log     hclog.Logger
}

// Node is one agent with its key.
type Node struct {
	config Config
	agent  *agent.Agent

	mu        sync.Mutex
	said      membership.Node // what the key is to say
	reason    string          // why the node's status is what it is
	warned    string          // what is wrong with the URL
	registrar *membership.Registrar
}

// New makes a node that does nothing yet.
func New(config Config) *Node {
	n := &Node{config: config, said: membership.Node{
		NodeID: config.Agent.NodeID, ClusterID: config.Agent.ClusterID, AgentURL: config.URL,
		Attributes: config.Agent.Attributes, Status: wire.StatusUnknown,
		AgentVersion: config.Version, StartTS: time.Now().UTC().Truncate(time.Millisecond),
	}}
	if config.Agent.ProbeTimeout > 0 {
		n.said.ProbeTimeout = config.Agent.ProbeTimeout.String()
	}
	config.Agent.OnInfo, config.Agent.Warning = n.publish, n.warning
	config.Agent.Version = wire.AgentVersion{Number: config.Version}
	n.agent = agent.New(config.Agent)
	if kinds := n.agent.Kinds(); len(strings.Join(kinds, "")) <= maxKinds {
		n.said.Kinds = kinds
	}
	return n
}

// maxKinds is how many bytes of kinds of actions a node's key may have. An agent with more is asked for them.
const maxKinds = 8 << 10

// Handler serves the agent.
func (n *Node) Handler() http.Handler { return n.agent.Handler() }

// Agent is for agent.Mount, where many agents share a server.
func (n *Node) Agent() *agent.Agent { return n.agent }

// Run opens the agent, keeps its key, and works until ctx ends. The key is not there before the agent answers.
func (n *Node) Run(ctx context.Context) error {
	work, ctx := errgroup.WithContext(ctx)
	work.Go(func() error {
		if err := n.agent.Run(ctx); err != nil && !errors.Is(err, context.Canceled) {
			return fmt.Errorf("agent of %s: %w", n.config.Agent.NodeID, err)
		}
		return nil
	})
	work.Go(func() error {
		select {
		case <-ctx.Done():
			return nil
		case <-n.agent.Ready():
		}
		registrar := n.register()
		if n.config.CheckURL {
			work.Go(func() error {
				n.checkAddress(ctx)
				return nil
			})
		}
		return registrar.Run(ctx)
	})
	return work.Wait()
}

// register makes the registrar, with what has been published so far.
func (n *Node) register() *membership.Registrar {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.said.JournalID = n.agent.JournalID()
	n.registrar = membership.NewRegistrar(membership.RegistrarConfig{
		Client: n.config.Etcd, Prefix: n.config.Prefix, TTL: n.config.TTL, Node: n.said, Log: n.config.Log,
	})
	return n.registrar
}

// publish puts what is known of the node into its key.
func (n *Node) publish(info agent.Info) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.reason = info.StatusReason()
	n.said.Status, n.said.StatusReason = info.Status, agent.JoinReasons(n.warned, n.reason)
	n.said.Role, n.said.Attributes = info.Role, info.Attributes
	n.said.StoreID, n.said.StoreVersion = info.StoreID, info.StoreVersion
	n.said.Shards = nil
	if info.Shards != nil {
		n.said.Shards = []membership.Shard{}
	}
	for _, s := range info.Shards {
		n.said.Shards = append(n.said.Shards, membership.Shard{ID: s.ID, Role: s.Role, Lag: (*membership.Lag)(s.Lag)})
	}
	if n.registrar != nil {
		n.registrar.Update(n.said)
	}
}
