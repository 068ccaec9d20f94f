package mongo

import (
	"sync"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// notifier wakes the followers of runs when there are new events. One change stream of the process feeds it, from the time
// that somebody follows.
type notifier struct {
	needed chan struct{} // closed when the first follower comes

	mu        sync.Mutex                            // taken last
	followers map[string]map[chan struct{}]struct{} // by run; a channel holds one signal to read again
	announced bson.Timestamp                        // a read at this time or later finds all that was announced
}

func newNotifier() *notifier {
	return &notifier{needed: make(chan struct{}), followers: map[string]map[chan struct{}]struct{}{}}
}

func (n *notifier) subscribe(run string) chan struct{} {
	wake := make(chan struct{}, 1)
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.followers[run] == nil {
		n.followers[run] = map[chan struct{}]struct{}{}
	}
	n.followers[run][wake] = struct{}{}
	select {
	case <-n.needed:
	default:
		close(n.needed)
	}
	return wake
}

func (n *notifier) unsubscribe(run string, wake chan struct{}) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.followers[run], wake)
	if len(n.followers[run]) == 0 {
		delete(n.followers, run)
	}
}

func (n *notifier) last() bson.Timestamp {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.announced
}

// announce wakes those who follow the runs: there are events up to this time. nil means all runs.
func (n *notifier) announce(runs map[string]bool, at bson.Timestamp) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if at.After(n.announced) {
		n.announced = at
	}
	for run, wakes := range n.followers {
		if runs != nil && !runs[run] {
			continue
		}
		for wake := range wakes {
			select {
			case wake <- struct{}{}:
			default:
			}
		}
	}
}
