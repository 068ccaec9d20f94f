package client

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/replicante-io/playbooks/internal/transport"
	"github.com/replicante-io/playbooks/record"
)

// silenceTimeout is how long nothing, not even a heartbeat, may arrive before a stream counts as interrupted.
const silenceTimeout = 40 * time.Second

var (
	// errFinished ends the stream of a run that has finished.
	errFinished = errors.New("the run has finished")
	// errInterrupted ends a stream that was open.
	errInterrupted = errors.New("the stream was interrupted")
)

// deliverError is an error of Follow's deliver.
type deliverError struct{ error }

// errBusy means that every server sends as many streams as it may.
var errBusy = errors.New("no server opens a stream")

// Follow delivers a run's events after the one with seq after, in order, each once, as they are stored, until the run has
// finished (nil), deliver fails (its error) or ctx ends. A stream that is interrupted is continued, at any server. While no
// server opens one since all are busy, it reads what is stored now and then.
func (c *Client) Follow(ctx context.Context, runID string, after int64, deliver func(record.Event) error) error {
	backoff := newBackoff()
	for {
		busy := 0
		err := c.repeat(ctx, 4*c.Patience, 4*c.Patience, func(server string) error {
			err := c.stream(ctx, server, runID, &after, deliver)
			if isBusy(err) {
				if busy++; busy >= len(c.Servers) {
					return errBusy
				}
			}
			return err
		})
		if errors.Is(err, errBusy) {
			if err = c.poll(ctx, runID, &after, deliver); errors.Is(err, ErrNoServer) {
				err = nil // the next stream is opened, or patience ends
			}
		}
		var failed deliverError
		switch {
		case errors.Is(err, errFinished):
			return nil
		case errors.As(err, &failed):
			return failed.error
		case errors.Is(err, errInterrupted):
			c.interrupted(err)
		case err != nil:
			return err
		}
		// A server had answered, so patience starts again; a stream that is interrupted often is opened less often.
		if !backoff.Wait(ctx) {
			return ctx.Err()
		}
	}
}

func isBusy(err error) bool {
	var answer *Error
	return errors.As(err, &answer) && answer.Code == "busy"
}

// poll delivers the events that are stored after the one with seq after: errFinished where the run has no more.
func (c *Client) poll(ctx context.Context, runID string, after *int64, deliver func(record.Event) error) error {
	run, err := c.Run(ctx, runID)
	if err != nil {
		return err
	}
	events, err := c.Events(ctx, runID, *after)
	if err != nil {
		return err
	}
	for _, event := range events {
		if err := deliver(event); err != nil {
			return deliverError{err}
		}
		*after = event.Seq
	}
	if run.State.Final() && *after >= run.Seq {
		return errFinished
	}
	return nil
}

func (c *Client) interrupted(reason error) {
	if c.Interrupted != nil {
		c.Interrupted(reason)
	}
}

func (c *Client) waiting(message string) {
	if c.Waiting != nil {
		c.Waiting(message)
	}
}

// stream reads the stream of one server until it ends: errFinished, or errInterrupted where it stops before the run has finished.
func (c *Client) stream(ctx context.Context, server, runID string, after *int64, deliver func(record.Event) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	silent := time.AfterFunc(attemptTimeout, cancel)
	defer silent.Stop()
	answer, err := c.open(ctx, server, request{method: http.MethodGet, path: join("runs", runID, "events")}, http.Header{
		"Accept": {"text/event-stream"}, "Last-Event-Id": {strconv.FormatInt(*after, 10)}})
	if err != nil {
		c.interrupted(err)
		return retryableError{err}
	}
	defer func() { _ = answer.Body.Close() }()
	if answer.StatusCode != http.StatusOK {
		body, _ := transport.ReadAll(answer.Body, maxAnswer)
		err := errorOf(answer, body)
		c.interrupted(err)
		return err
	}
	if media, _, _ := mime.ParseMediaType(answer.Header.Get("Content-Type")); media != "text/event-stream" {
		return fmt.Errorf("the answer of %s is of type %q, not the event stream of a control plane", server, answer.Header.Get("Content-Type"))
	}
	c.interrupted(nil)
	c.waiting("") // until this server reports otherwise
	lines := bufio.NewReader(answer.Body)
	var kind string
	var data strings.Builder
	for {
		silent.Reset(silenceTimeout)
		line, err := lines.ReadString('\n')
		if err != nil {
			if ctx.Err() != nil && !errors.Is(err, io.EOF) {
				err = context.Cause(ctx)
			}
			return fmt.Errorf("%w: %w", errInterrupted, err)
		}
		name, value, _ := strings.Cut(strings.TrimRight(line, "\r\n"), ":")
		value = strings.TrimPrefix(value, " ")
		switch name {
		case "event":
			kind = value
		case "data":
			data.WriteString(value)
		}
		if strings.TrimRight(line, "\r\n") != "" {
			continue
		}
		text := data.String()
		data.Reset()
		if kind == "end" {
			return errFinished
		}
		if kind == "waiting" {
			var message struct{ Waiting *record.Wait }
			if json.Unmarshal([]byte(text), &message) == nil {
				if message.Waiting == nil {
					message.Waiting = &record.Wait{}
				}
				c.waiting(message.Waiting.Message)
			}
		}
		if text == "" || kind != "" {
			kind = ""
			continue
		}
		var event record.Event
		if err := json.Unmarshal([]byte(text), &event); err != nil {
			return fmt.Errorf("decode an event of run %s: %w", runID, err)
		}
		if event.Seq <= *after {
			continue
		}
		if err := deliver(event); err != nil {
			return deliverError{err}
		}
		*after = event.Seq
	}
}
