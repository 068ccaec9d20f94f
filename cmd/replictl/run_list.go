package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/replicante-io/playbooks/api/client"
)

func (t *tool) runList() *cobra.Command {
	filter := client.RunFilter{}
	cmd := &cobra.Command{Use: "list", Short: "List runs, newest first", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := t.client()
			if err != nil {
				return err
			}
			filter.Cluster = t.settings.cluster
			items, err := c.Runs(cmd.Context(), filter)
			if err != nil {
				return err
			}
			return t.list(items, "RUN\tPLAYBOOK\tREV\tCLUSTER\tSTATE\tNODES\tCREATED\tFINISHED", len(items), func(i int) string {
				r := items[i]
				return fmt.Sprintf("%s\t%s\t%d\t%s\t%s\t%s\t%s\t%s", r.ID, r.Playbook.Name, r.Playbook.Revision, r.Cluster, r.State,
					counts(r.Counts), when(&r.CreatedTS), when(r.FinishTS))
			})
		}}
	cmd.Flags().StringP("cluster", "c", "", "only runs on this `cluster`")
	cmd.Flags().StringVar(&filter.Playbook, "playbook", "", "only runs of this `playbook`")
	cmd.Flags().StringSliceVar(&filter.States, "state", nil, "only runs in these `states`, separated by commas")
	cmd.Flags().IntVar(&filter.Limit, "limit", 100, "the greatest `number` of runs to list; 0 lists all")
	return cmd
}
