// Package etcdtest gives tests a real etcd cluster in this process, and clients whose network can be cut.
package etcdtest

import (
	"context"
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
func Start(t *testing.T, members int) *integration.Cluster {
	t.Helper()
	integration.BeforeTestExternal(t)
	cluster := integration.NewCluster(t, &integration.ClusterConfig{Size: members})
	t.Cleanup(func() { cluster.Terminate(t) })
	return cluster
}

// Dial returns a client of all members, and the line between it and them.
func Dial(t *testing.T, cluster *integration.Cluster) (*clientv3.Client, *Line) {
	t.Helper()
	line := &Line{healed: make(chan struct{}), conns: map[*conn]bool{}}
	close(line.healed)
	client, err := clientv3.New(clientv3.Config{
		Endpoints:   cluster.Endpoints(),
		DialTimeout: 5 * time.Second,
		Logger:      zap.NewNop(),
		DialOptions: []grpc.DialOption{grpc.WithContextDialer(line.dial)},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		line.Heal()
		_ = client.Close()
	})
	return client, line
}

// Log returns a logger that writes into the test's output.
func Log(t *testing.T, name string) hclog.Logger {
	w := &testWriter{t: t}
	t.Cleanup(w.end)
	return hclog.New(&hclog.LoggerOptions{Name: name, Level: hclog.Debug, Output: w, TimeFormat: "15:04:05.000"})
}

// Line is the network of one client.
type Line struct {
	mu     sync.Mutex
	healed chan struct{} // closed while the line works
	conns  map[*conn]bool
}

// Cut makes everything vanish that either side sends. Nothing is refused and nothing closes.
func (l *Line) Cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.healed = make(chan struct{})
}

// Heal lets new connections through; those that were cut break.
func (l *Line) Heal() {
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

// Drop breaks all connections.
func (l *Line) Drop() {
	l.mu.Lock()
	conns := l.conns
	l.conns = map[*conn]bool{}
	l.mu.Unlock()
	for c := range conns {
		_ = c.Close()
	}
}

// Stall makes everything vanish on the oldest connection that is not stalled, as a member does that hangs.
func (l *Line) Stall() {
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

func (l *Line) works() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-l.healed:
		return true
	default:
		return false
	}
}

func (l *Line) dial(ctx context.Context, address string) (net.Conn, error) {
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
	c := &conn{Conn: inner, line: l, since: time.Now()}
	l.mu.Lock()
	l.conns[c] = true
	l.mu.Unlock()
	return c, nil
}

type conn struct {
	net.Conn
	line    *Line
	since   time.Time
	stalled atomic.Bool
}

func (c *conn) works() bool { return c.line.works() && !c.stalled.Load() }

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
	t     *testing.T
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
