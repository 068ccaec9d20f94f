package api

import (
	"context"
	"net/http"
	"reflect"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/replicante-io/playbooks/record"
	"github.com/replicante-io/playbooks/store"
)

const listEvents = "list-events"

// acceptsStream reports whether a header Accept asks for a stream.
func acceptsStream(accept string) bool { return strings.Contains(accept, "text/event-stream") }

func (s *server) registerEvents() {
	page := s.api.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[List[record.Event]](), true, "")
	register(s, huma.Operation{OperationID: listEvents, Method: http.MethodGet, Path: "/runs/{id}/events",
		Summary: "List the events of a run in order, or, with Accept: text/event-stream, stream them until the run ends",
		Description: "Each message of the stream has an event as its data and the event's seq as its id. A message of type " +
			"end means that the run has ended and all its events were sent. A message of type waiting has in waiting what the " +
			"stream waits for while the primary store does not answer, and null when it answers again. A stream that stops " +
			"without a message of type end is continued with Last-Event-ID, at any replica. A replica that sends as many streams " +
			"as it may answers 503 busy.",
		Responses: map[string]*huma.Response{"200": {Description: "OK", Content: map[string]*huma.MediaType{
			"application/json": {Schema: page}, "text/event-stream": {Schema: &huma.Schema{Type: huma.TypeString}}}}},
	}, s.events)
}

type eventsInput struct {
	ID          string `path:"id"`
	After       int64  `query:"after" minimum:"0" doc:"The seq of the last event that is known."`
	Limit       int    `query:"limit" default:"100" minimum:"1" maximum:"1000"`
	Cursor      string `query:"cursor" doc:"The next_cursor of the page before; the same as after."`
	LastEventID string `header:"Last-Event-ID" doc:"Of a stream: the id of the last message that was received."`
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
			return nil, fail(http.StatusBadRequest, "bad_cursor", name+" is not the seq of an event")
		}
		after = max(after, seq)
	}
	if acceptsStream(in.Accept) {
		run, err := s.readRun(ctx, in.ID)
		if err != nil {
			return nil, noRun(in.ID, err)
		}
		stream := s.newStream(&run, after)
		return &huma.StreamResponse{Body: func(ctx huma.Context) {
			leaveReads(ctx.Context())
			r, w := humago.Unwrap(ctx)
			stream.serve(r.Context(), w)
		}}, nil
	}
	events, next, err := readPage(store.Page{Limit: in.Limit, Cursor: strconv.FormatInt(after, 10)}, func(page store.Page) ([]record.Event, string, error) {
		return s.eventsAfter(ctx, in.ID, page)
	})
	if err != nil {
		return nil, noRun(in.ID, err)
	}
	page := List[record.Event]{Items: withTexts(events, eventWithText), NextCursor: next}
	return &huma.StreamResponse{Body: func(ctx huma.Context) {
		ctx.SetHeader("Content-Type", "application/json")
		_ = huma.DefaultJSONFormat.Marshal(ctx.BodyWriter(), page) // the client has gone if this fails
	}}, nil
}

// eventsAfter reads a page of events; its cursor is the seq of the last event before it.
func (s *server) eventsAfter(ctx context.Context, id string, page store.Page) (events []record.Event, next string, err error) {
	after, err := strconv.ParseInt(page.Cursor, 10, 64)
	if err != nil {
		return nil, "", err
	}
	events, err = s.Store.Events(ctx, id, after, page.Limit+1)
	if len(events) > page.Limit {
		events = events[:page.Limit]
		next = strconv.FormatInt(events[page.Limit-1].Seq, 10)
	}
	return events, next, err
}
