// Package cluster runs a whole installation on loopback: the real programs, each in a process of its own, which tests kill,
// freeze, cut off and start again. The processes end with the one that started them.
package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/replicante-io/playbooks/internal/retry"
)

// Config describes an installation.
type Config struct {
	Dir      string // for everything that it writes; an installation can be started on what an earlier one wrote
	Programs string // directory into which Build has built
	Mongod   string // program; not needed with Store

	Etcds, Replicas, Mongods, Agents int

	Store     string   // URL of a primary store that runs elsewhere, instead of Mongods
	Database  string   // in the store; default: replicante
	Endpoints []string // of an etcd that runs elsewhere, instead of Etcds
	// LeaseTTL is etcd.lease_ttl of the replicas.
	LeaseTTL time.Duration
	// AgentYAML returns the rest of an agent's configuration: its actions, its probe.
	AgentYAML func(id string) string
	// Cluster is the datastore cluster of the agents' nodes; default: test.
	Cluster string
	// ClusterOf replaces Cluster: it names the cluster of each agent, by its number from 0.
	ClusterOf func(i int) string
	// Env is added to the environment of replicas and agents.
	Env []string
}

// Installation is a running installation.
type Installation struct {
	Config
	ReplicaSet *ReplicaSet // nil without Mongods
	Etcds      []*Member
	Replicas   []*Member
	Agents     []*Member
	Nodes      []string // ids, in the order of Agents
}

// Build builds the programs into dir with these build tags, from the source tree that contains the working directory.
func Build(ctx context.Context, dir string, tags ...string) error {
	const module = "github.com/replicante-io/playbooks/"
	build := exec.CommandContext(ctx, "go", "build", "-tags", strings.Join(tags, ","), "-o", dir+string(filepath.Separator),
		module+"cmd/replicore", module+"cmd/repliagent", module+"tests/robustness/cluster/etcd")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build the programs: %w\n%s", err, out)
	}
	return nil
}

// Start starts an installation and waits until every program of it serves. After an error nothing of it runs.
func Start(ctx context.Context, config Config) (*Installation, error) {
	if config.Cluster == "" {
		config.Cluster = "test"
	}
	if config.Database == "" {
		config.Database = "replicante"
	}
	if config.ClusterOf == nil {
		config.ClusterOf = func(int) string { return config.Cluster }
	}
	in := &Installation{Config: config}
	if err := in.start(ctx); err != nil {
		in.Stop()
		return nil, err
	}
	return in, nil
}

func (in *Installation) start(ctx context.Context) error {
	if err := os.MkdirAll(in.Dir, 0o700); err != nil {
		return err
	}
	var starting sync.WaitGroup
	var mongoErr, etcdErr error
	if in.Mongods > 0 {
		starting.Go(func() {
			in.ReplicaSet, mongoErr = StartReplicaSet(in.Mongod, filepath.Join(in.Dir, "mongo"), in.Mongods)
		})
	}
	starting.Go(func() { etcdErr = in.startEtcd(ctx) })
	starting.Wait()
	if err := errors.Join(mongoErr, etcdErr); err != nil {
		return err
	}
	if in.ReplicaSet != nil && in.Store == "" {
		in.Store = in.ReplicaSet.URL
	}
	if len(in.Endpoints) == 0 {
		in.Endpoints = urls(in.Etcds)
	}
	if err := in.startReplicas(ctx); err != nil {
		return err
	}
	return in.startAgents(ctx)
}

// Stop kills everything that runs.
func (in *Installation) Stop() {
	var stopping sync.WaitGroup
	for _, members := range [][]*Member{in.Agents, in.Replicas, in.Etcds} {
		for _, m := range members {
			if m.Process != nil {
				stopping.Go(func() {
					m.Kill()
					_ = os.Remove(m.socket)
				})
			}
		}
	}
	stopping.Wait()
	if in.ReplicaSet != nil {
		in.ReplicaSet.Stop()
	}
}

// Servers are the URLs of the replicas.
func (in *Installation) Servers() []string { return urls(in.Replicas) }

func urls(members []*Member) []string {
	all := make([]string, len(members))
	for i, m := range members {
		all[i] = m.URL
	}
	return all
}

// member describes a program of the installation, whose output goes to <dir>/<name>.log.
func (in *Installation) member(name, program, probe string, port int, args ...string) *Member {
	socket := filepath.Join(os.TempDir(), fmt.Sprintf("failpoints-%d-%d", os.Getpid(), port)) // paths of sockets must be short
	return &Member{
		Name: name, URL: fmt.Sprintf("http://127.0.0.1:%d", port), program: filepath.Join(in.Programs, program), args: args,
		env: append([]string{"REPLICANTE_FAILPOINTS=" + socket}, in.Env...), socket: socket,
		log: filepath.Join(in.Dir, name+".log"), probe: probe,
	}
}

func (in *Installation) startEtcd(ctx context.Context) error {
	var initial []string
	peers := make([]string, in.Config.Etcds)
	ports := make([]int, in.Config.Etcds)
	for i := range ports {
		port, err := FreePort()
		if err != nil {
			return err
		}
		peer, err := FreePort()
		if err != nil {
			return err
		}
		ports[i], peers[i] = port, fmt.Sprintf("http://127.0.0.1:%d", peer)
		initial = append(initial, fmt.Sprintf("etcd-%d=%s", i+1, peers[i]))
	}
	for i, port := range ports {
		name := fmt.Sprintf("etcd-%d", i+1)
		url := fmt.Sprintf("http://127.0.0.1:%d", port)
		m := in.member(name, "etcd", "/health", port, "--name", name, "--data-dir", filepath.Join(in.Dir, name),
			"--listen-client-urls", url, "--advertise-client-urls", url,
			"--listen-peer-urls", peers[i], "--initial-advertise-peer-urls", peers[i],
			"--initial-cluster", strings.Join(initial, ","), "--heartbeat-interval", "100", "--election-timeout", "1000",
			"--log-level", "warn")
		in.Etcds = append(in.Etcds, m)
		if err := m.Launch(); err != nil {
			return err
		}
	}
	return waitServing(ctx, in.Etcds)
}

func waitServing(ctx context.Context, members []*Member) error {
	for _, m := range members {
		if err := m.WaitServing(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (in *Installation) startReplicas(ctx context.Context) error {
	for i := range in.Config.Replicas {
		port, err := FreePort()
		if err != nil {
			return err
		}
		name := fmt.Sprintf("core-%d", i+1)
		m, err := in.configured(name, "replicore", "/readyz", port, fmt.Sprintf(`
name: %s
api: {listen: 127.0.0.1:%d}
etcd: {endpoints: [%s], lease_ttl: %s}
store: {url: "%s", database: %s}
membership: {grace: 15s}
log: {level: debug, format: json}
`, name, port, strings.Join(in.Endpoints, ", "), in.LeaseTTL, in.Store, in.Database), "server")
		if err != nil {
			return err
		}
		in.Replicas = append(in.Replicas, m)
		if err := m.Launch(); err != nil {
			return err
		}
	}
	return waitServing(ctx, in.Replicas)
}

func (in *Installation) startAgents(ctx context.Context) error {
	for i := range in.Config.Agents {
		port, err := FreePort()
		if err != nil {
			return err
		}
		id := fmt.Sprintf("node-%02d", i+1)
		m, err := in.configured("agent-"+id, "repliagent", "/api/unstable/info/node", port, fmt.Sprintf(`
node: {id: %s, cluster: %s, attributes: {zone: %c}}
api: {listen: 127.0.0.1:%d}
etcd: {endpoints: [%s], lease_ttl: 10s}
data_dir: %s
%s
`, id, in.ClusterOf(i), 'a'+rune(i%3), port, strings.Join(in.Endpoints, ", "), filepath.Join(in.Dir, "agent-"+id), in.AgentYAML(id)))
		if err != nil {
			return err
		}
		in.Agents, in.Nodes = append(in.Agents, m), append(in.Nodes, id)
		if err := m.Launch(); err != nil {
			return err
		}
	}
	return waitServing(ctx, in.Agents)
}

func (in *Installation) configured(name, program, probe string, port int, yaml string, args ...string) (*Member, error) {
	file := filepath.Join(in.Dir, name+".yaml")
	if err := os.WriteFile(file, []byte(yaml), 0o600); err != nil {
		return nil, err
	}
	return in.member(name, program, probe, port, append(args, "--config", file)...), nil
}

// Leader waits until a replica reports that it leads, and returns it.
func (in *Installation) Leader(ctx context.Context) (*Member, error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for {
		for _, m := range in.Replicas {
			var health struct{ Leading bool }
			getCtx, stop := context.WithTimeout(ctx, 500*time.Millisecond) // a frozen replica does not answer
			text, err := m.get(getCtx, "/healthz")
			stop()
			if err == nil && json.Unmarshal(text, &health) == nil && health.Leading {
				return m, nil
			}
		}
		if !retry.Sleep(ctx, 20*time.Millisecond) {
			return nil, fmt.Errorf("no replica leads: %w", ctx.Err())
		}
	}
}
