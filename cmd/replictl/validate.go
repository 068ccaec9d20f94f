package main

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/replicante-io/playbooks/api/client"
)

func (t *tool) validate() *cobra.Command {
	var names []string
	var offline bool
	cmd := &cobra.Command{Use: "validate -f FILE…", Short: "Check playbooks, schedules and freezes without storing them", Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			files, err := t.files(append(names, args...))
			if err != nil {
				return err
			}
			items, err := t.validateFiles(cmd.Context(), files, offline)
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
	cmd.Flags().BoolVar(&offline, "offline", false, "check here, without a server")
	return cmd
}

func (t *tool) validateFiles(ctx context.Context, files []client.File, offline bool) ([]client.Applied, error) {
	if offline {
		items, unchecked, err := validateOffline(files)
		for _, name := range unchecked {
			t.note("replictl: the params and where of schedule %s are not checked: that needs its playbook, which is not among the files", name)
		}
		return items, err
	}
	c, err := t.client()
	if err != nil {
		return nil, err
	}
	return c.Validate(ctx, files)
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
