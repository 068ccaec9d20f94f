package main

import (
	"context"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/replicante-io/playbooks/api/client"
	"github.com/replicante-io/playbooks/record"
)

func (t *tool) runRetry() *cobra.Command {
	command := record.Command{Verb: record.VerbRetry}
	var wait bool
	var timeout time.Duration
	cmd := &cobra.Command{Use: "retry RUN", Short: "Have the nodes that are not done begin again where they were", Args: needs("RUN"),
		Long: "Have the nodes of a run that has ended, or is paused, begin again at the step that failed; a node that is done is left alone.\n\n" +
			"A run that has ended is queued again, and takes these nodes through the stages that are left for them. Of a paused run, the nodes that\n" +
			"failed in its open stage are put back, and the run is resumed. Budgets count anew, and batches begin with the first size again.\n" +
			"A node on which an action may still be running has to be resolved first.",
		RunE: func(cmd *cobra.Command, args []string) error {
			if timeout < 0 {
				return usagef("--wait-timeout cannot be negative")
			}
			return t.retry(cmd.Context(), args[0], command, wait || timeout > 0, timeout)
		}}
	f := cmd.Flags()
	f.StringArrayVar(&command.Nodes, "node", nil, "a `node` that is retried; repeatable; without it all that are not done")
	f.StringVar(&command.Reason, "reason", "", "the reason, recorded with the event")
	f.BoolVarP(&wait, "wait", "w", false, "wait until the run ends")
	f.DurationVar(&timeout, "wait-timeout", 0, "how long to wait, such as 10m; then the run continues (exit code 6)")
	return t.completing(cmd, runNames)
}

func (t *tool) retry(ctx context.Context, name string, command record.Command, wait bool, timeout time.Duration) error {
	return t.withRun(ctx, name, func(c *client.Client, runID string) error {
		run, err := c.Command(ctx, runID, command)
		if err != nil {
			return err
		}
		if !wait {
			return t.one(run, func(w io.Writer) { writeRun(w, &run) })
		}
		return t.waitAfter(ctx, c, runID, run.Seq, timeout, true)
	})
}
