package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/replicante-io/playbooks/internal/retry"
	"github.com/replicante-io/playbooks/record"
	"github.com/replicante-io/playbooks/store"
)

const (
	heartbeatInterval = 15 * time.Second
	// staleInterval is how long after the event run.finished a stream reads the run again that has not finished as far as it
	// could see: what was read may be older than the event.
	staleInterval = 500 * time.Millisecond
	// storeInterval is how often a stream looks whether the store is available, and calls one again that failed.
	storeInterval = time.Second
)

// eventStream sends the events of a run as server-sent events (WHATWG HTML, section 9.2).
type eventStream struct {
	server  *server
	id      string // of the run
	w       io.Writer
	control *http.ResponseController

	seq      int64            // of the last event that was sent
	last     record.EventType // its type
	finished bool             // the run may have finished: to be read when events up to end were sent
	end      int64            // the seq of the run's last event when it was read
	waiting  *record.Wait     // that the client was sent last
}

// errStreamEnds means that nothing more can be sent: the stream is complete, or the client has gone.
var errStreamEnds = errors.New("the stream has ended")

// newStream makes the stream of a run, as it has just been read, after the event with seq after.
func (s *server) newStream(run *record.Run, after int64) *eventStream {
	return &eventStream{server: s, id: run.ID, seq: after, finished: run.State.Final() || run.Seq < after, end: run.Seq}
}

// serve sends events, as they are stored, until the run has finished or ctx ends.
func (e *eventStream) serve(ctx context.Context, w http.ResponseWriter) {
	ctx, cancel := context.WithCancel(ctx)
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Accel-Buffering", "no")

	events, broken := make(chan []record.Event), make(chan error, 1)
	following := make(chan struct{})
	go func(after int64) {
		defer close(following)
		broken <- e.server.follow(ctx, e.id, after, events)
	}(e.seq)
	defer func() {
		cancel()
		<-following
	}()
	e.w, e.control = w, http.NewResponseController(w)
	if err := e.run(ctx, events, broken); err != nil && !errors.Is(err, errStreamEnds) && ctx.Err() == nil {
		e.server.Log.Warn("event stream failed", "run", e.id, "error", err)
	}
}

// run sends what arrives until there is nothing more to send (errStreamEnds) or something fails.
func (e *eventStream) run(ctx context.Context, events <-chan []record.Event, broken <-chan error) error {
	if err := e.send(": events of run " + e.id + "\n\n"); err != nil {
		return err
	}
	heartbeat := time.NewTicker(heartbeatInterval)
	defer heartbeat.Stop()
	storeCheck := time.NewTicker(storeInterval)
	defer storeCheck.Stop()
	readRun := time.NewTimer(0)
	defer readRun.Stop()
	if !e.finished || e.seq < e.end {
		readRun.Stop()
	}
	if err := e.sendWaiting(e.server.streamWait(e.id)); err != nil {
		return err
	}
	for {
		var err error
		select {
		case arrived := <-events:
			if err = e.sendEvents(arrived); e.finished && e.seq >= e.end {
				readRun.Reset(0)
			}
		case <-readRun.C:
			var again time.Duration
			if again, err = e.checkFinished(ctx); again > 0 {
				readRun.Reset(again)
			}
		case <-storeCheck.C:
			err = e.sendWaiting(e.server.streamWait(e.id))
		case <-heartbeat.C:
			err = e.send(": \n\n")
		case err = <-broken:
			if err == nil {
				return ctx.Err()
			}
		}
		if err != nil {
			return err
		}
	}
}

// checkFinished ends the stream where the run has finished and all its events were sent. Otherwise it returns when to check
// again, 0 for when events arrive.
func (e *eventStream) checkFinished(ctx context.Context) (again time.Duration, err error) {
	run, err := e.readRun(ctx)
	switch {
	case errors.Is(err, store.ErrNotFound), err == nil && run.State.Final() && e.seq >= run.Seq:
		if err := e.sendWaiting(nil); err != nil {
			return 0, err
		}
		if err := e.send("event: end\ndata: {}\n\n"); err != nil {
			return 0, err
		}
		return 0, errStreamEnds
	case ctx.Err() != nil:
		return 0, ctx.Err()
	case storeFailed(err), errors.Is(err, errBusy):
		return storeInterval, nil
	case err != nil:
		return 0, fmt.Errorf("read run %s: %w", e.id, err)
	case run.State.Final():
		e.finished, e.end = true, run.Seq // and more events are about to arrive
	case e.last == record.EventRunFinished:
		return staleInterval, nil
	default:
		e.finished = false
	}
	return 0, nil
}

// readRun reads the run while it has a place among the reads; errBusy where there is none in time.
func (e *eventStream) readRun(ctx context.Context) (record.Run, error) {
	waiting, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	answer := e.server.reads.take(waiting, nil)
	if answer == nil {
		return record.Run{}, errBusy
	}
	defer e.server.reads.leave(answer)
	reading, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	return e.server.Store.Run(reading, e.id)
}

// sendEvents sends each event as a message.
func (e *eventStream) sendEvents(events []record.Event) error {
	var text strings.Builder
	for i := range events {
		data, err := json.Marshal(eventWithText(events[i]))
		if err != nil {
			return err
		}
		fmt.Fprintf(&text, "id: %d\ndata: %s\n\n", events[i].Seq, data)
		e.seq, e.last = events[i].Seq, events[i].Type
		e.finished = e.finished || e.last == record.EventRunFinished
	}
	return e.send(text.String())
}

// sendWaiting sends what the stream waits for, nil for nothing, where it did not wait before, or did.
func (e *eventStream) sendWaiting(wait *record.Wait) error {
	if (wait == nil) == (e.waiting == nil) {
		return nil
	}
	e.waiting = wait
	data, err := json.Marshal(map[string]*record.Wait{"waiting": waitWithText(wait)})
	if err != nil {
		return err
	}
	return e.send("event: waiting\ndata: " + string(data) + "\n\n")
}

func (e *eventStream) send(text string) error {
	_, err := io.WriteString(e.w, text)
	if err == nil {
		err = e.control.Flush()
	}
	if err != nil {
		return fmt.Errorf("%w: %w", errStreamEnds, err)
	}
	return nil
}

// streamWait is why nothing new of a run arrives where that is the store; else nil.
func (s *server) streamWait(id string) *record.Wait {
	if memory := s.committedRun(id); memory != nil && memory.delayed && !memory.run.State.Final() {
		return memory.run.Waiting
	}
	return s.storeWait()
}

// follow hands over a run's events after the one with seq after, as they are stored, until ctx ends (nil). It reads those that
// are stored already page by page, while it has a place, and leaves that while the client receives a page.
func (s *server) follow(ctx context.Context, id string, after int64, events chan<- []record.Event) error {
	after, err := s.replay(ctx, id, after, events)
	if err != nil || ctx.Err() != nil {
		return err
	}
	shared := s.followers.join(ctx, s.Store, id, after)
	defer s.followers.leave(id, shared)
	for ctx.Err() == nil {
		arrived, kept, changed, err := shared.after(after)
		switch {
		case len(arrived) > 0:
			if !handOver(ctx, events, arrived) {
				return nil
			}
			after = arrived[len(arrived)-1].Seq
		case err != nil:
			return err
		case !kept: // the client is slower than the run
			before := after
			if after, err = s.replay(ctx, id, after, events); err != nil {
				return err
			}
			if after == before { // what was read is older than what the follower has
				retry.Sleep(ctx, storeInterval)
			}
		default:
			select {
			case <-changed:
			case <-ctx.Done():
			}
		}
	}
	return nil
}

// replay hands over the events that are stored after the one with seq after, and returns the seq of the last one. A store that
// does not answer is called again until ctx ends.
func (s *server) replay(ctx context.Context, id string, after int64, events chan<- []record.Event) (last int64, err error) {
	for ctx.Err() == nil {
		page, err := s.readReplay(ctx, id, after)
		switch {
		case ctx.Err() != nil:
			return after, nil
		case storeFailed(err):
			retry.Sleep(ctx, storeInterval)
			continue
		case err != nil:
			return after, err
		}
		if len(page) > 0 {
			if !handOver(ctx, events, page) {
				return after, nil
			}
			after = page[len(page)-1].Seq
		}
		if len(page) < streamPage {
			break
		}
	}
	return after, nil
}

// readReplay reads a page of events. It has a place among the replays and among all reads meanwhile.
func (s *server) readReplay(ctx context.Context, id string, after int64) ([]record.Event, error) {
	if !s.replays.take(ctx) {
		return nil, ctx.Err()
	}
	defer s.replays.leave()
	answer := s.reads.take(ctx, nil)
	if answer == nil {
		return nil, ctx.Err()
	}
	defer s.reads.leave(answer)
	reading, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	return s.Store.Events(reading, id, after, streamPage)
}

// handOver returns false where ctx ends first.
func handOver(ctx context.Context, events chan<- []record.Event, arrived []record.Event) bool {
	select {
	case events <- arrived:
		return true
	case <-ctx.Done():
		return false
	}
}
