package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/replicante-io/playbooks/api/client"
)

// completionTimeout is how long a shell waits for names, completedRuns how many runs it is given.
const (
	completionTimeout = 2 * time.Second
	completedRuns     = 50
)

// names reads the names that may be typed, each with a description after a tab, or without.
type names func(ctx context.Context, t *tool, c *client.Client, args []string) ([]string, error)

// completing makes cmd complete its arguments: the first by the first of sources, and so on. One that is nil completes nothing.
func (t *tool) completing(cmd *cobra.Command, sources ...names) *cobra.Command {
	cmd.ValidArgsFunction = func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if len(args) >= len(sources) || sources[len(args)] == nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return t.complete(cmd, args, sources[len(args)])
	}
	if cmd.Flags().Lookup("cluster") != nil {
		t.completeCluster(cmd)
	}
	return cmd
}

// completeCluster makes cmd complete its flag for a cluster.
func (t *tool) completeCluster(cmd *cobra.Command) {
	err := cmd.RegisterFlagCompletionFunc("cluster", func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		return t.complete(cmd, args, clusterNames)
	})
	if err != nil {
		panic(err) // of a flag that does not exist: a mistake in this package
	}
}

// complete reads names. Where none can be had, the shell completes nothing.
func (t *tool) complete(cmd *cobra.Command, args []string, source names) ([]string, cobra.ShellCompDirective) {
	nothing := cobra.ShellCompDirectiveNoFileComp
	if err := t.settings.load(cmd.Flags()); err != nil {
		return nil, nothing
	}
	c, err := t.client()
	if err != nil {
		return nil, nothing
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), completionTimeout)
	defer cancel()
	found, err := source(ctx, t, c, args)
	if err != nil {
		return nil, nothing
	}
	for i := range found {
		found[i] = escapedColumns(found[i])
	}
	return found, nothing
}

func clusterNames(ctx context.Context, _ *tool, c *client.Client, _ []string) ([]string, error) {
	items, err := c.Clusters(ctx)
	found := make([]string, len(items))
	for i := range items {
		found[i] = items[i].ClusterID
	}
	return found, err
}

func playbookNames(ctx context.Context, _ *tool, c *client.Client, _ []string) ([]string, error) {
	items, err := c.Playbooks(ctx)
	found := make([]string, len(items))
	for i := range items {
		found[i] = items[i].Name
	}
	return found, err
}

func nodeNames(ctx context.Context, t *tool, c *client.Client, _ []string) ([]string, error) {
	items, err := c.Nodes(ctx, t.settings.cluster)
	found := make([]string, len(items))
	for i := range items {
		found[i] = items[i].NodeID + "\t" + string(items[i].Status)
	}
	return found, err
}

func runNames(ctx context.Context, t *tool, c *client.Client, _ []string) ([]string, error) {
	items, err := c.Runs(ctx, client.RunFilter{Cluster: t.settings.cluster, Limit: completedRuns})
	found := []string{lastRun}
	for i := range items {
		found = append(found, items[i].ID+"\t"+items[i].Playbook.Name+" on "+items[i].Cluster+", "+string(items[i].State))
	}
	return found, err
}

// runNodeNames are the nodes of the run that is the first argument.
func runNodeNames(ctx context.Context, t *tool, c *client.Client, args []string) ([]string, error) {
	id, err := t.runID(ctx, c, args[0])
	if err != nil {
		return nil, err
	}
	items, err := c.RunNodes(ctx, id, nil, 0)
	found := make([]string, len(items))
	for i := range items {
		found[i] = items[i].Node + "\t" + string(items[i].State)
	}
	return found, err
}
