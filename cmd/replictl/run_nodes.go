package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

func (t *tool) runNodes() *cobra.Command {
	var states []string
	var limit int
	cmd := &cobra.Command{Use: "nodes RUN", Short: "List the nodes of a run", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := t.client()
			if err != nil {
				return err
			}
			items, err := c.RunNodes(cmd.Context(), args[0], states, limit)
			if err != nil {
				return err
			}
			return t.list(items, "NODE\tSTATE\tMEMBERSHIP\tACTIONS\tERROR", len(items), func(i int) string {
				n := items[i]
				return fmt.Sprintf("%s\t%s\t%s\t%d\t%s", n.Node, n.State, n.Membership, len(n.Actions), dash(strings.Join(strings.Fields(trouble(n)), " ")))
			})
		}}
	cmd.Flags().StringSliceVar(&states, "state", nil, "only in these `states`, with commas")
	cmd.Flags().IntVar(&limit, "limit", 0, "at most so many; 0 is all")
	return cmd
}
