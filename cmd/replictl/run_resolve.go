package main

import (
	"strings"

	"github.com/spf13/cobra"

	"github.com/replicante-io/playbooks/record"
)

func (t *tool) runResolve() *cobra.Command {
	var reason string
	cmd := &cobra.Command{Use: "resolve RUN NODE DONE|FAILED --reason WHY", Short: "Decide how an UNKNOWN node ended", Args: cobra.ExactArgs(3),
		Long: "Decide how a node ended when it is not known how its action ended, and release the node for other runs.\n" +
			"Look at the node first: the run relies on your answer.",
		RunE: func(cmd *cobra.Command, args []string) error {
			state := record.NodeState(strings.ToUpper(args[2]))
			if state != record.NodeDone && state != record.NodeFailed {
				return usagef("%q is not a valid result: resolve a node as DONE or FAILED", args[2])
			}
			if reason == "" {
				return usagef("the reason is missing: give it with --reason, for example what you saw on the node")
			}
			return t.command(cmd.Context(), args[0], record.Command{Verb: record.VerbResolve, Node: args[1], State: state, Reason: reason})
		}}
	cmd.Flags().StringVar(&reason, "reason", "", "how you know, recorded with the event")
	return t.completing(cmd, runNames, runNodeNames)
}
