//go:build integration

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/replicante-io/playbooks/api/client"
	"github.com/replicante-io/playbooks/internal/etcd/embedded"
	"github.com/replicante-io/playbooks/internal/testenv"
	"github.com/replicante-io/playbooks/record"
)

// stopTimeout bounds how long a replica takes to end after SIGTERM, whatever it cannot reach.
const stopTimeout = 8 * time.Second

// TestAReplicaStopsWithinSecondsWhateverItCannotReach stops replicas in the middle of a run when they can no longer reach etcd or
// the store: connections are refused, or nothing that they send arrives.
func TestAReplicaStopsWithinSecondsWhateverItCannotReach(t *testing.T) {
	mongo, err := url.Parse(testenv.Mongo(t))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if out, err := exec.Command("go", "build", "-o", dir+"/", ".", "../repliagent").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	etcd, err := embedded.Start(t.Context(), filepath.Join(dir, "etcd"), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(etcd.Close)
	works := func(*proxy) {}
	for _, c := range []struct {
		name        string
		etcd, store func(*proxy)
	}{
		{"nothing", works, works},
		{"etcd-refuses", (*proxy).refuse, works},
		{"etcd-does-not-answer", (*proxy).drop, works},
		{"store-refuses", works, (*proxy).refuse},
		{"store-does-not-answer", works, (*proxy).drop},
		{"neither-answers", (*proxy).drop, (*proxy).drop},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			toEtcd, toStore := newProxy(t, etcd.Clients[0].Addr().String()), newProxy(t, mongo.Host)
			program(t, dir, "repliagent", fmt.Sprintf(`
node: {id: n, cluster: c}
api: {listen: %s}
etcd: {endpoints: [%s], prefix: /%s, lease_ttl: 5s}
data_dir: %s
actions:
  append: {command: [/bin/sleep, "0.2"], timeout: 30s}
`, freeAddress(t), etcd.Endpoint, c.name, filepath.Join(dir, c.name)), "agent-"+c.name)
			listen := freeAddress(t)
			core := program(t, dir, "replicore", fmt.Sprintf(`
name: core-1
api: {listen: %s}
etcd: {endpoints: [http://%s], prefix: /%s, lease_ttl: 5s}
store: {url: "mongodb://%s/?directConnection=true", database: stop-%s}
`, listen, toEtcd.Addr(), c.name, toStore.Addr(), uuid.NewString()), "core-"+c.name, "server")
			api, err := client.New(client.Config{Servers: []string{"http://" + listen}, Patience: time.Minute})
			if err != nil {
				t.Fatal(err)
			}
			await(t, "the control plane knows the node", func() bool {
				nodes, err := api.Nodes(t.Context(), "c")
				return err == nil && len(nodes) == 1
			})
			if _, err := api.Apply(t.Context(), []client.File{{Name: "append.yaml", Data: []byte(appendPlaybook(2, 50))}}); err != nil {
				t.Fatal(err)
			}
			run, err := api.Start(t.Context(), record.RunRequest{Playbook: "append", Cluster: "c"})
			if err != nil {
				t.Fatal(err)
			}
			err = api.Follow(t.Context(), run.ID, 0, func(e record.Event) error {
				if e.Type == record.EventBatchStarted {
					return context.Canceled
				}
				return nil
			})
			if !errors.Is(err, context.Canceled) {
				t.Fatal(err)
			}

			c.etcd(toEtcd)
			c.store(toStore)
			<-time.After(time.Second) // the replica has noticed
			begin := time.Now()
			_ = core.Process.Signal(syscall.SIGTERM)
			timeout := time.AfterFunc(2*stopTimeout, func() { _ = core.Process.Signal(syscall.SIGQUIT) })
			err = core.Wait()
			if took := time.Since(begin); !timeout.Stop() || took > stopTimeout || err != nil {
				t.Errorf("it took %v: %v", took, err)
			} else {
				t.Logf("it took %v", took)
			}
		})
	}
}

// proxy forwards connections to a server, until it refuses them or drops their data.
type proxy struct {
	net.Listener
	to       string
	dropping atomic.Bool
	mu       sync.Mutex
	conns    []net.Conn
}

func newProxy(t *testing.T, to string) *proxy {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{Listener: listener, to: to}
	var forwarding sync.WaitGroup
	t.Cleanup(func() {
		p.refuse()
		forwarding.Wait()
	})
	forwarding.Go(func() {
		for {
			near, err := listener.Accept()
			if err != nil {
				return
			}
			forwarding.Go(func() { p.forward(near) })
		}
	})
	return p
}

func (p *proxy) forward(near net.Conn) {
	far, err := net.Dial("tcp", p.to)
	if err != nil {
		_ = near.Close()
		return
	}
	p.mu.Lock()
	p.conns = append(p.conns, near, far)
	p.mu.Unlock()
	var both sync.WaitGroup
	one := func(to, from net.Conn) {
		_, _ = io.Copy(dropper{to, p}, from)
		_ = to.Close()
	}
	both.Go(func() { one(near, far) })
	both.Go(func() { one(far, near) })
	both.Wait()
}

// dropper drops what is written while its proxy does.
type dropper struct {
	io.Writer
	proxy *proxy
}

func (d dropper) Write(data []byte) (int, error) {
	if d.proxy.dropping.Load() {
		return len(data), nil
	}
	return d.Writer.Write(data)
}

func (p *proxy) refuse() {
	_ = p.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, conn := range p.conns {
		_ = conn.Close()
	}
}

func (p *proxy) drop() { p.dropping.Store(true) }
