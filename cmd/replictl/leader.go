package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"
)

func (t *tool) leader() *cobra.Command {
	return &cobra.Command{Use: "leader", Short: "Show which replica leads", Args: needs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := t.client()
			if err != nil {
				return err
			}
			leader, err := c.Leader(cmd.Context())
			if err != nil {
				return err
			}
			return t.one(leader, func(w io.Writer) {
				_, _ = fmt.Fprintf(w, "%s leads in term %d, at %s\n", leader.Name, leader.Term, leader.Advertise)
			})
		}}
}
