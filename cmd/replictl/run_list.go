package main

import (
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/replicante-io/playbooks/api/client"
)

func (t *tool) runList() *cobra.Command {
	filter := client.RunFilter{}
	cmd := &cobra.Command{Use: "list", Short: "List runs, newest first", Args: needs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if filter.Limit < 0 {
				return errNegativeLimit
			}
			c, err := t.client()
			if err != nil {
				return err
			}
			filter.Cluster = t.settings.cluster
			limit := filter.Limit
			if t.format != "table" && !cmd.Flags().Changed("limit") {
				limit = 0 // a program would take what was cut for all
			}
			items, err := c.Runs(cmd.Context(), client.RunFilter{Cluster: filter.Cluster, Playbook: filter.Playbook, States: upper(filter.States),
				Limit: oneMore(limit)})
			if err == nil && len(items) == 0 && filter.Cluster != "" {
				_, err = c.Nodes(cmd.Context(), filter.Cluster) // a cluster that is not known is an error, as for node list
			}
			if err != nil {
				return err
			}
			items = cutList(t, items, limit, "runs")
			return t.list(items, "RUN\tPLAYBOOK\tREV\tCLUSTER\tSTATE\tNODES\tCREATED\tENDED", len(items), func(i int) []string {
				r := items[i]
				return []string{r.ID, r.Playbook.Name, strconv.FormatInt(r.Playbook.Revision, 10), r.Cluster, string(r.State),
					counts(r.Counts), when(&r.CreatedTS), when(r.EndTS)}
			})
		}}
	cmd.Flags().StringP("cluster", "c", "", "only runs on this `cluster`")
	cmd.Flags().StringVar(&filter.Playbook, "playbook", "", "only runs of this `playbook`")
	cmd.Flags().StringSliceVar(&filter.States, "state", nil, "only runs in these `states`, separated by commas")
	cmd.Flags().IntVar(&filter.Limit, "limit", 100, "the greatest `number` of runs to list; 0 lists all, as -o json and -o yaml do")
	return t.completing(cmd)
}

// errNegativeLimit rejects a --limit that is no number of items.
var errNegativeLimit = usagef("--limit cannot be negative; 0 lists all")

// upper is the names of states as they are written, however they were typed.
func upper(states []string) []string {
	all := make([]string, len(states))
	for i, state := range states {
		all[i] = strings.ToUpper(state)
	}
	return all
}

// oneMore is the limit that finds out whether there are more items than limit; 0 is no limit.
func oneMore(limit int) int {
	if limit == 0 {
		return 0
	}
	return limit + 1
}

// cutList is items without those above limit. It says that there are more.
func cutList[T any](t *tool, items []T, limit int, what string) []T {
	if limit == 0 || len(items) <= limit {
		return items
	}
	t.note("replictl: there are more %s than the %d that are listed; --limit 0 lists all", what, limit)
	return items[:limit]
}
