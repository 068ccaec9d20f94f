package controller

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/replicante-io/playbooks/controller/policy"
	"github.com/replicante-io/playbooks/record"
)

// maxWaiting bounds the inputs that wait in a mailbox; whoever puts one more waits for room.
const maxWaiting = 4 * maxDrain

// errClosed means that the mailbox's runner has ended.
var errClosed = errors.New("the runner has ended")

// post is one input and, for a command, where its answer goes.
type post struct {
	input  policy.Input
	answer chan answer // nil or buffered
}

type answer struct {
	run record.Run
	err error
}

// mailbox holds what a runner has not read yet. Words of other parts of the leader (members, admission, freed nodes) are
// merged, so that telling them never blocks and a slow run holds up nobody.
type mailbox struct {
	mu      sync.Mutex
	queue   []post
	merged  merged
	closed  bool
	arrived chan struct{} // holds one signal
	room    chan struct{} // closed when the queue was drained
}

type merged struct {
	any      bool
	complete bool
	present  map[string]record.Node
	gone     map[string]struct{}
	freed    map[string]struct{}
	admit    bool
	behind   string
	queued   bool
}

func newMailbox() *mailbox {
	return &mailbox{arrived: make(chan struct{}, 1), room: make(chan struct{})}
}

// Put adds an input, waiting for room until ctx ends.
func (m *mailbox) Put(ctx context.Context, p post) error {
	for {
		m.mu.Lock()
		if m.closed {
			m.mu.Unlock()
			return errClosed
		}
		if len(m.queue) < maxWaiting {
			m.queue = append(m.queue, p)
			m.mu.Unlock()
			m.signal()
			return nil
		}
		room := m.room
		m.mu.Unlock()
		select {
		case <-room:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (m *mailbox) signal() {
	select {
	case m.arrived <- struct{}{}:
	default:
	}
}

// merge changes the merged words.
func (m *mailbox) merge(change func(*merged)) {
	m.mu.Lock()
	m.merged.any = true
	change(&m.merged)
	m.mu.Unlock()
	m.signal()
}

// Members tells who is there.
func (m *mailbox) Members(complete bool, present []record.Node, gone []string) {
	m.merge(func(w *merged) {
		if complete || w.present == nil {
			w.present, w.gone = map[string]record.Node{}, map[string]struct{}{}
			w.complete = w.complete || complete
		}
		for _, n := range present {
			w.present[n.NodeID] = n
			delete(w.gone, n.NodeID)
		}
		for _, name := range gone {
			delete(w.present, name)
			w.gone[name] = struct{}{}
		}
	})
}

// Freed tells that a node is free for an action of the run.
func (m *mailbox) Freed(node string) {
	m.merge(func(w *merged) {
		if w.freed == nil {
			w.freed = map[string]struct{}{}
		}
		w.freed[node] = struct{}{}
	})
}

// Queue tells the run that it may go on (behind is ""), or behind which run it waits.
func (m *mailbox) Queue(behind string) {
	m.merge(func(w *merged) { w.admit, w.behind, w.queued = behind == "", behind, behind != "" })
}

// take returns the merged words as inputs and forgets them. The caller holds mu.
func (w *merged) take() []post {
	if !w.any {
		return nil
	}
	var posts []post
	if w.present != nil {
		members := policy.Members{Complete: w.complete}
		for _, n := range w.present {
			members.Present = append(members.Present, n)
		}
		for name := range w.gone {
			members.Gone = append(members.Gone, name)
		}
		posts = append(posts, post{input: members})
	}
	if w.freed != nil {
		var freed policy.Freed
		for name := range w.freed {
			freed.Nodes = append(freed.Nodes, name)
		}
		posts = append(posts, post{input: freed})
	}
	if w.admit {
		posts = append(posts, post{input: policy.Admit{}})
	}
	if w.queued {
		posts = append(posts, post{input: policy.Queue{Behind: w.behind}})
	}
	*w = merged{}
	return posts
}

// Drain waits for the first input, or for wake (zero: never), and takes what is there, at most max and the merged words.
// It is false when ctx ended.
func (m *mailbox) Drain(ctx context.Context, wake time.Time, max int) ([]post, bool) {
	var due <-chan time.Time
	if !wake.IsZero() {
		timer := time.NewTimer(time.Until(wake))
		defer timer.Stop()
		due = timer.C
	}
	for {
		if ctx.Err() != nil {
			return nil, false
		}
		if posts := m.take(max); len(posts) > 0 {
			return posts, true
		}
		select {
		case <-m.arrived:
		case <-due:
			return []post{{input: policy.Tick{}}}, true
		case <-ctx.Done():
			return nil, false
		}
	}
}

func (m *mailbox) take(max int) []post {
	m.mu.Lock()
	defer m.mu.Unlock()
	posts := m.merged.take()
	n := min(max, len(m.queue))
	posts = append(posts, m.queue[:n]...)
	if m.queue = m.queue[n:]; len(m.queue) == 0 {
		m.queue = nil
	} else {
		m.signal()
	}
	close(m.room)
	m.room = make(chan struct{})
	return posts
}

// Close lets nothing more in. With onlyEmpty it does so only if nothing waits, and tells whether it did. What waited
// is answered with errClosed.
func (m *mailbox) Close(onlyEmpty bool) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if onlyEmpty && len(m.queue) > 0 {
		return false
	}
	m.closed = true
	for _, p := range m.queue {
		if p.answer != nil {
			p.answer <- answer{err: errClosed}
		}
	}
	m.queue = nil
	close(m.room)
	m.room = make(chan struct{})
	return true
}
