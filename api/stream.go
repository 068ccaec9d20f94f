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
	finished bool             // the run may have finished: to be read when events arrive
	waiting  *record.Wait     // that the client was sent last
}

// errStreamEnds means that nothing more can be sent: the stream is complete, or the client has gone.
var errStreamEnds = errors.New("the stream has ended")

// stream sends the events of a run after the one with seq after, as they are stored, until the run has finished or ctx ends.
func (s *server) stream(ctx context.Context, w http.ResponseWriter, id string, after int64) {
	ctx, cancel := context.WithCancel(ctx)
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Accel-Buffering", "no")

	events, broken := make(chan []record.Event), make(chan error, 1)
	following := make(chan struct{})
	go func() {
		defer close(following)
		broken <- s.follow(ctx, id, after, events)
	}()
	defer func() {
		cancel()
		<-following
	}()
	stream := &eventStream{server: s, id: id, w: w, control: http.NewResponseController(w), seq: after, finished: true}
	if err := stream.run(ctx, events, broken); err != nil && !errors.Is(err, errStreamEnds) && ctx.Err() == nil {
		s.Log.Warn("event stream failed", "run", id, "error", err)
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
	readRun := time.NewTimer(0) // it may have finished already
	defer readRun.Stop()
	if err := e.sendWaiting(e.server.streamWait(e.id)); err != nil {
		return err
	}
	for {
		var err error
		select {
		case arrived := <-events:
			if err = e.sendEvents(arrived); e.finished {
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
	reading, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	run, err := e.server.Store.Run(reading, e.id)
	switch {
	case errors.Is(err, store.ErrNotFound), err == nil && run.State.Final() && e.seq >= run.Seq:
		if err := e.sendWaiting(nil); err != nil {
			return 0, err
		}
		if err := e.send("event: end\ndata: {}\n\n"); err != nil {
			return 0, err
		}
		return 0, errStreamEnds
	case storeFailed(err) && ctx.Err() == nil:
		return storeInterval, nil
	case err != nil:
		return 0, fmt.Errorf("read run %s: %w", e.id, err)
	case run.State.Final():
		e.finished = true // and more events are about to arrive
	case e.last == record.EventRunFinished:
		return staleInterval, nil
	default:
		e.finished = false
	}
	return 0, nil
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

// follow hands over a run's events after the one with seq after, as they are stored, until ctx ends (nil). A store that does
// not answer is called again.
func (s *server) follow(ctx context.Context, id string, after int64, events chan<- []record.Event) error {
	for {
		err := s.Store.Follow(ctx, id, after, func(arrived []record.Event) error {
			select {
			case events <- arrived:
				after = arrived[len(arrived)-1].Seq
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
		if ctx.Err() != nil {
			return nil
		}
		if !errors.Is(err, store.ErrUnavailable) {
			return err
		}
		if !retry.Sleep(ctx, storeInterval) {
			return nil
		}
	}
}
