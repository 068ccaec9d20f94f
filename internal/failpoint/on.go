//go:build faults

package failpoint

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Enabled tells whether this build can be broken.
const Enabled = true

// armed is what happens at the points, by name.
var armed = struct {
	sync.Mutex
	points map[string]*trap
}{points: map[string]*trap{}}

type trap struct {
	pass   int
	signal syscall.Signal
}

func init() {
	path := os.Getenv("REPLICANTE_FAULTS")
	if path == "" {
		return
	}
	_ = os.Remove(path) // of an earlier life
	listener, err := net.Listen("unix", path)
	if err != nil {
		panic(fmt.Sprintf("REPLICANTE_FAULTS: %v", err))
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /point", arm)
	mux.HandleFunc("POST /cut", func(_ http.ResponseWriter, r *http.Request) { lineTo(r.FormValue("peer")).set(true) })
	mux.HandleFunc("POST /heal", func(_ http.ResponseWriter, r *http.Request) { lineTo(r.FormValue("peer")).set(false) })
	go func() { _ = http.Serve(listener, mux) }()
}

func arm(w http.ResponseWriter, r *http.Request) {
	pass, err := strconv.Atoi(r.FormValue("pass"))
	signals := map[string]syscall.Signal{"kill": syscall.SIGKILL, "stop": syscall.SIGSTOP}
	signal, known := signals[r.FormValue("do")]
	if err != nil || pass < 1 || !known {
		http.Error(w, "name, pass (from 1) and do (kill or stop) are needed", http.StatusBadRequest)
		return
	}
	armed.Lock()
	defer armed.Unlock()
	armed.points[r.FormValue("name")] = &trap{pass: pass, signal: signal}
}

// Point is a place at which a process can be killed or stopped.
func Point(name string) {
	armed.Lock()
	t := armed.points[name]
	if t != nil {
		if t.pass--; t.pass > 0 {
			t = nil
		} else {
			delete(armed.points, name)
		}
	}
	armed.Unlock()
	if t != nil {
		_ = syscall.Kill(os.Getpid(), t.signal)
		if t.signal == syscall.SIGKILL {
			select {}
		}
	}
}

var broken = strings.Split(os.Getenv("REPLICANTE_BROKEN"), ",")

// Broken tells whether a promise is broken on purpose.
func Broken(promise string) bool { return slices.Contains(broken, promise) }

// line is the way to a peer. While it is cut, what is read or written waits, as when packets are lost; TCP delivers all of
// it once the line is healed.
type line struct {
	mu     sync.Mutex
	cut    bool
	healed chan struct{} // closed when the cut ends
}

var lines sync.Map // of *line, by peer

func lineTo(peer string) *line {
	l, _ := lines.LoadOrStore(peer, &line{})
	return l.(*line)
}

func (l *line) set(cut bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case cut && !l.cut:
		l.healed = make(chan struct{})
	case !cut && l.cut:
		close(l.healed)
	}
	l.cut = cut
}

// wait returns a channel to wait on while the line is cut, else nil.
func (l *line) wait() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cut {
		return l.healed
	}
	return nil
}

// Dial is dial, as long as nobody cuts the process off from the peer.
func Dial(peer string, dial func(context.Context, string, string) (net.Conn, error)) func(context.Context, string, string) (net.Conn, error) {
	l := lineTo(peer)
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		for healed := l.wait(); healed != nil; healed = l.wait() {
			select {
			case <-healed:
			case <-ctx.Done():
				return nil, &net.OpError{Op: "dial", Net: network, Err: ctx.Err()}
			case <-time.After(patience):
				return nil, &net.OpError{Op: "dial", Net: network, Err: syscall.ETIMEDOUT}
			}
		}
		c, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return &conn{Conn: c, line: l, moved: make(chan struct{}), closed: make(chan struct{})}, nil
	}
}

// patience is how long connecting to a peer that does not answer takes, where nothing else bounds it.
const patience = 10 * time.Second

type conn struct {
	net.Conn
	line   *line
	closed chan struct{}
	once   sync.Once

	mu          sync.Mutex
	read, write time.Time     // deadlines
	moved       chan struct{} // closed when a deadline changes
}

func (c *conn) Read(b []byte) (int, error) {
	if err := c.pass(&c.read); err != nil {
		return 0, err
	}
	n, err := c.Conn.Read(b)
	if late := c.pass(&c.read); late != nil && n == 0 {
		return 0, late
	}
	return n, err
}

func (c *conn) Write(b []byte) (int, error) {
	if err := c.pass(&c.write); err != nil {
		return 0, err
	}
	return c.Conn.Write(b)
}

// pass waits until the line is whole, the deadline is over, or the connection is closed.
func (c *conn) pass(deadline *time.Time) error {
	for {
		healed := c.line.wait()
		if healed == nil {
			return nil
		}
		c.mu.Lock()
		until, moved := *deadline, c.moved
		c.mu.Unlock()
		var due <-chan time.Time
		if !until.IsZero() {
			timer := time.NewTimer(time.Until(until))
			defer timer.Stop()
			due = timer.C
		}
		select {
		case <-healed:
		case <-moved:
		case <-due:
			return os.ErrDeadlineExceeded
		case <-c.closed:
			return net.ErrClosed
		}
	}
}

func (c *conn) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}

func (c *conn) SetDeadline(t time.Time) error {
	c.move(func() { c.read, c.write = t, t })
	return c.Conn.SetDeadline(t)
}

func (c *conn) SetReadDeadline(t time.Time) error {
	c.move(func() { c.read = t })
	return c.Conn.SetReadDeadline(t)
}

func (c *conn) SetWriteDeadline(t time.Time) error {
	c.move(func() { c.write = t })
	return c.Conn.SetWriteDeadline(t)
}

func (c *conn) move(set func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	set()
	close(c.moved)
	c.moved = make(chan struct{})
}
