package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/replicante-io/playbooks/api/client"
)

// plainWidth is the width of a picture that goes to no terminal; maxSuggestion is that of a line that may be copied, anywhere.
const (
	plainWidth    = 160
	maxSuggestion = 1000
)

func (t *tool) runGet() *cobra.Command {
	cmd := &cobra.Command{Use: "get RUN", Short: "Show a run", Args: needs("RUN"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return t.withRun(cmd.Context(), args[0], func(c *client.Client, runID string) error {
				return t.showRun(cmd.Context(), c, runID)
			})
		}}
	return t.completing(cmd, runNames)
}

func (t *tool) showRun(ctx context.Context, c *client.Client, runID string) error {
	run, err := c.Run(ctx, runID)
	if err != nil {
		return err
	}
	shown := view{run: run}
	if err := shown.readUnwell(ctx, c); err != nil {
		return err
	}
	return t.one(run, func(w io.Writer) {
		width := plainWidth
		if t.draws {
			width, _ = t.size()
		}
		for _, line := range draw(shown, width, unboundedLines, t.now()) {
			_, _ = fmt.Fprintln(w, line)
		}
		for _, line := range suggestionLines(afterRun(shown), maxSuggestion) {
			_, _ = fmt.Fprintln(w, line)
		}
	})
}
