package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/replicante-io/playbooks/api/client"
	"github.com/replicante-io/playbooks/record"
)

func (t *tool) runResolve() *cobra.Command {
	var reason string
	cmd := &cobra.Command{Use: "resolve RUN NODE DONE|FAILED --reason WHY", Short: "Decide how an UNKNOWN node ended", Args: needs("RUN", "NODE", "DONE|FAILED"),
		Long: "Decide how a node ended when it is not known how its action ended. Look at the node first: the run relies on your answer.\n\n" +
			"DONE: the step counts as done. While its stage is open, the node continues with its next step; after that, DONE is its end.\n" +
			"FAILED: an attempt that the run still waits for has failed, and is repeated if the step has attempts left (retry); a node that\n" +
			"is UNKNOWN becomes FAILED. It counts against max_failures as before.\n\n" +
			"In both cases the action no longer counts as running: other runs may use the node. The state of a run that has ended stays.",
		RunE: func(cmd *cobra.Command, args []string) error {
			state := record.NodeState(strings.ToUpper(args[2]))
			if state != record.NodeDone && state != record.NodeFailed {
				return usagef("%q is not a valid result: resolve a node as DONE or FAILED", args[2])
			}
			if reason == "" {
				return usagef("the reason is missing: give it with --reason, for example what you saw on the node")
			}
			return t.resolve(cmd.Context(), args[0], record.Command{Verb: record.VerbResolve, Node: args[1], State: state, Reason: reason})
		}}
	cmd.Flags().StringVar(&reason, "reason", "", "how you know, recorded with the event")
	return t.completing(cmd, runNames, unknownNodeNames, fixed(string(record.NodeDone), string(record.NodeFailed)))
}

// resolve sends an operator's decision about a node, and shows what it did.
func (t *tool) resolve(ctx context.Context, name string, command record.Command) error {
	return t.withRun(ctx, name, func(c *client.Client, runID string) error {
		run, err := c.Command(ctx, runID, command)
		if err != nil {
			return err
		}
		node, err := c.RunNode(ctx, runID, command.Node)
		if err != nil {
			return fmt.Errorf("node %s of run %s is resolved as %s, but cannot be shown: %w", command.Node, runID, command.State, err)
		}
		return t.one(run, func(w io.Writer) {
			writeRun(w, &run)
			_, _ = fmt.Fprintln(w, resolvedLine(&node, &run))
		})
	})
}

// resolvedLine is what a decision about a node leads to.
func resolvedLine(node *record.RunNode, run *record.Run) string {
	line := "node " + node.Node + ": " + string(node.State)
	switch {
	case node.State.Final() && run.State.Final():
		line += "; the run had ended and stays " + string(run.State) + "; other runs may use the node"
	case node.State.Final():
		line += "; nothing more is done on it in this run; other runs may use it"
	case node.State == record.NodeWaiting:
		line += "; it continues with its next step, in the next batch of its stage"
	default:
		line += "; it continues"
		if why := nodeReason(node); why != "" {
			line += ": " + why
		}
	}
	return oneLine(line)
}
