package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/replicante-io/playbooks/record"
)

func (t *tool) runPause() *cobra.Command {
	return t.word(record.VerbPause, "Start nothing more until the run is resumed")
}

func (t *tool) runResume() *cobra.Command {
	return t.word(record.VerbResume, "Let a paused run go on")
}

func (t *tool) word(verb record.Verb, short string) *cobra.Command {
	command := record.Command{Verb: verb}
	cmd := &cobra.Command{Use: string(verb) + " RUN", Short: short, Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return t.command(cmd.Context(), args[0], command) }}
	cmd.Flags().StringVar(&command.Reason, "reason", "", "why, for the record")
	return cmd
}

func (t *tool) runCancel() *cobra.Command {
	command := record.Command{Verb: record.VerbCancel}
	cmd := &cobra.Command{Use: "cancel RUN", Short: "End a run", Args: cobra.ExactArgs(1),
		Long: "End a run: nothing more starts, and what is in flight is waited for, or stopped with --kill.",
		RunE: func(cmd *cobra.Command, args []string) error { return t.command(cmd.Context(), args[0], command) }}
	cmd.Flags().StringVar(&command.Reason, "reason", "", "why, for the record")
	cmd.Flags().BoolVar(&command.Kill, "kill", false, "stop the actions in flight")
	return cmd
}

// command tells a run and shows how it is then.
func (t *tool) command(ctx context.Context, runID string, command record.Command) error {
	c, err := t.client()
	if err != nil {
		return err
	}
	run, err := c.Command(ctx, runID, command)
	if err != nil {
		return err
	}
	return t.one(run, func(w io.Writer) {
		_, _ = fmt.Fprintf(w, "run %s of %s on %s: %s\n", run.ID, run.Playbook.Name, run.Cluster, run.State)
		if run.Waiting != nil {
			_, _ = fmt.Fprintf(w, "waiting: %s\n", run.Waiting.Message)
		}
	})
}
