package main

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/replicante-io/playbooks/api/client"
	"github.com/replicante-io/playbooks/record"
)

func (t *tool) runNodes() *cobra.Command {
	var states []string
	var limit int
	cmd := &cobra.Command{Use: "nodes RUN", Short: "List the nodes of a run", Args: needs("RUN"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if limit < 0 {
				return errNegativeLimit
			}
			return t.withRun(cmd.Context(), args[0], func(c *client.Client, runID string) error {
				items, err := c.RunNodes(cmd.Context(), runID, upper(states), oneMore(limit))
				if err != nil {
					return err
				}
				items = cutList(t, items, limit, "nodes")
				run := record.Run{}
				atWork := func(n record.RunNode) bool { return n.State == record.NodeRunning && nodeReason(&n) == "" }
				if t.format == "table" && slices.ContainsFunc(items, atWork) {
					if run, err = c.Run(cmd.Context(), runID); err != nil {
						return err
					}
				}
				slices.SortFunc(items, func(a, b record.RunNode) int { return record.CompareIDs(a.Node, b.Node) })
				return t.list(items, "NODE\tSTATE\tMEMBERSHIP\tSTAGE\tACTIONS\tREASON", len(items), func(i int) []string {
					n := &items[i]
					return []string{n.Node, string(n.State), string(n.Membership), dash(lastStage(n)), strconv.Itoa(len(n.Actions)),
						dash(strings.Join(strings.Fields(cmp.Or(nodeReason(n), keptReason(n, &run))), " "))}
				})
			})
		}}
	cmd.Flags().StringSliceVar(&states, "state", nil, "only nodes in these `states`, separated by commas")
	cmd.Flags().IntVar(&limit, "limit", 0, "the greatest `number` of nodes to list; 0 lists all")
	return t.completing(cmd, runNames)
}

// lastStage is the latest stage that a node was in, and the state that it has there.
func lastStage(n *record.RunNode) string {
	if len(n.Stages) == 0 {
		return ""
	}
	stage := &n.Stages[len(n.Stages)-1]
	return passName(stage.Name, stage.Pass, stage.PassNumber) + " " + string(stage.State)
}
