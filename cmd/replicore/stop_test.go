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

// stopTime is how long a replica may take to end after SIGTERM, whatever is away.
const stopTime = 8 * time.Second

// TestAStopTakesSecondsWhateverIsAway stops replicas in the middle of a run when they do not reach etcd or the store any
// more: nothing listens there, or nothing that they send arrives.
func TestAStopTakesSecondsWhateverIsAway(t *testing.T) {
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
	works := func(*wire) {}
	for _, c := range []struct {
		name        string
		etcd, store func(*wire)
	}{
		{"nothing", works, works},
		{"etcd-refuses", (*wire).refuse, works},
		{"etcd-is-silent", (*wire).hush, works},
		{"store-refuses", works, (*wire).refuse},
		{"store-is-silent", works, (*wire).hush},
		{"both-are-silent", (*wire).hush, (*wire).hush},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			toEtcd, toStore := newWire(t, etcd.Clients[0].Addr().String()), newWire(t, mongo.Host)
			program(t, dir, "repliagent", fmt.Sprintf(`
node: {id: n, cluster: c}
api: {listen: %s}
etcd: {endpoints: [%s], prefix: /%s, lease_ttl: 5s}
data_dir: %s
actions:
  append: {command: [/bin/sleep, "0.2"], timeout: 30s}
`, free(t), etcd.Endpoint, c.name, filepath.Join(dir, c.name)), "agent-"+c.name)
			listen := free(t)
			core := program(t, dir, "replicore", fmt.Sprintf(`
name: core-1
api: {listen: %s}
etcd: {endpoints: [http://%s], prefix: /%s, lease_ttl: 5s}
store: {url: "mongodb://%s/?directConnection=true", database: stop-%s}
`, listen, toEtcd.Addr(), c.name, toStore.Addr(), uuid.NewString()), "core-"+c.name, "server")
			plane, err := client.New(client.Config{Servers: []string{"http://" + listen}, Patience: time.Minute})
			if err != nil {
				t.Fatal(err)
			}
			await(t, "the node is known", func() bool {
				nodes, err := plane.Nodes(t.Context(), "c")
				return err == nil && len(nodes) == 1
			})
			if _, err := plane.Apply(t.Context(), []client.File{{Name: "append.yaml", Data: []byte(appendBook(2, 50))}}); err != nil {
				t.Fatal(err)
			}
			run, err := plane.Start(t.Context(), record.RunRequest{Playbook: "append", Cluster: "c"})
			if err != nil {
				t.Fatal(err)
			}
			err = plane.Follow(t.Context(), run.ID, 0, func(e record.Event) error {
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
			<-time.After(time.Second) // the replica has begun to miss them
			began := time.Now()
			_ = core.Process.Signal(syscall.SIGTERM)
			late := time.AfterFunc(2*stopTime, func() { _ = core.Process.Signal(syscall.SIGQUIT) })
			err = core.Wait()
			if took := time.Since(began); !late.Stop() || took > stopTime || err != nil {
				t.Errorf("it took %v: %v", took, err)
			} else {
				t.Logf("it took %v", took)
			}
		})
	}
}

// wire carries connections to a server, until it refuses them or drops what they carry.
type wire struct {
	net.Listener
	to     string
	silent atomic.Bool
	mu     sync.Mutex
	conns  []net.Conn
}

func newWire(t *testing.T, to string) *wire {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{Listener: listener, to: to}
	var carrying sync.WaitGroup
	t.Cleanup(func() {
		w.refuse()
		carrying.Wait()
	})
	carrying.Go(func() {
		for {
			near, err := listener.Accept()
			if err != nil {
				return
			}
			carrying.Go(func() { w.carry(near) })
		}
	})
	return w
}

func (w *wire) carry(near net.Conn) {
	far, err := net.Dial("tcp", w.to)
	if err != nil {
		_ = near.Close()
		return
	}
	w.mu.Lock()
	w.conns = append(w.conns, near, far)
	w.mu.Unlock()
	var both sync.WaitGroup
	one := func(to, from net.Conn) {
		_, _ = io.Copy(quiet{to, w}, from)
		_ = to.Close()
	}
	both.Go(func() { one(near, far) })
	both.Go(func() { one(far, near) })
	both.Wait()
}

// quiet drops what is written while its wire is silent.
type quiet struct {
	io.Writer
	wire *wire
}

func (q quiet) Write(p []byte) (int, error) {
	if q.wire.silent.Load() {
		return len(p), nil
	}
	return q.Writer.Write(p)
}

func (w *wire) refuse() {
	_ = w.Close()
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, conn := range w.conns {
		_ = conn.Close()
	}
}

func (w *wire) hush() { w.silent.Store(true) }
