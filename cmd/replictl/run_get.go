package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"
)

// plainWidth is the width of a picture that goes to no terminal; maxSuggestion is that of a line that may be copied, anywhere.
const (
	plainWidth    = 160
	maxSuggestion = 1000
)

func (t *tool) runGet() *cobra.Command {
	return &cobra.Command{Use: "get RUN", Short: "Show a run", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := t.client()
			if err != nil {
				return err
			}
			run, err := c.Run(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			shown := view{run: run}
			if err := shown.readUnwell(cmd.Context(), c); err != nil {
				return err
			}
			return t.one(run, func(w io.Writer) {
				width := plainWidth
				if t.draws {
					width, _ = t.size()
				}
				for _, line := range draw(shown, width, t.now()) {
					_, _ = fmt.Fprintln(w, line)
				}
				for _, line := range suggestionLines(afterRun(shown), maxSuggestion) {
					_, _ = fmt.Fprintln(w, line)
				}
			})
		}}
}
