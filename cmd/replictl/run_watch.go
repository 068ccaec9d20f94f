package main

import (
	"context"
	"errors"
	"time"

	"github.com/spf13/cobra"

	"github.com/replicante-io/playbooks/api/client"
)

func (t *tool) runWatch() *cobra.Command {
	var timeout time.Duration
	cmd := &cobra.Command{Use: "watch RUN", Short: "Show a run until it ends", Args: needs("RUN"),
		Long: "Show a run until it ends: live on a terminal, else one line per event. The exit code says how it ended.",
		RunE: func(cmd *cobra.Command, args []string) error {
			return t.withRun(cmd.Context(), args[0], func(c *client.Client, runID string) error {
				// A person sees that a run is paused, and may wait until somebody resumes it.
				return t.wait(cmd.Context(), c, runID, timeout, !t.draws)
			})
		}}
	cmd.Flags().DurationVar(&timeout, "wait-timeout", 0, "how long to watch, such as 10m (then exit code 6)")
	return t.completing(cmd, runNames)
}

// wait shows a run until it ends or, with returnsBlocked, until only an operator can move it, and prints it then. Its error is the
// exit.
func (t *tool) wait(ctx context.Context, c *client.Client, runID string, timeout time.Duration, returnsBlocked bool) error {
	return t.waitAfter(ctx, c, runID, 0, timeout, returnsBlocked)
}

// waitAfter is wait, of what happens after an event.
func (t *tool) waitAfter(ctx context.Context, c *client.Client, runID string, seq int64, timeout time.Duration, returnsBlocked bool) error {
	waiting := ctx
	if timeout > 0 {
		var cancel context.CancelFunc
		waiting, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	w := t.watcher(c, runID)
	w.returnsBlocked, w.lastSeq = returnsBlocked, seq
	run, err := w.watch(waiting, func(s stream) { t.stream = s })
	switch {
	case ctx.Err() != nil:
		t.note("run %s continues", runID)
		t.suggest([]suggestion{{"watch it again", "run watch " + runID}, {"end it", "run cancel " + runID}})
		return &exit{code: exitInterrupted}
	case errors.Is(err, context.DeadlineExceeded) && waiting.Err() != nil:
		return t.timedOut(ctx, c, runID, timeout)
	case err != nil:
		return err
	}
	if t.format != "table" {
		if err := t.print(run); err != nil {
			return err
		}
	} else if w.live == nil {
		t.printf("%s", summary(run))
	}
	if !run.State.Final() {
		t.note("run %s is %s", runID, run.State)
	}
	t.suggest(afterRun(w.shown))
	return exitOf(run)
}

// watcher makes a watcher that shows a run as the output and the terminal allow.
func (t *tool) watcher(c *client.Client, runID string) *watcher {
	w := &watcher{client: c, runID: runID, now: t.now}
	switch {
	case t.format == "table" && t.draws:
		w.live = &live{out: t.out, size: t.size}
	case t.format == "table":
		w.lines = t.out
	case t.drawsErr:
		w.live = &live{out: t.err, size: t.size}
	}
	if w.live == nil {
		w.note = func(text string) { t.note("%s", text) }
	}
	return w
}

func (t *tool) timedOut(ctx context.Context, c *client.Client, runID string, timeout time.Duration) error {
	t.note("run %s has not finished within %s; it continues", runID, timeout)
	t.suggest([]suggestion{{"watch it again", "run watch " + runID}})
	run, err := c.Run(ctx, runID)
	if err != nil {
		return &exit{code: exitNotFinished, err: err}
	}
	if t.format != "table" {
		if err := t.print(run); err != nil {
			return err
		}
	}
	return exitOf(run)
}
