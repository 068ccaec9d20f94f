package client

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/replicante-io/playbooks/record"
)

// silence is how long a stream may be silent, heartbeats included, before it is taken for dead.
const silence = 40 * time.Second

var (
	// errOver ends a stream whose run is over.
	errOver = errors.New("the run is over")
	// errBroken ends a stream that was open.
	errBroken = errors.New("the stream broke off")
)

// failed is what the caller of Follow said.
type failed struct{ error }

// Follow delivers a run's events after seq after, in order, each once, as they land, until the run is over (nil), deliver
// fails (its error) or ctx ends. A stream that breaks off is taken up again, at any server.
func (c *Client) Follow(ctx context.Context, runID string, after int64, deliver func(record.Event) error) error {
	pause := newPause()
	for {
		err := c.patiently(ctx, 4*c.Patience, 4*c.Patience, func(server string) error {
			return c.stream(ctx, server, runID, &after, deliver)
		})
		var told failed
		switch {
		case errors.Is(err, errOver):
			return nil
		case errors.As(err, &told):
			return told.error
		case errors.Is(err, errBroken):
			// It was answered, so patience begins anew; but not at once, if it breaks off again and again.
			c.lost(err)
			select {
			case <-time.After(pause.NextBackOff()):
				continue
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return err
	}
}

func (c *Client) lost(err error) {
	if c.Lost != nil {
		c.Lost(err)
	}
}

func (c *Client) waits(words string) {
	if c.Waits != nil {
		c.Waits(words)
	}
}

// stream reads one server's stream to its end, which is errOver, or errBroken where it just stops.
func (c *Client) stream(ctx context.Context, server, runID string, after *int64, deliver func(record.Event) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	dead := time.AfterFunc(attempt, cancel)
	defer dead.Stop()
	answer, err := c.open(ctx, server, request{method: http.MethodGet, path: join("runs", runID, "events")}, http.Header{
		"Accept": {"text/event-stream"}, "Last-Event-Id": {strconv.FormatInt(*after, 10)}})
	if err != nil {
		c.lost(err)
		return again(err)
	}
	defer func() { _ = answer.Body.Close() }()
	if answer.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
		err := refused(answer.StatusCode, body)
		c.lost(err)
		return err
	}
	c.lost(nil)
	c.waits("") // a server that knows better says so
	lines := bufio.NewReader(answer.Body)
	var kind string
	var data strings.Builder
	for {
		dead.Reset(silence)
		line, err := lines.ReadString('\n')
		if err != nil {
			if ctx.Err() != nil && !errors.Is(err, io.EOF) {
				err = context.Cause(ctx)
			}
			return fmt.Errorf("%w: %w", errBroken, err)
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
			return errOver
		}
		if kind == "waits" {
			var said struct {
				WaitsFor string `json:"waits_for"`
			}
			if json.Unmarshal([]byte(text), &said) == nil {
				c.waits(said.WaitsFor)
			}
		}
		if text == "" || kind != "" {
			kind = ""
			continue
		}
		var event record.Event
		if err := json.Unmarshal([]byte(text), &event); err != nil {
			return fmt.Errorf("read an event of run %s: %w", runID, err)
		}
		if event.Seq <= *after {
			continue
		}
		if err := deliver(event); err != nil {
			return failed{err}
		}
		*after = event.Seq
	}
}
