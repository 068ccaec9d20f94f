//go:build failpoints

package failpoint

import (
	"context"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// link is all connections to a peer. While it is down, reads and writes wait, as when packets are lost; TCP delivers
// everything once the link is restored.
type link struct {
	mu       sync.Mutex
	down     bool
	restored chan struct{} // closed when the link is up again
}

var links sync.Map // of *link, by peer

func linkTo(peer string) *link {
	l, _ := links.LoadOrStore(peer, &link{})
	return l.(*link)
}

func (l *link) set(down bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case down && !l.down:
		l.restored = make(chan struct{})
	case !down && l.down:
		close(l.restored)
	}
	l.down = down
}

// wait returns a channel to wait on while the link is down, else nil.
func (l *link) wait() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.down {
		return l.restored
	}
	return nil
}

// Dial is dial, which a test can cut off from the peer.
func Dial(peer string, dial func(context.Context, string, string) (net.Conn, error)) func(context.Context, string, string) (net.Conn, error) {
	l := linkTo(peer)
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		for restored := l.wait(); restored != nil; restored = l.wait() {
			select {
			case <-restored:
			case <-ctx.Done():
				return nil, &net.OpError{Op: "dial", Net: network, Err: ctx.Err()}
			case <-time.After(dialTimeout):
				return nil, &net.OpError{Op: "dial", Net: network, Err: syscall.ETIMEDOUT}
			}
		}
		c, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return &conn{Conn: c, link: l, changed: make(chan struct{}), closed: make(chan struct{})}, nil
	}
}

// dialTimeout bounds connecting to a peer that is cut off, where nothing else does.
const dialTimeout = 10 * time.Second

type conn struct {
	net.Conn
	link   *link
	closed chan struct{}
	once   sync.Once

	mu          sync.Mutex
	read, write time.Time     // deadlines
	changed     chan struct{} // closed when a deadline changes
}

func (c *conn) Read(b []byte) (int, error) {
	if err := c.await(&c.read); err != nil {
		return 0, err
	}
	n, err := c.Conn.Read(b)
	if expired := c.await(&c.read); expired != nil && n == 0 {
		return 0, expired
	}
	return n, err
}

func (c *conn) Write(b []byte) (int, error) {
	if err := c.await(&c.write); err != nil {
		return 0, err
	}
	return c.Conn.Write(b)
}

// await waits until the link is up, the deadline has passed, or the connection is closed.
func (c *conn) await(deadline *time.Time) error {
	for {
		restored := c.link.wait()
		if restored == nil {
			return nil
		}
		c.mu.Lock()
		until, changed := *deadline, c.changed
		c.mu.Unlock()
		var due <-chan time.Time
		if !until.IsZero() {
			timer := time.NewTimer(time.Until(until))
			defer timer.Stop()
			due = timer.C
		}
		select {
		case <-restored:
		case <-changed:
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
	c.change(func() { c.read, c.write = t, t })
	return c.Conn.SetDeadline(t)
}

func (c *conn) SetReadDeadline(t time.Time) error {
	c.change(func() { c.read = t })
	return c.Conn.SetReadDeadline(t)
}

func (c *conn) SetWriteDeadline(t time.Time) error {
	c.change(func() { c.write = t })
	return c.Conn.SetWriteDeadline(t)
}

func (c *conn) change(set func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	set()
	close(c.changed)
	c.changed = make(chan struct{})
}
