package api

import (
	"context"
	"errors"
	"slices"
	"sync"

	"github.com/replicante-io/playbooks/internal/retry"
	"github.com/replicante-io/playbooks/record"
	"github.com/replicante-io/playbooks/store"
)

// followers are of the runs that streams follow: one each, however many streams follow it.
type followers struct {
	mu   sync.Mutex // taken before that of a follower
	runs map[string]*follower
}

// follower keeps the latest events of a run, as they are stored.
type follower struct {
	streams int // that use it; guarded by followers
	stop    context.CancelFunc
	ended   chan struct{}

	mu      sync.Mutex
	from    int64          // the seq that recent begins after
	recent  []record.Event // in order, without a gap; its items are never changed
	changed chan struct{}  // closed, and replaced, when recent or err changes
	err     error          // nothing more arrives
}

// join returns the follower of a run. Where there is none yet, it follows from the event with seq after. ctx is of a stream.
// It is followed by one leave.
func (f *followers) join(ctx context.Context, s store.Store, id string, after int64) *follower {
	f.mu.Lock()
	defer f.mu.Unlock()
	shared := f.runs[id]
	if shared == nil {
		ctx, stop := context.WithCancel(context.WithoutCancel(ctx))
		shared = &follower{stop: stop, ended: make(chan struct{}), from: after, changed: make(chan struct{})}
		if f.runs == nil {
			f.runs = map[string]*follower{}
		}
		f.runs[id] = shared
		go func() {
			defer close(shared.ended)
			shared.fail(shared.follow(ctx, s, id, after))
		}()
	}
	shared.streams++
	return shared
}

// leave ends the follower where no other stream uses it.
func (f *followers) leave(id string, shared *follower) {
	f.mu.Lock()
	shared.streams--
	last := shared.streams == 0
	if last {
		delete(f.runs, id)
	}
	f.mu.Unlock()
	if last {
		shared.stop()
		<-shared.ended
	}
}

// follow keeps events as they are stored, until ctx ends. A store that does not answer is called again.
func (f *follower) follow(ctx context.Context, s store.Store, id string, after int64) error {
	for {
		err := s.Follow(ctx, id, after, func(arrived []record.Event) error {
			f.add(arrived)
			after = arrived[len(arrived)-1].Seq
			return ctx.Err()
		})
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if !errors.Is(err, store.ErrUnavailable) {
			return err
		}
		if !retry.Sleep(ctx, storeInterval) {
			return ctx.Err()
		}
	}
}

func (f *follower) add(arrived []record.Event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	all := slices.Concat(f.recent, arrived)
	if surplus := len(all) - streamPage; surplus > 0 {
		f.from = all[surplus-1].Seq
		all = slices.Clone(all[surplus:])
	}
	f.recent = all
	f.signal()
}

func (f *follower) fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err = err
	f.signal()
}

func (f *follower) signal() {
	close(f.changed)
	f.changed = make(chan struct{})
}

// after returns the events after the one with that seq, and a channel that is closed when there are more. kept is false where
// they have to be read of the store.
func (f *follower) after(seq int64) (events []record.Event, kept bool, changed <-chan struct{}, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if seq < f.from {
		return nil, false, f.changed, f.err
	}
	at, _ := slices.BinarySearchFunc(f.recent, seq+1, func(event record.Event, seq int64) int { return int(event.Seq - seq) })
	return f.recent[at:], true, f.changed, f.err
}
