// Package etcdtest gives tests a real etcd cluster in this process, and clients whose network can be cut.
package etcdtest

import (
	"context"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/tests/v3/framework/integration"
	"go.uber.org/zap"
	"google.golang.org/grpc"
)

// Start starts a cluster that ends with the test. Only one can run at a time in a process.
func Start(t testing.TB, members int) *integration.Cluster {
	t.Helper()
	integration.BeforeTestExternal(t)
	cluster := integration.NewCluster(t, &integration.ClusterConfig{Size: members})
	t.Cleanup(func() { cluster.Terminate(t) })
	return cluster
}

// Dial returns a client of all members, and the link between it and them.
func Dial(t testing.TB, cluster *integration.Cluster) (*clientv3.Client, *Link) {
	t.Helper()
	link := &Link{healed: make(chan struct{}), conns: map[*conn]bool{}}
	close(link.healed)
	client, err := clientv3.New(clientv3.Config{
		Endpoints:   cluster.Endpoints(),
		DialTimeout: 5 * time.Second,
		Logger:      zap.NewNop(),
		DialOptions: []grpc.DialOption{grpc.WithContextDialer(link.dial)},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		link.Heal()
		_ = client.Close()
	})
	return client, link
}

// Log returns a logger that writes into the test's output, and to copies.
func Log(t testing.TB, name string, copies ...io.Writer) hclog.Logger {
	w := &testWriter{t: t}
	t.Cleanup(w.end)
	output := io.MultiWriter(append(copies, w)...)
	return hclog.New(&hclog.LoggerOptions{Name: name, Level: hclog.Debug, Output: output, TimeFormat: "15:04:05.000"})
}

// Link is the network between one client and the members.
type Link struct {
	mu     sync.Mutex    // no other lock is taken under it
	healed chan struct{} // closed while the link works
	conns  map[*conn]bool
}

// Cut drops everything that either side sends. Nothing is refused and nothing is closed.
func (l *Link) Cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.healed = make(chan struct{})
}

// Heal lets new connections through; those that were cut are closed.
func (l *Link) Heal() {
	l.mu.Lock()
	select {
	case <-l.healed:
		l.mu.Unlock()
		return
	default:
	}
	close(l.healed)
	l.mu.Unlock()
	l.Drop()
}

// Drop closes all connections.
func (l *Link) Drop() {
	l.mu.Lock()
	conns := l.conns
	l.conns = map[*conn]bool{}
	l.mu.Unlock()
	for c := range conns {
		_ = c.Close()
	}
}

// Stall drops everything that is sent on the oldest connection that is not stalled, as if its member hung.
func (l *Link) Stall() {
	l.mu.Lock()
	defer l.mu.Unlock()
	var oldest *conn
	for c := range l.conns {
		if !c.stalled.Load() && (oldest == nil || c.since.Before(oldest.since)) {
			oldest = c
		}
	}
	oldest.stalled.Store(true)
}

func (l *Link) works() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-l.healed:
		return true
	default:
		return false
	}
}

func (l *Link) dial(ctx context.Context, address string) (net.Conn, error) {
	l.mu.Lock()
	healed := l.healed
	l.mu.Unlock()
	select {
	case <-healed:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	var d net.Dialer
	inner, err := d.DialContext(ctx, "unix", strings.TrimPrefix(address, "unix:"))
	if err != nil {
		return nil, err
	}
	c := &conn{Conn: inner, link: l, since: time.Now()}
	l.mu.Lock()
	l.conns[c] = true
	l.mu.Unlock()
	return c, nil
}

type conn struct {
	net.Conn
	link    *Link
	since   time.Time
	stalled atomic.Bool
}

func (c *conn) works() bool { return c.link.works() && !c.stalled.Load() }

func (c *conn) Read(p []byte) (int, error) {
	for {
		n, err := c.Conn.Read(p)
		if err != nil || c.works() {
			return n, err
		}
	}
}

func (c *conn) Write(p []byte) (int, error) {
	if !c.works() {
		return len(p), nil
	}
	return c.Conn.Write(p)
}

type testWriter struct {
	mu    sync.Mutex
	t     testing.TB
	ended bool
}

func (w *testWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.ended {
		w.t.Log(strings.TrimSuffix(string(p), "\n"))
	}
	return len(p), nil
}

func (w *testWriter) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ended = true
}
