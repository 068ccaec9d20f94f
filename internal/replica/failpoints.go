//go:build failpoints

package replica

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/replicante-io/playbooks/internal/failpoint"
	"github.com/replicante-io/playbooks/internal/retry"
	"github.com/replicante-io/playbooks/record"
	"github.com/replicante-io/playbooks/store"
)

func init() {
	record.ReplaceWallClock(failpoint.Wall)
	if failpoint.Broken(failpoint.Deadline) {
		failpoint.Replace(failpoint.LeaderContext, outlasting)
	}
	failpoint.Replace(failpoint.StoreCalls, func(s store.Store) store.Store {
		if failpoint.Broken(failpoint.Fence) {
			s = unfenced{s}
		}
		if failpoint.Broken(failpoint.Save) {
			s = newLateStore(s)
		}
		return s
	})
}

// outlasting is a context that ends five seconds after ctx.
func outlasting(ctx context.Context) context.Context {
	late, end := context.WithCancel(context.WithoutCancel(ctx))
	context.AfterFunc(ctx, func() { time.AfterFunc(5*time.Second, end) })
	return late
}

// unfenced writes a commit also where a later leader has moved the run: as that leader's next one.
type unfenced struct{ store.Store }

func (s unfenced) Commit(ctx context.Context, term int64, commit record.Commit) error {
	err := s.Store.Commit(ctx, term, commit)
	for errors.Is(err, store.ErrStaleTerm) || errors.Is(err, store.ErrConflict) {
		run, readErr := s.Store.Run(ctx, commit.Run.ID)
		if readErr != nil {
			return readErr
		}
		moved := commit
		moved.After, moved.Fence = run.CommitID, false
		moved.Run.Rev = run.Rev + 1
		moved.Run.Seq = run.Seq + int64(len(commit.Events))
		moved.Events = slices.Clone(commit.Events)
		for i := range moved.Events {
			moved.Events[i].Seq = run.Seq + int64(i) + 1
		}
		err = s.Store.Commit(ctx, run.Term, moved)
	}
	return err
}

// lateStore reports each commit as stored at once, and stores it afterwards: the commits of a run in their order.
type lateStore struct {
	store.Store
	background func(do func(context.Context)) // until Close
	end        func()                         // and wait for what runs in the background

	mu   sync.Mutex
	last map[string]chan struct{} // by run; closed when its latest commit is stored
}

func newLateStore(s store.Store) *lateStore {
	ctx, cancel := context.WithCancel(context.Background())
	var work sync.WaitGroup
	return &lateStore{
		Store:      s,
		background: func(do func(context.Context)) { work.Go(func() { do(ctx) }) },
		end:        func() { cancel(); work.Wait() },
		last:       map[string]chan struct{}{},
	}
}

func (s *lateStore) Commit(_ context.Context, term int64, commit record.Commit) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	before, stored := s.last[commit.Run.ID], make(chan struct{})
	s.last[commit.Run.ID] = stored
	s.background(func(ctx context.Context) {
		defer close(stored)
		await(ctx, before)
		tries := retry.New(50*time.Millisecond, time.Second)
		for errors.Is(s.Store.Commit(ctx, term, commit), store.ErrUnavailable) && tries.Wait(ctx) {
		}
	})
	return nil
}

// StampFinished waits for the run's commits.
func (s *lateStore) StampFinished(ctx context.Context, term int64, runID string) error {
	s.mu.Lock()
	last := s.last[runID]
	s.mu.Unlock()
	await(ctx, last)
	return s.Store.StampFinished(ctx, term, runID)
}

func (s *lateStore) Close() error {
	s.end()
	return s.Store.Close()
}

func await(ctx context.Context, stored chan struct{}) {
	if stored == nil {
		return
	}
	select {
	case <-stored:
	case <-ctx.Done():
	}
}
