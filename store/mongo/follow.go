package mongo

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// hub tells followers of runs that there are new events. One change stream of the process feeds it, once somebody follows.
type hub struct {
	wanted chan struct{} // closed when the first follower came

	mu        sync.Mutex
	followers map[string]map[chan struct{}]struct{} // by run; each holds one word: look again
	announced bson.Timestamp                        // a read that knows this moment finds all that was announced
}

func newHub() *hub {
	return &hub{wanted: make(chan struct{}), followers: map[string]map[chan struct{}]struct{}{}}
}

func (h *hub) join(run string) chan struct{} {
	wake := make(chan struct{}, 1)
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.followers[run] == nil {
		h.followers[run] = map[chan struct{}]struct{}{}
	}
	h.followers[run][wake] = struct{}{}
	select {
	case <-h.wanted:
	default:
		close(h.wanted)
	}
	return wake
}

func (h *hub) leave(run string, wake chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.followers[run], wake)
	if len(h.followers[run]) == 0 {
		delete(h.followers, run)
	}
}

func (h *hub) last() bson.Timestamp {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.announced
}

// announce has those who follow the runs look again: there are events up to this moment. nil means all runs.
func (h *hub) announce(runs map[string]bool, moment bson.Timestamp) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if moment.After(h.announced) {
		h.announced = moment
	}
	for run, wakes := range h.followers {
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

// Maintain implements store.Store: it feeds Follow. Expiry is the TTL indexes'.
func (s *Store) Maintain(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-s.hub.wanted:
	}
	tries := backoff()
	for {
		opened, err := s.watch(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if opened {
			tries.Reset()
		}
		s.log.Warn("the change stream of events was lost; it is opened again", "error", err)
		if !tries.Wait(ctx) {
			return nil
		}
	}
}

// watch reads a change stream until it is lost. It begins at a moment up to which a majority knows everything; all
// followers then look, knowing that moment, for what came before it. So a stream needs no place to go on from.
func (s *Store) watch(ctx context.Context) (opened bool, err error) {
	session, err := s.client.StartSession()
	if err != nil {
		return false, err
	}
	defer session.EndSession(context.WithoutCancel(ctx))
	// The operation time of a majority read is that of the last commit that it could see.
	err = s.events.FindOne(mongo.NewSessionContext(ctx, session), byID("")).Err()
	if err != nil && !errors.Is(err, mongo.ErrNoDocuments) {
		return false, fmt.Errorf("find where to begin: %w", explain(err))
	}
	begin := session.OperationTime()
	stream, err := s.events.Watch(ctx, mongo.Pipeline{
		{{Key: "$match", Value: bson.D{{Key: "operationType", Value: "insert"}}}},
		{{Key: "$project", Value: bson.D{{Key: "documentKey", Value: 1}, {Key: "clusterTime", Value: 1}}}},
	}, options.ChangeStream().SetStartAtOperationTime(begin))
	if err != nil {
		return false, fmt.Errorf("open: %w", explain(err))
	}
	defer func() {
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), farewell)
		defer cancel()
		_ = stream.Close(closing)
	}()
	s.hub.announce(nil, *begin)
	runs := map[string]bool{} // that the batch at hand names
	for stream.Next(ctx) {
		var change struct {
			Key struct {
				ID string `bson:"_id"`
			} `bson:"documentKey"`
			Moment bson.Timestamp `bson:"clusterTime"`
		}
		if err := stream.Decode(&change); err != nil {
			return true, err
		}
		runs[eventRun(change.Key.ID)] = true
		if stream.RemainingBatchLength() == 0 {
			s.hub.announce(runs, change.Moment)
			clear(runs)
		}
	}
	return true, explain(stream.Err())
}
