package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/replicante-io/playbooks/internal/schema"
)

func (t *tool) schema() *cobra.Command {
	cmd := &cobra.Command{Use: "schema KIND", Short: "Print the JSON Schema of a kind of file, for editors and validators", Args: needs("KIND"),
		Long: "Print the JSON Schema (draft-07) of a kind of file: " + strings.Join(schema.Kinds, ", ") + ". It needs no server.\n" +
			"A server has the same schemas at /schemas/KIND.json.",
		RunE: func(cmd *cobra.Command, args []string) error {
			if !slices.Contains(schema.Kinds, args[0]) {
				return usagef("%q is not a kind of file; use one of %s", args[0], strings.Join(schema.Kinds, ", "))
			}
			_, err := fmt.Fprint(t.out, string(schema.JSON(args[0])))
			return err
		}}
	return t.completing(cmd, fixed(schema.Kinds...))
}
