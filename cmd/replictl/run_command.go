package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/replicante-io/playbooks/api/client"
	"github.com/replicante-io/playbooks/record"
)

func (t *tool) runPause() *cobra.Command {
	return t.plainCommand(record.VerbPause, "Start no further action until the run is resumed")
}

func (t *tool) runResume() *cobra.Command {
	return t.plainCommand(record.VerbResume, "Continue a paused run")
}

// plainCommand sends a command that has no flags but its reason.
func (t *tool) plainCommand(verb record.Verb, short string) *cobra.Command {
	command := record.Command{Verb: verb}
	cmd := &cobra.Command{Use: string(verb) + " RUN", Short: short, Args: needs("RUN"),
		RunE: func(cmd *cobra.Command, args []string) error { return t.command(cmd.Context(), args[0], command) }}
	cmd.Flags().StringVar(&command.Reason, "reason", "", "the reason, recorded with the event")
	return t.completing(cmd, runNames)
}

func (t *tool) runApprove() *cobra.Command {
	return t.approvalCommand(record.VerbApprove, "Let a run, or a stage of it, start that waits for its approval",
		"Let a run start, or a stage of it, that waits for its approval. --stage names the stage; it can be left out: at most one thing of a run waits\nfor an approval.")
}

func (t *tool) runReject() *cobra.Command {
	return t.approvalCommand(record.VerbReject, "End a run that waits for an approval",
		"Reject a run, or a stage of it, that waits for its approval: the run ends CANCELLED. What its earlier stages have done is not undone.")
}

// approvalCommand sends a command about a run, or a stage of it, that waits for its approval.
func (t *tool) approvalCommand(verb record.Verb, short, long string) *cobra.Command {
	command := record.Command{Verb: verb}
	cmd := &cobra.Command{Use: string(verb) + " RUN", Short: short, Long: long, Args: needs("RUN"),
		RunE: func(cmd *cobra.Command, args []string) error { return t.command(cmd.Context(), args[0], command) }}
	cmd.Flags().StringVar(&command.Stage, "stage", "", "the `stage` that waits for its approval")
	cmd.Flags().StringVar(&command.Reason, "reason", "", "the reason, recorded with the event")
	return t.completing(cmd, runNames)
}

func (t *tool) runCancel() *cobra.Command {
	command := record.Command{Verb: record.VerbCancel}
	cmd := &cobra.Command{Use: "cancel RUN", Short: "Cancel a run", Args: needs("RUN"),
		Long: "End a run: no further action starts. The run waits for the actions in flight, or stops them with --kill. Stages that run\ntogether are ended first, without --kill. What was done is not undone.",
		RunE: func(cmd *cobra.Command, args []string) error { return t.command(cmd.Context(), args[0], command) }}
	cmd.Flags().StringVar(&command.Reason, "reason", "", "the reason, recorded with the event")
	cmd.Flags().BoolVar(&command.Kill, "kill", false, "stop the actions in flight instead of waiting for them")
	return t.completing(cmd, runNames)
}

// command sends a command to a run and shows the run after it.
func (t *tool) command(ctx context.Context, name string, command record.Command) error {
	return t.withRun(ctx, name, func(c *client.Client, runID string) error {
		run, err := c.Command(ctx, runID, command)
		if err != nil {
			return err
		}
		return t.one(run, func(w io.Writer) {
			writeRun(w, &run)
			if command.Verb == record.VerbCancel || command.Verb == record.VerbReject {
				writeNotUndone(w, &run)
			}
		})
	})
}

// writeNotUndone says on how many nodes the run has done something that its end does not undo.
func writeNotUndone(w io.Writer, run *record.Run) {
	touched, all := 0, 0
	for state, n := range run.Counts {
		all += n
		switch state {
		case record.NodePending, record.NodeAdded, record.NodeNotReached, record.NodeSkipped, record.NodeRemoved:
		default:
			touched += n
		}
	}
	if touched > 0 {
		_, _ = fmt.Fprintf(w, "what was done on %d of %d nodes is not undone: replictl run nodes %s\n", touched, all, run.ID)
	}
}

// writeRun writes a run after a command.
func writeRun(w io.Writer, run *record.Run) {
	_, _ = fmt.Fprintf(w, "run %s of %s on %s: %s\n", run.ID, run.Playbook.Name, run.Cluster, run.State)
	if run.Waiting != nil {
		_, _ = fmt.Fprintln(w, waitingText(run.Waiting.Message, ""))
	}
}
