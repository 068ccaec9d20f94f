// Package rig runs the programs of a whole installation on loopback, each in a process of its own, to be killed, frozen,
// cut off and started again: for chaos, for measuring failovers, and for tests. What it started ends with its process.
package rig

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
)

// Config says what an installation consists of.
type Config struct {
	Dir      string // for everything that it writes; what is there already is found again
	Programs string // directory with what Build builds
	Mongod   string // program; not needed where Store says another one

	Etcds, Replicas, Mongods, Agents int

	Store     string   // URL, instead of a MongoDB of its own
	Database  string   // in it; "replicante" if empty
	Endpoints []string // of an etcd that runs elsewhere, instead of its own
	// LeaseTTL is of the election.
	LeaseTTL time.Duration
	// AgentYAML is what else is in the configuration of an agent: its actions, its probe, its attributes' line.
	AgentYAML func(id string) string
	// Cluster names the cluster that the agents' nodes belong to; "chaos" if empty.
	Cluster string
	// ClusterOf names the clusters of agents instead, by their number from 0.
	ClusterOf func(i int) string
	// Env is added to the environment of replicas and agents.
	Env []string
}

// Rig is a running installation.
type Rig struct {
	Config
	Mongo    *Set // nil where Store is not ours
	Etcds    []*Member
	Replicas []*Member
	Agents   []*Member
	Nodes    []string // ids, in the order of Agents
}

// Build builds the programs into dir, with these tags of Go's, from the source tree that contains the working directory.
func Build(ctx context.Context, dir string, tags ...string) error {
	const house = "github.com/replicante-io/playbooks/"
	build := exec.CommandContext(ctx, "go", "build", "-tags", strings.Join(tags, ","), "-o", dir+string(filepath.Separator),
		house+"cmd/replicore", house+"cmd/repliagent", house+"tests/robustness/cluster/etcd")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build the programs: %w\n%s", err, out)
	}
	return nil
}

// New starts an installation and waits until every part of it serves. After an error nothing runs any more.
func New(ctx context.Context, config Config) (*Rig, error) {
	if config.Cluster == "" {
		config.Cluster = "chaos"
	}
	if config.Database == "" {
		config.Database = "replicante"
	}
	if config.ClusterOf == nil {
		config.ClusterOf = func(int) string { return config.Cluster }
	}
	r := &Rig{Config: config}
	if err := r.begin(ctx); err != nil {
		r.End()
		return nil, err
	}
	return r, nil
}

func (r *Rig) begin(ctx context.Context) error {
	if err := os.MkdirAll(r.Dir, 0o700); err != nil {
		return err
	}
	var starting sync.WaitGroup
	var ofMongo, ofEtcd error
	if r.Mongods > 0 {
		starting.Go(func() { r.Mongo, ofMongo = NewSet(r.Mongod, filepath.Join(r.Dir, "mongo"), r.Mongods) })
	}
	starting.Go(func() { ofEtcd = r.beginEtcd(ctx) })
	starting.Wait()
	if err := errors.Join(ofMongo, ofEtcd); err != nil {
		return err
	}
	if r.Mongo != nil && r.Store == "" {
		r.Store = r.Mongo.URL
	}
	if len(r.Endpoints) == 0 {
		r.Endpoints = urls(r.Etcds)
	}
	if err := r.beginReplicas(ctx); err != nil {
		return err
	}
	return r.beginAgents(ctx)
}

// End kills whatever runs.
func (r *Rig) End() {
	var ending sync.WaitGroup
	for _, members := range [][]*Member{r.Agents, r.Replicas, r.Etcds} {
		for _, m := range members {
			if m.Process != nil {
				ending.Go(func() {
					m.Kill()
					_ = os.Remove(m.socket)
				})
			}
		}
	}
	ending.Wait()
	if r.Mongo != nil {
		r.Mongo.End()
	}
}

// Servers are the URLs of the replicas.
func (r *Rig) Servers() []string { return urls(r.Replicas) }

func urls(members []*Member) []string {
	all := make([]string, len(members))
	for i, m := range members {
		all[i] = m.URL
	}
	return all
}

// member prepares a program of the installation. What it says is in <dir>/<name>.log.
func (r *Rig) member(name, program, probe string, port int, args ...string) *Member {
	socket := filepath.Join(os.TempDir(), fmt.Sprintf("faults-%d-%d", os.Getpid(), port)) // paths of sockets must be short
	return &Member{
		Name: name, URL: fmt.Sprintf("http://127.0.0.1:%d", port), program: filepath.Join(r.Programs, program), args: args,
		env: append([]string{"REPLICANTE_FAILPOINTS=" + socket}, r.Env...), socket: socket,
		log: filepath.Join(r.Dir, name+".log"), probe: probe,
	}
}

func (r *Rig) beginEtcd(ctx context.Context) error {
	var cluster []string
	peers := make([]string, r.Config.Etcds)
	ports := make([]int, r.Config.Etcds)
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
		cluster = append(cluster, fmt.Sprintf("etcd-%d=%s", i+1, peers[i]))
	}
	for i, port := range ports {
		name := fmt.Sprintf("etcd-%d", i+1)
		url := fmt.Sprintf("http://127.0.0.1:%d", port)
		m := r.member(name, "etcd", "/health", port, "--name", name, "--data-dir", filepath.Join(r.Dir, name),
			"--listen-client-urls", url, "--advertise-client-urls", url,
			"--listen-peer-urls", peers[i], "--initial-advertise-peer-urls", peers[i],
			"--initial-cluster", strings.Join(cluster, ","), "--heartbeat-interval", "100", "--election-timeout", "1000",
			"--log-level", "warn")
		r.Etcds = append(r.Etcds, m)
		if err := m.Launch(); err != nil {
			return err
		}
	}
	return r.serve(ctx, r.Etcds)
}

func (r *Rig) serve(ctx context.Context, members []*Member) error {
	for _, m := range members {
		if err := m.Serves(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (r *Rig) beginReplicas(ctx context.Context) error {
	for i := range r.Config.Replicas {
		port, err := FreePort()
		if err != nil {
			return err
		}
		name := fmt.Sprintf("core-%d", i+1)
		m, err := r.configured(name, "replicore", "/readyz", port, fmt.Sprintf(`
name: %s
api: {listen: 127.0.0.1:%d}
etcd: {endpoints: [%s], lease_ttl: %s}
store: {url: "%s", database: %s}
membership: {grace: 15s}
log: {level: debug, format: json}
`, name, port, strings.Join(r.Endpoints, ", "), r.LeaseTTL, r.Store, r.Database), "server")
		if err != nil {
			return err
		}
		r.Replicas = append(r.Replicas, m)
		if err := m.Launch(); err != nil {
			return err
		}
	}
	return r.serve(ctx, r.Replicas)
}

func (r *Rig) beginAgents(ctx context.Context) error {
	for i := range r.Config.Agents {
		port, err := FreePort()
		if err != nil {
			return err
		}
		id := fmt.Sprintf("node-%02d", i+1)
		m, err := r.configured("agent-"+id, "repliagent", "/api/unstable/info/node", port, fmt.Sprintf(`
node: {id: %s, cluster: %s, attributes: {zone: %c}}
api: {listen: 127.0.0.1:%d}
etcd: {endpoints: [%s], lease_ttl: 10s}
data_dir: %s
%s
`, id, r.ClusterOf(i), 'a'+rune(i%3), port, strings.Join(r.Endpoints, ", "), filepath.Join(r.Dir, "agent-"+id), r.AgentYAML(id)))
		if err != nil {
			return err
		}
		r.Agents, r.Nodes = append(r.Agents, m), append(r.Nodes, id)
		if err := m.Launch(); err != nil {
			return err
		}
	}
	return r.serve(ctx, r.Agents)
}

func (r *Rig) configured(name, program, probe string, port int, yaml string, args ...string) (*Member, error) {
	file := filepath.Join(r.Dir, name+".yaml")
	if err := os.WriteFile(file, []byte(yaml), 0o600); err != nil {
		return nil, err
	}
	return r.member(name, program, probe, port, append(args, "--config", file)...), nil
}

// Leader waits until a replica says of itself that it leads, and is that one.
func (r *Rig) Leader(ctx context.Context) (*Member, error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for {
		for _, m := range r.Replicas {
			var health struct{ Leading bool }
			asking, stop := context.WithTimeout(ctx, 500*time.Millisecond) // a frozen one does not answer
			text, err := m.get(asking, "/healthz")
			stop()
			if err == nil && json.Unmarshal(text, &health) == nil && health.Leading {
				return m, nil
			}
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("no replica leads: %w", ctx.Err())
		case <-time.After(20 * time.Millisecond):
		}
	}
}
