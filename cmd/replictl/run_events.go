package main

import (
	"github.com/spf13/cobra"
)

func (t *tool) runEvents() *cobra.Command {
	var after int64
	cmd := &cobra.Command{Use: "events RUN", Short: "List the events of a run", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := t.client()
			if err != nil {
				return err
			}
			items, err := c.Events(cmd.Context(), args[0], after)
			if err != nil {
				return err
			}
			if t.output != "table" {
				return t.print(items)
			}
			for _, event := range items {
				t.printf("%s", eventLine(event))
			}
			return nil
		}}
	cmd.Flags().Int64Var(&after, "after", 0, "only the events after this `number`")
	return cmd
}
