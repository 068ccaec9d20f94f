package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

func (t *tool) validate() *cobra.Command {
	var names []string
	cmd := &cobra.Command{Use: "validate -f FILE…", Short: "Check playbooks without storing them", Args: cobra.ArbitraryArgs,
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
			if err != nil {
				return err
			}
			return t.list(items, "PLAYBOOK\tVERSION\tRESULT", len(items), func(i int) string {
				return fmt.Sprintf("%s\t%s\tvalid", items[i].Name, dash(items[i].Version))
			})
		}}
	cmd.Flags().StringSliceVarP(&names, "file", "f", nil, "a `file` or folder, or - for the standard input; repeatable")
	return cmd
}
