package mongo

import (
	"context"
	"fmt"
	"sync"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
)

// hub tells followers of runs that there are new events. One change stream of the process feeds it, once somebody follows.
type hub struct {
	mu        sync.Mutex
	followers map[string]map[*follower]struct{} // by run
	wanted    chan struct{}                     // closed when the first follower came
}

// follower is somebody who follows one run.
type follower struct {
	run  string
	wake chan struct{} // holds one word: look again

	mu  sync.Mutex
	seq int64 // the highest number that was seen in the stream
}

func newHub() *hub {
	return &hub{followers: map[string]map[*follower]struct{}{}, wanted: make(chan struct{})}
}

func (h *hub) join(run string) *follower {
	f := &follower{run: run, wake: make(chan struct{}, 1)}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.followers[run] == nil {
		h.followers[run] = map[*follower]struct{}{}
	}
	h.followers[run][f] = struct{}{}
	select {
	case <-h.wanted:
	default:
		close(h.wanted)
	}
	return f
}

func (h *hub) leave(f *follower) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.followers[f.run], f)
	if len(h.followers[f.run]) == 0 {
		delete(h.followers, f.run)
	}
}

// saw wakes those who follow run: it has an event of this number.
func (h *hub) saw(run string, seq int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for f := range h.followers[run] {
		f.mu.Lock()
		f.seq = max(f.seq, seq)
		f.mu.Unlock()
		f.nudge()
	}
}

// wakeAll has everybody look again: something may have been missed.
func (h *hub) wakeAll() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, of := range h.followers {
		for f := range of {
			f.nudge()
		}
	}
}

func (f *follower) nudge() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

func (f *follower) last() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.seq
}

// Maintain implements store.Store: it feeds Follow. Expiry is the TTL indexes'.
func (s *Store) Maintain(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-s.hub.wanted:
	}
	for attempt := 1; ; attempt++ {
		opened, err := s.watch(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if opened {
			attempt = 1
		}
		s.log.Warn("the change stream of events was lost; it is opened again", "error", err)
		if !pause(ctx, attempt) {
			return nil
		}
	}
}

// watch reads a change stream until it is lost. Where it begins, everybody looks for what came before: a stream needs
// no place to go on from.
func (s *Store) watch(ctx context.Context) (opened bool, err error) {
	stream, err := s.events.Watch(ctx, mongo.Pipeline{
		{{Key: "$match", Value: bson.D{{Key: "operationType", Value: "insert"}}}},
		{{Key: "$project", Value: bson.D{{Key: "documentKey", Value: 1}}}},
	})
	if err != nil {
		return false, fmt.Errorf("open: %w", explain(err))
	}
	defer func() { _ = stream.Close(context.WithoutCancel(ctx)) }()
	s.hub.wakeAll()
	for stream.Next(ctx) {
		if id, ok := stream.Current.Lookup("documentKey", "_id").StringValueOK(); ok {
			if run, seq, ok := eventSeq(id); ok {
				s.hub.saw(run, seq)
			}
		}
	}
	return true, explain(stream.Err())
}
