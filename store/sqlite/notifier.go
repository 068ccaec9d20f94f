package sqlite

import "sync"

// notifier wakes the followers of a run when events of it were committed. The zero value is ready for use.
type notifier struct {
	mu   sync.Mutex // taken last: no other lock is taken while it is held
	runs map[string]*subscription
}

// subscription is closed, and replaced, when there are new events.
type subscription struct {
	followers int
	changed   chan struct{}
}

// subscribe is called before changed, and followed by one unsubscribe.
func (n *notifier) subscribe(runID string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.runs == nil {
		n.runs = map[string]*subscription{}
	}
	if n.runs[runID] == nil {
		n.runs[runID] = &subscription{changed: make(chan struct{})}
	}
	n.runs[runID].followers++
}

func (n *notifier) unsubscribe(runID string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.runs[runID].followers--; n.runs[runID].followers == 0 {
		delete(n.runs, runID)
	}
}

// changed is closed when events are committed from now on. Only a subscriber may call it.
func (n *notifier) changed(runID string) <-chan struct{} {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.runs[runID].changed
}

func (n *notifier) notify(runID string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if s := n.runs[runID]; s != nil {
		close(s.changed)
		s.changed = make(chan struct{})
	}
}
