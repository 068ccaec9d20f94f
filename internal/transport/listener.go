package transport

import (
	"container/list"
	"net"
	"net/http"
	"sync"
)

// boundedListener bounds how many of the connections that it accepted are open.
type boundedListener struct {
	net.Listener
	max int

	mu     sync.Mutex
	room   *sync.Cond // signalled when a connection may be had: one was closed, one is idle, the listener is closed
	open   int
	idle   *list.List // of *boundedConn, the one idle the longest first
	closed bool
}

func newBoundedListener(listener net.Listener, most int) *boundedListener {
	l := &boundedListener{Listener: listener, max: most, idle: list.New()}
	l.room = sync.NewCond(&l.mu)
	return l
}

func (l *boundedListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	if !l.admit() {
		_ = conn.Close()
		return nil, net.ErrClosed
	}
	return &boundedConn{Conn: conn, listener: l}, nil
}

// admit waits for room, and makes it by closing an idle connection. It returns false where the listener is closed.
func (l *boundedListener) admit() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.open >= l.max && !l.closed {
		if oldest := l.idle.Front(); oldest != nil {
			conn := oldest.Value.(*boundedConn)
			l.forget(conn)
			l.mu.Unlock()
			_ = conn.Close()
			l.mu.Lock()
			continue
		}
		l.room.Wait()
	}
	if l.closed {
		return false
	}
	l.open++
	return true
}

// Close ends Accept, also one that waits for room.
func (l *boundedListener) Close() error {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	l.room.Broadcast()
	return l.Listener.Close()
}

// observe is the server's ConnState.
func (l *boundedListener) observe(c net.Conn, state http.ConnState) {
	conn, ours := c.(*boundedConn)
	if !ours {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.forget(conn)
	if state == http.StateIdle && !conn.closed {
		conn.idle = l.idle.PushBack(conn)
		l.room.Signal()
	}
}

// forget takes a connection out of the idle ones. The caller holds mu.
func (l *boundedListener) forget(conn *boundedConn) {
	if conn.idle != nil {
		l.idle.Remove(conn.idle)
		conn.idle = nil
	}
}

// boundedConn makes room when it is closed.
type boundedConn struct {
	net.Conn
	listener *boundedListener

	// Under the listener's mu.
	idle   *list.Element // nil while a request is answered
	closed bool
}

func (c *boundedConn) Close() error {
	l := c.listener
	l.mu.Lock()
	if !c.closed {
		c.closed = true
		l.open--
		l.forget(c)
		l.room.Signal()
	}
	l.mu.Unlock()
	return c.Conn.Close()
}
