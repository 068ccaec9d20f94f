package main

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/replicante-io/playbooks/api/client"
	"github.com/replicante-io/playbooks/record"
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

// fixed completes words that never change.
func fixed(words ...string) names {
	return func(context.Context, *tool, *client.Client, []string) ([]string, error) {
		return slices.Clone(words), nil
	}
}

// fileFlags are the flags whose values are files, which the shell completes.
var fileFlags = []string{"config", "file", "token-file"}

// completeFlags makes the flags of cmd and of all commands below it complete the values that they can have, and no files where they
// have none.
func (t *tool) completeFlags(cmd *cobra.Command) {
	values := map[string][]string{"output": {"table", "json", "yaml"}, "log-format": {"text", "json"}, "if-busy": {"queue", "fail"},
		"log-level": {"trace", "debug", "info", "warn", "error", "off"}, "state": stateNames(cmd)}
	register := func(flag *pflag.Flag) {
		if _, known := cmd.GetFlagCompletionFunc(flag.Name); known || slices.Contains(fileFlags, flag.Name) {
			return
		}
		complete := inList(values[flag.Name])
		if flag.Name == "context" {
			complete = func(cmd *cobra.Command, _ []string, word string) ([]string, cobra.ShellCompDirective) {
				return t.contextNames(cmd, nil, word)
			}
		}
		if err := cmd.RegisterFlagCompletionFunc(flag.Name, complete); err != nil {
			panic(err) // a mistake in this package
		}
	}
	cmd.PersistentFlags().VisitAll(register)
	cmd.Flags().VisitAll(register)
	for _, below := range cmd.Commands() {
		t.completeFlags(below)
	}
}

// stateNames are the states that the flag of cmd for states knows.
func stateNames(cmd *cobra.Command) []string {
	states := []string{}
	if cmd.Name() == "nodes" {
		for _, state := range record.NodeStates {
			states = append(states, string(state))
		}
		return states
	}
	for _, state := range record.RunStates {
		states = append(states, string(state))
	}
	return states
}

// inList completes one of words, after a comma too.
func inList(words []string) cobra.CompletionFunc {
	return func(_ *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
		before := typed[:strings.LastIndex(typed, ",")+1]
		found := make([]string, len(words))
		for i, word := range words {
			found[i] = before + word
		}
		return found, cobra.ShellCompDirectiveNoFileComp
	}
}

// withoutQuotes takes the quotes from the descriptions of flags, which name a value in the text of --help: completion shows them as
// they are.
func withoutQuotes(cmd *cobra.Command) {
	plain := func(flag *pflag.Flag) { flag.Usage = strings.ReplaceAll(flag.Usage, "`", "") }
	cmd.PersistentFlags().VisitAll(plain)
	cmd.Flags().VisitAll(plain)
	for _, below := range cmd.Commands() {
		withoutQuotes(below)
	}
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

func scheduleNames(ctx context.Context, _ *tool, c *client.Client, _ []string) ([]string, error) {
	items, err := c.Schedules(ctx)
	found := make([]string, len(items))
	for i := range items {
		found[i] = items[i].Name
	}
	return found, err
}

func freezeNames(ctx context.Context, _ *tool, c *client.Client, _ []string) ([]string, error) {
	items, err := c.Freezes(ctx)
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
	return namesInRun(ctx, t, c, args, func(*record.RunNode) bool { return true })
}

// unknownNodeNames are those of them that can be resolved.
func unknownNodeNames(ctx context.Context, t *tool, c *client.Client, args []string) ([]string, error) {
	return namesInRun(ctx, t, c, args, func(n *record.RunNode) bool { return n.State == record.NodeUnknown || n.Unsettled() })
}

func namesInRun(ctx context.Context, t *tool, c *client.Client, args []string, wanted func(*record.RunNode) bool) ([]string, error) {
	id, err := t.runID(ctx, c, args[0])
	if err != nil {
		return nil, err
	}
	items, err := c.RunNodes(ctx, id, nil, 0)
	found := []string{}
	for i := range items {
		if wanted(&items[i]) {
			found = append(found, items[i].Node+"\t"+string(items[i].State))
		}
	}
	return found, err
}
