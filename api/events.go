package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/replicante-io/playbooks/record"
	"github.com/replicante-io/playbooks/store"
)

const (
	heartbeat   = 15 * time.Second
	sendTimeout = 30 * time.Second
	// recheck is how often a stream looks again whether a run is over that its last event says has finished: the read
	// may be of a replica of the store that is behind.
	recheck = 500 * time.Millisecond
	// storeCheck is how often a stream looks whether the store answers, and asks one again that did not.
	storeCheck = time.Second
)

func (s *server) registerEvents() {
	event := s.api.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[List[record.Event]](), true, "")
	register(s, huma.Operation{OperationID: "list-events", Method: http.MethodGet, Path: "/runs/{id}/events",
		Summary: "What happened in a run, in order: a page, or, asked for text/event-stream, a stream to the run's end",
		Description: "Each message of the stream has an event's seq as its id and the event as its data. A message of " +
			"the type end says that the run has ended and all its events were sent. One of the type waits says in its " +
			"waits_for that the primary store does not answer, and with an empty one that it does again. A stream that " +
			"stops without an end is taken up again with Last-Event-ID, at any replica.",
		Responses: map[string]*huma.Response{"200": {Description: "OK", Content: map[string]*huma.MediaType{
			"application/json": {Schema: event}, "text/event-stream": {Schema: &huma.Schema{Type: huma.TypeString}}}}},
	}, s.events)
}

type eventsInput struct {
	ID          string `path:"id"`
	After       int64  `query:"after" minimum:"0" doc:"the seq of the last event that is known"`
	Limit       int    `query:"limit" default:"100" minimum:"1" maximum:"1000"`
	Cursor      string `query:"cursor" doc:"next_cursor of the page before; the same as after"`
	LastEventID string `header:"Last-Event-ID" doc:"of a stream: the id of the last message that was received"`
	Accept      string `header:"Accept"`
}

func (s *server) events(ctx context.Context, in *eventsInput) (*huma.StreamResponse, error) {
	after := in.After
	for name, text := range map[string]string{"query.cursor": in.Cursor, "header.Last-Event-ID": in.LastEventID} {
		if text == "" {
			continue
		}
		seq, err := strconv.ParseInt(text, 10, 64)
		if err != nil || seq < 0 {
			return nil, fail(http.StatusBadRequest, "bad_cursor", name+": this is not the seq of an event")
		}
		after = max(after, seq)
	}
	if strings.Contains(in.Accept, "text/event-stream") {
		if _, err := s.recalledRun(ctx, in.ID); err != nil {
			return nil, noRun(in.ID, err)
		}
		return &huma.StreamResponse{Body: func(ctx huma.Context) { s.stream(ctx, in.ID, after) }}, nil
	}
	events, err := s.Store.Events(ctx, in.ID, after, in.Limit+1)
	if err != nil {
		return nil, noRun(in.ID, err)
	}
	page := List[record.Event]{Items: events}
	if len(events) > in.Limit {
		page.Items = events[:in.Limit]
		page.NextCursor = strconv.FormatInt(page.Items[in.Limit-1].Seq, 10)
	}
	page.Items = withTexts(page.Items, eventWithText)
	return &huma.StreamResponse{Body: func(ctx huma.Context) {
		ctx.SetHeader("Content-Type", "application/json")
		_ = huma.DefaultJSONFormat.Marshal(ctx.BodyWriter(), page) // the client is gone if this fails
	}}, nil
}

// stream sends the events of a run after seq after, as they land, until the run is over or the request's context ends.
func (s *server) stream(hctx huma.Context, id string, after int64) {
	r, w := humago.Unwrap(hctx)
	ctx, cancel := context.WithCancel(r.Context())
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Accel-Buffering", "no")

	landed := make(chan []record.Event)
	followed := make(chan error, 1)
	go func() { followed <- s.follow(ctx, id, after, landed) }()
	ended := false
	defer func() {
		cancel()
		if !ended {
			<-followed
		}
	}()

	out := &messages{w: w, control: http.NewResponseController(w)}
	if out.comment("events of run "+id) != nil {
		return
	}
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	check := time.NewTicker(storeCheck)
	defer check.Stop()
	waits := s.waits(id)
	if waits != "" && out.waits(waits) != nil {
		return
	}
	look := time.NewTimer(0) // the run may be over already
	defer look.Stop()
	ending, last := true, record.EventType("")
	for {
		select {
		case events := <-landed:
			if out.events(events) != nil {
				return
			}
			for _, event := range events {
				after, last = event.Seq, event.Type
				ending = ending || last == record.EventRunFinished
			}
			if ending {
				look.Reset(0)
			}
		case <-look.C:
			run, err := s.head(ctx, id)
			switch {
			case errors.Is(err, store.ErrNotFound), err == nil && run.FinishTS != nil && after >= run.Seq:
				if waits != "" {
					_ = out.waits("")
				}
				_ = out.end()
				return
			case unanswered(err) && ctx.Err() == nil:
				look.Reset(storeCheck)
			case err != nil:
				return // the client takes the stream up again
			case run.FinishTS != nil:
				ending = true // with more events to come
			case last == record.EventRunFinished:
				look.Reset(recheck)
			default:
				ending = false // it goes on
			}
		case <-check.C:
			if now := s.waits(id); (now == "") != (waits == "") {
				if waits = now; out.waits(waits) != nil {
					return
				}
			}
		case <-beat.C:
			if out.comment("") != nil {
				return
			}
		case err := <-followed:
			ended = true
			if err != nil && ctx.Err() == nil {
				s.Log.Warn("event stream broke off", "run", id, "error", err)
			}
			return
		}
	}
}

// follow hands over a run's events after seq after as they land, until ctx ends (nil). A store that does not answer is
// asked again.
func (s *server) follow(ctx context.Context, id string, after int64, landed chan<- []record.Event) error {
	for {
		err := s.Store.Follow(ctx, id, after, func(events []record.Event) error {
			select {
			case landed <- events:
				after = events[len(events)-1].Seq
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
		if ctx.Err() != nil || !errors.Is(err, store.ErrUnavailable) {
			return err
		}
		select {
		case <-time.After(storeCheck):
		case <-ctx.Done():
			return nil
		}
	}
}

// waits is why a stream of the run gets nothing new where that is the store, else "".
func (s *server) waits(id string) string {
	if run, waits, owner := s.recall(id); owner != nil && waits && run.FinishTS == nil {
		return waitWithText(run.Waiting).Message
	}
	return s.storeWaits()
}

func (s *server) head(ctx context.Context, id string) (record.Run, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	return s.Store.Run(ctx, id)
}

// messages writes a stream of server-sent events (WHATWG HTML, 9.2). A client that does not read is left.
type messages struct {
	w       io.Writer
	control *http.ResponseController
}

func (m *messages) send(text string) error {
	_ = m.control.SetWriteDeadline(time.Now().Add(sendTimeout)) // recorders have none
	if _, err := io.WriteString(m.w, text); err != nil {
		return err
	}
	return m.control.Flush()
}

func (m *messages) comment(text string) error { return m.send(": " + text + "\n\n") }

func (m *messages) end() error { return m.send("event: end\ndata: {}\n\n") }

func (m *messages) waits(words string) error {
	data, err := json.Marshal(map[string]string{"waits_for": words})
	if err != nil {
		return err
	}
	return m.send("event: waits\ndata: " + string(data) + "\n\n")
}

func (m *messages) events(events []record.Event) error {
	var text strings.Builder
	for i := range events {
		data, err := json.Marshal(eventWithText(events[i]))
		if err != nil {
			return err
		}
		fmt.Fprintf(&text, "id: %d\ndata: %s\n\n", events[i].Seq, data)
	}
	return m.send(text.String())
}
