package run

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

// ErrClosed means that the runner has ended, and nothing enters its mailbox any longer.
var ErrClosed = errors.New("the runner has ended")

// post is one input and, for a command, where its answer goes.
type post struct {
	input  policy.Input
	answer chan answer // nil or buffered
}

type answer struct {
	run record.Run
	err error
}

// mailbox holds the inputs that a runner has not read yet. What other parts of the leader tell it (members, its place in the queue,
// unlocked nodes) is merged, so that telling it never blocks and a slow run holds up nobody.
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
	unlocked map[string]struct{}
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
			return ErrClosed
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

// merge changes the merged inputs.
func (m *mailbox) merge(change func(*merged)) {
	m.mu.Lock()
	m.merged.any = true
	change(&m.merged)
	m.mu.Unlock()
	m.signal()
}

// Members reports which nodes have a live key.
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

// Unlocked reports that a node which could not be locked is worth another try.
func (m *mailbox) Unlocked(node string) {
	m.merge(func(w *merged) {
		if w.unlocked == nil {
			w.unlocked = map[string]struct{}{}
		}
		w.unlocked[node] = struct{}{}
	})
}

// Queued tells the run that it may begin (behind is empty), or behind which run it is queued.
func (m *mailbox) Queued(behind string) {
	m.merge(func(w *merged) { w.admit, w.behind, w.queued = behind == "", behind, behind != "" })
}

// take returns the merged inputs and forgets them. The caller holds mu.
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
	if w.unlocked != nil {
		var unlocked policy.Unlocked
		for name := range w.unlocked {
			unlocked.Nodes = append(unlocked.Nodes, name)
		}
		posts = append(posts, post{input: unlocked})
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

// Drain waits for the first input and takes what is there: the merged inputs and at most maxDrain others, of which weight, in bytes, makes
// one commit. At wake (nil: never), or at once with now, it returns a Tick where there is nothing else. It is false when ctx ended.
func (m *mailbox) Drain(ctx context.Context, clock record.Clock, wake *time.Time, now bool, weight func(policy.Input) int) ([]post, bool) {
	var due <-chan time.Time
	if wake != nil {
		timer := time.NewTimer(wake.Sub(clock.Now()))
		defer timer.Stop()
		due = timer.C
	}
	for {
		if ctx.Err() != nil {
			return nil, false
		}
		if posts := m.take(weight); len(posts) > 0 {
			return posts, true
		}
		tick := []post{{input: policy.Tick{}}}
		if now {
			return tick, true
		}
		select {
		case <-m.arrived:
		case <-due:
			return tick, true
		case <-ctx.Done():
			return nil, false
		}
	}
}

func (m *mailbox) take(weight func(policy.Input) int) []post {
	m.mu.Lock()
	defer m.mu.Unlock()
	posts := m.merged.take()
	n, taken := 0, 0
	for n < min(maxDrain, len(m.queue)) && (n == 0 || taken < policy.CommitBytes) {
		taken += weight(m.queue[n].input)
		n++
	}
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

// Len is how many inputs wait, the merged ones not counted.
func (m *mailbox) Len() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.queue)
}

// Close lets nothing more in. What waited is answered with ErrClosed.
func (m *mailbox) Close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.close()
}

// CloseIfEmpty closes the mailbox only if nothing waits in it, and reports whether it did.
func (m *mailbox) CloseIfEmpty() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.queue) > 0 {
		return false
	}
	m.close()
	return true
}

// close closes the mailbox. The caller holds mu.
func (m *mailbox) close() {
	if m.closed {
		return
	}
	m.closed = true
	for _, p := range m.queue {
		if p.answer != nil {
			p.answer <- answer{err: ErrClosed}
		}
	}
	m.queue = nil
	close(m.room)
	m.room = make(chan struct{})
}
