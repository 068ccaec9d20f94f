package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/replicante-io/playbooks/internal/schema"
)

// arguments are what the arguments of commands are, by the names that their usage gives them.
var arguments = map[string]string{
	"RUN":         "an id, the beginning of one, or last; to see the runs: replictl run list",
	"PLAYBOOK":    "the name of a playbook; to see the playbooks: replictl playbook list",
	"SCHEDULE":    "the name of a schedule; to see the schedules: replictl schedule list",
	"FREEZE":      "the name of a freeze; to see the freezes: replictl freeze list",
	"NODE":        "the name of a node; to see the nodes of a cluster: replictl node list --cluster C",
	"NAME":        "the name of a context; to see the contexts: replictl context list",
	"KIND":        "a kind of file: " + strings.Join(schema.Kinds, ", "),
	"DONE|FAILED": "how the node ended, DONE or FAILED",
}

// needs checks the number of arguments; names in brackets may be missing.
func needs(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) > len(names) {
			return fmt.Errorf("%q is one argument too many: %s takes %s", args[len(names)], cmd.CommandPath(), takes(names))
		}
		for _, name := range names[len(args):] {
			if !strings.HasPrefix(name, "[") {
				return fmt.Errorf("%s is missing: %s", name, arguments[name])
			}
		}
		return nil
	}
}

func takes(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, " ")
}

// needsCommand rejects what is not the name of a subcommand, and names those that are like it.
func needsCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	text := fmt.Sprintf("%s has no command %q", cmd.CommandPath(), args[0])
	if alike := cmd.SuggestionsFor(args[0]); len(alike) > 0 {
		text += "; did you mean " + strings.Join(alike, " or ") + "?"
	}
	return fmt.Errorf("%s", text)
}
