package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/replicante-io/playbooks/api/client"
)

func (t *tool) runEvents() *cobra.Command {
	var after int64
	cmd := &cobra.Command{Use: "events RUN", Short: "List the events of a run", Args: needs("RUN"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return t.withRun(cmd.Context(), args[0], func(c *client.Client, runID string) error {
				items, err := c.Events(cmd.Context(), runID, after)
				if err != nil {
					return err
				}
				return t.one(items, func(w io.Writer) {
					for _, event := range items {
						_, _ = fmt.Fprintln(w, eventLine(event))
					}
				})
			})
		}}
	cmd.Flags().Int64Var(&after, "after", 0, "only the events after this `number`")
	return t.completing(cmd, runNames)
}
