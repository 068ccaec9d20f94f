package dev_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/replicante-io/playbooks/agent"
	"github.com/replicante-io/playbooks/api/client"
	"github.com/replicante-io/playbooks/internal/dev"
	"github.com/replicante-io/playbooks/internal/etcd"
	"github.com/replicante-io/playbooks/internal/node"
	"github.com/replicante-io/playbooks/internal/testenv"
	"github.com/replicante-io/playbooks/record"
	"github.com/replicante-io/playbooks/store"
	"github.com/replicante-io/playbooks/store/sqlite"
)

// life runs a whole installation while do works with it.
func life(t *testing.T, c dev.Config, do func(plane *client.Client)) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ready, ended := make(chan string, 1), make(chan error, 1)
	c.Listen, c.Log, c.Ready = "127.0.0.1:0", hclog.NewNullLogger(), func(url string) { ready <- url }
	go func() { ended <- dev.Run(ctx, c) }()
	select {
	case url := <-ready:
		plane, err := client.New(client.Config{Servers: []string{url}})
		if err != nil {
			t.Fatal(err)
		}
		do(plane)
	case err := <-ended:
		t.Fatalf("it ended: %v", err)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("it ended with %v", err)
	}
}

func applyExample(t *testing.T, plane *client.Client, name string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../../examples", name+".yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := plane.Apply(t.Context(), []client.File{{Name: name, Data: text}}); err != nil {
		t.Fatal(err)
	}
}

// follow returns the run once it has ended.
func follow(t *testing.T, plane *client.Client, id string) record.Run {
	t.Helper()
	err := plane.Follow(t.Context(), id, 0, func(e record.Event) error {
		if e.Type == record.EventRunFinished {
			return context.Canceled
		}
		return nil
	})
	if err == nil {
		t.Fatal("the run did not end")
	}
	run, err := plane.Run(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return run
}

func TestTheExamplesEndAsTheySay(t *testing.T) {
	cases := []struct {
		playbook string
		params   map[string]any
		want     record.RunState
		counts   map[record.NodeState]int
	}{
		{"rolling-restart", map[string]any{"ticks": 0}, record.RunDone, map[record.NodeState]int{record.NodeDone: 4}},
		{"failing-node", nil, record.RunFailed, map[record.NodeState]int{record.NodeDone: 1, record.NodeFailed: 1, record.NodeNotReached: 2}},
		{"by-zone", nil, record.RunDone, map[record.NodeState]int{record.NodeDone: 2, record.NodeSkipped: 2}},
	}
	life(t, dev.Config{Agents: 4}, func(plane *client.Client) {
		for _, c := range cases {
			t.Run(c.playbook, func(t *testing.T) {
				applyExample(t, plane, c.playbook)
				run, err := plane.Start(t.Context(), record.RunRequest{Playbook: c.playbook, Cluster: dev.Cluster, Params: c.params})
				if err != nil {
					t.Fatal(err)
				}
				run = follow(t, plane, run.ID)
				if run.State != c.want {
					t.Errorf("it ended %s: %+v", run.State, run.Error)
				}
				for state, n := range c.counts {
					if run.Counts[state] != n {
						t.Errorf("nodes ended %v, want %v", run.Counts, c.counts)
					}
				}
			})
		}
	})
}

func TestNodesAreThoseOfTheDemo(t *testing.T) {
	life(t, dev.Config{Agents: 4}, func(plane *client.Client) {
		nodes, err := plane.Nodes(t.Context(), dev.Cluster)
		if err != nil || len(nodes) != 4 {
			t.Fatalf("nodes %v, %v", nodes, err)
		}
		for i, n := range nodes {
			role := "SECONDARY"
			if i == 0 {
				role = "PRIMARY"
			}
			if want := []string{"a", "b", "c", "a"}[i]; n.Attributes["zone"] != want || n.Status != record.StatusHealthy || n.Role != role {
				t.Errorf("%s is %+v", n.NodeID, n)
			}
		}
	})
}

func TestARunGoesOnInTheNextLife(t *testing.T) {
	data := t.TempDir()
	var id, url string
	life(t, dev.Config{Agents: 3, Data: data}, func(plane *client.Client) {
		applyExample(t, plane, "rolling-restart")
		run, err := plane.Start(t.Context(), record.RunRequest{Playbook: "rolling-restart", Cluster: dev.Cluster})
		if err != nil {
			t.Fatal(err)
		}
		id = run.ID
		_ = plane.Follow(t.Context(), id, 0, func(e record.Event) error {
			if e.Type == record.EventBatchStarted && e.Stage == "replicas" {
				return context.Canceled
			}
			return nil
		})
		nodes, err := plane.Nodes(t.Context(), dev.Cluster)
		if err != nil {
			t.Fatal(err)
		}
		url = nodes[0].AgentURL
	})
	life(t, dev.Config{Agents: 3, Data: data}, func(plane *client.Client) {
		run := follow(t, plane, id)
		if run.State != record.RunDone || run.Term < 2 {
			t.Errorf("it ended %s in term %d: %+v", run.State, run.Term, run.Error)
		}
		nodes, err := plane.Nodes(t.Context(), dev.Cluster)
		if err != nil || nodes[0].AgentURL != url {
			t.Errorf("the agent was at %s and is now %v, %v", url, nodes, err)
		}
	})
}

func TestOneDataDirectoryHasOneProcess(t *testing.T) {
	data := t.TempDir()
	life(t, dev.Config{Agents: 1, Data: data}, func(*client.Client) {
		err := dev.Run(t.Context(), dev.Config{Data: data, Listen: "127.0.0.1:0", Log: hclog.NewNullLogger()})
		if err == nil || !strings.Contains(err.Error(), "another process uses "+data) {
			t.Errorf("got %v", err)
		}
	})
}

func TestAStoreThatItDidNotCreateIsRefused(t *testing.T) {
	data := t.TempDir()
	url := "sqlite://" + filepath.Join(data, "core.db") // where it would keep its own
	s, err := sqlite.Open(t.Context(), sqlite.Config{Config: store.Config{URL: url}})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(s.Init(t.Context()), s.Close()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for _, c := range []dev.Config{{Store: url}, {Data: data}} {
		c.Listen, c.Log = "127.0.0.1:0", hclog.NewNullLogger()
		if err := dev.Run(ctx, c); err == nil || !strings.Contains(err.Error(), "was not created by replicore dev") {
			t.Errorf("got %v", err)
		}
	}
	s, err = sqlite.Open(t.Context(), sqlite.Config{Config: store.Config{URL: url}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if term, err := s.Term(t.Context()); err != nil || term.Term != 0 {
		t.Errorf("it began term %d, %v", term.Term, err)
	}
}

func TestOneStoreHasOneProcess(t *testing.T) {
	url := testenv.MongoSet(t, 1).URL
	for range 2 { // also in a later life, without what the first one kept
		life(t, dev.Config{Agents: 1, Store: url}, func(plane *client.Client) {
			leader, err := plane.Leader(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			err = dev.Run(t.Context(), dev.Config{Store: url, Listen: "127.0.0.1:0", Log: hclog.NewNullLogger()})
			if err == nil || !strings.Contains(err.Error(), "another replicore dev uses it") {
				t.Errorf("got %v", err)
			}
			if after, err := plane.Leader(t.Context()); err != nil || after != leader {
				t.Errorf("the leader was %+v and is %+v, %v", leader, after, err)
			}
		})
	}
}

func TestItServesThisMachineAlone(t *testing.T) {
	for _, listen := range []string{"0.0.0.0:0", ":0", "192.0.2.1:0", "nonsense"} {
		if err := dev.Run(t.Context(), dev.Config{Listen: listen, Log: hclog.NewNullLogger()}); err == nil {
			t.Errorf("it listens on %q", listen)
		}
		if err := dev.Run(t.Context(), dev.Config{Listen: "127.0.0.1:0", Etcd: listen, Log: hclog.NewNullLogger()}); err == nil {
			t.Errorf("its etcd listens on %q", listen)
		}
	}
}

// guest runs an agent of its own, of cluster own, which is registered in the etcd at address. It returns what ends it.
func guest(t *testing.T, address string, config agent.Config) (end func()) {
	t.Helper()
	client3, err := etcd.Dial(etcd.DialConfig{Endpoints: []string{"http://" + address}})
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	config.ClusterID, config.DataDir, config.Log = "own", t.TempDir(), hclog.NewNullLogger()
	guest := node.New(node.Config{
		Agent: config, URL: "http://" + listener.Addr().String(),
		Etcd: client3, Prefix: "/replicante", TTL: 5 * time.Second, Log: hclog.NewNullLogger(),
	})
	server := &httptest.Server{Listener: listener, Config: &http.Server{Handler: guest.Handler()}}
	server.Start()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- guest.Run(ctx) }()
	end = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		server.Close()
		_ = client3.Close()
	})
	t.Cleanup(end)
	return end
}

// joined waits until cluster own has so many healthy nodes.
func joined(t *testing.T, plane *client.Client, want int) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		nodes, err := plane.Nodes(t.Context(), "own")
		healthy := 0
		for _, n := range nodes {
			if n.Present && n.Status == record.StatusHealthy {
				healthy++
			}
		}
		if healthy == want {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the agents did not join: %+v, %v", nodes, err)
		}
	}
}

func etcdAddress(t *testing.T) string { return "127.0.0.1:" + strconv.Itoa(testenv.FreePort(t)) }

func TestAnAgentOfItsOwnIsThereInEveryLife(t *testing.T) {
	address := etcdAddress(t)
	guest(t, address, agent.Config{NodeID: "guest"})
	data := t.TempDir()
	for range 2 {
		life(t, dev.Config{Data: data, Etcd: address}, func(plane *client.Client) { joined(t, plane, 1) })
	}
}
