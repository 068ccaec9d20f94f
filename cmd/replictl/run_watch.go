package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/replicante-io/playbooks/api/client"
	"github.com/replicante-io/playbooks/record"
)

func (t *tool) runWatch() *cobra.Command {
	var timeout time.Duration
	cmd := &cobra.Command{Use: "watch RUN", Short: "Show a run until it ends", Args: cobra.ExactArgs(1),
		Long: "Show a run until it ends: live on a terminal, else one line per event. The exit code says how it ended.",
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := t.client()
			if err != nil {
				return err
			}
			// A person sees that a run is paused, and may wait for the one who resumes it.
			return t.wait(cmd.Context(), c, args[0], timeout, !t.draws)
		}}
	cmd.Flags().DurationVar(&timeout, "wait-timeout", 0, "how long to watch, as 10m (exit 6)")
	return cmd
}

// wait shows a run until it ends, or, if stopsPaused, until it needs an operator's word, and prints it then. Its error is
// the exit.
func (t *tool) wait(ctx context.Context, c *client.Client, runID string, timeout time.Duration, stopsPaused bool) error {
	waiting := ctx
	if timeout > 0 {
		var cancel context.CancelFunc
		waiting, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	w := &watch{client: c, runID: runID, now: t.now, stopsPaused: stopsPaused}
	switch {
	case t.output == "table" && t.draws:
		w.live = &live{out: t.out, size: t.size}
	case t.output == "table":
		w.lines = t.out
	case t.drawsErr:
		w.live = &live{out: t.err, size: t.size}
	}
	t.lost, t.waits = w.lostStream, w.waitsFor
	if w.live == nil {
		w.say = func(text string) { t.note("%s", text) }
	}
	run, err := w.follow(waiting)
	switch {
	case ctx.Err() != nil:
		t.note("run %s goes on; watch it again: replictl run watch %s; end it: replictl run cancel %s", runID, runID, runID)
		return &exit{code: exitInterrupted}
	case errors.Is(err, context.DeadlineExceeded) && waiting.Err() != nil:
		t.note("run %s goes on after %s; watch it again: replictl run watch %s", runID, timeout, runID)
		if run, err = c.Run(ctx, runID); err != nil {
			return &exit{code: exitNotFinished, err: err}
		}
		if t.output != "table" {
			if err := t.print(run); err != nil {
				return err
			}
		}
		return ended(run)
	case err != nil:
		return err
	}
	if t.output != "table" {
		if err := t.print(run); err != nil {
			return err
		}
	} else if w.live == nil {
		t.say("%s", verdict(run))
	}
	if !run.State.Final() {
		t.note("run %s is %s: %s", runID, run.State, advice(run))
	}
	return ended(run)
}

func advice(run record.Run) string {
	if run.State == record.RunPaused {
		return fmt.Sprintf("let it go on with replictl run resume %s, or end it with replictl run cancel %s", run.ID, run.ID)
	}
	if run.Waiting == nil {
		return "it waits"
	}
	return "it waits: " + run.Waiting.Message
}

// watch shows one run from its event stream. It reads the run again at most every redraw.
type watch struct {
	client      *client.Client
	runID       string
	now         func() time.Time
	stopsPaused bool
	live        *live        // draws, if not nil
	lines       io.Writer    // gets a line per event, if not nil
	say         func(string) // tells what keeps the stream, where nothing is drawn
	trouble     chan error
	waiting     chan string
}

const redraw = 200 * time.Millisecond

// needsWord tells whether only an operator moves the run on.
func needsWord(run record.Run) bool {
	return run.State == record.RunPaused || run.State == record.RunPendingApprove
}

func (w *watch) lostStream(err error) {
	select {
	case w.trouble <- err:
	default:
	}
}

func (w *watch) waitsFor(words string) {
	select {
	case w.waiting <- words:
	default:
	}
}

func (w *watch) follow(ctx context.Context) (record.Run, error) {
	w.trouble, w.waiting = make(chan error, 16), make(chan string, 16)
	first, err := w.client.Run(ctx, w.runID)
	if err != nil {
		return first, err
	}
	ctx, cancel := context.WithCancel(ctx)
	events, over := make(chan record.Event), make(chan error, 1)
	go func() {
		over <- w.client.Follow(ctx, w.runID, 0, func(event record.Event) error {
			select {
			case events <- event:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	}()
	followed := false
	defer func() {
		cancel()
		for !followed {
			select {
			case <-events:
			case <-over:
				followed = true
			}
		}
	}()

	shown := view{run: first}
	tick := time.NewTicker(redraw)
	defer tick.Stop()
	seen, changed := int64(0), true
	var drawn time.Time
	for {
		select {
		case event := <-events:
			seen, changed = event.Seq, true
			if w.lines != nil {
				_, _ = fmt.Fprintln(w.lines, eventLine(event))
			}
		case err := <-w.trouble:
			shown.lost = err
			drawn = time.Time{}
			var answered *client.Error
			if errors.As(err, &answered) && w.say != nil && shown.waits == "" {
				shown.waits = answered.Message
				w.say(waitsLine(shown.waits))
			}
		case words := <-w.waiting:
			if w.say != nil && (words == "") != (shown.waits == "") {
				w.say(waitsLine(words))
			}
			shown.waits, drawn = words, time.Time{}
		case <-tick.C:
			if changed {
				w.read(ctx, &shown)
				changed, drawn = false, time.Time{}
			}
			if w.live != nil && w.now().Sub(drawn) >= time.Second {
				w.live.draw(func(width int) []string { return draw(shown, width, w.now()) })
				drawn = w.now()
			}
			if w.stopsPaused && needsWord(shown.run) && seen >= shown.run.Seq {
				return shown.run, nil
			}
		case err := <-over:
			followed = true
			if err != nil {
				return shown.run, err
			}
			run, err := w.client.Run(ctx, w.runID)
			if err != nil {
				return run, err
			}
			if w.live != nil {
				shown = view{run: run}
				_ = shown.readUnwell(ctx, w.client) // what is not well adds to the picture, no more
				w.live.draw(func(width int) []string { return draw(shown, width, w.now()) })
			}
			return run, nil
		}
	}
}

func waitsLine(words string) string {
	if words == "" {
		return "the run continues"
	}
	return "waiting: " + cut(words, len(words))
}

// read looks at the run again; where nobody answers in time, what was known stays.
func (w *watch) read(ctx context.Context, shown *view) {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	run, err := w.client.Run(ctx, w.runID)
	if err != nil {
		return
	}
	shown.run = run
	if w.live != nil {
		_ = shown.readUnwell(ctx, w.client) // the next look finds them
	}
}
