package main

import (
	"strings"

	"github.com/spf13/cobra"

	"github.com/replicante-io/playbooks/record"
)

func (t *tool) runResolve() *cobra.Command {
	var reason string
	cmd := &cobra.Command{Use: "resolve RUN NODE DONE|FAILED --reason WHY", Short: "Say how an UNKNOWN node ended", Args: cobra.ExactArgs(3),
		Long: "Say how a node ended whose action nobody can tell the end of. Look at the node first: the run believes you.",
		RunE: func(cmd *cobra.Command, args []string) error {
			state := record.NodeState(strings.ToUpper(args[2]))
			if state != record.NodeDone && state != record.NodeFailed {
				return usagef("%q: a node is resolved as DONE or FAILED", args[2])
			}
			if reason == "" {
				return usagef("resolve needs a --reason: how do you know?")
			}
			return t.command(cmd.Context(), args[0], record.Command{Verb: record.VerbResolve, Node: args[1], State: state, Reason: reason})
		}}
	cmd.Flags().StringVar(&reason, "reason", "", "how it is known, for the record")
	return cmd
}
