package main

import (
	"errors"

	"github.com/spf13/cobra"

	"github.com/replicante-io/playbooks/api/client"
)

func (t *tool) validate() *cobra.Command {
	var names []string
	cmd := &cobra.Command{Use: "validate -f FILE…", Short: "Check playbooks, schedules and freezes without storing them", Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			files, err := t.files(append(names, args...))
			if err != nil {
				return err
			}
			c, err := t.client()
			if err != nil {
				return err
			}
			items, err := c.Validate(cmd.Context(), files)
			if t.format != "table" {
				return t.printValidation(items, err)
			}
			if err != nil {
				return err
			}
			return t.list(items, "KIND\tNAME\tVERSION\tRESULT", len(items), func(i int) []string {
				return []string{items[i].Kind, items[i].Name, dash(items[i].Version), "valid"}
			})
		}}
	cmd.Flags().StringSliceVarP(&names, "file", "f", nil, "a `file` or folder, or - for the standard input; repeatable")
	return cmd
}

// validation is the result of validate for programs.
type validation struct {
	Valid     bool             `json:"valid"`
	Documents []client.Applied `json:"documents"`
	Problems  []client.Problem `json:"problems"`
}

// printValidation prints a result, also where err is that there are problems; the exit code is 1 then.
func (t *tool) printValidation(items []client.Applied, err error) error {
	var answer *client.Error
	if err != nil && (!errors.As(err, &answer) || len(answer.Problems) == 0) {
		return err
	}
	result := validation{Valid: err == nil, Documents: items, Problems: []client.Problem{}}
	if err != nil {
		result.Documents, result.Problems = []client.Applied{}, answer.Problems
	}
	if failed := t.print(result); failed != nil || err == nil {
		return failed
	}
	return &exit{code: exitError}
}
