package main

import (
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/replicante-io/playbooks/record"
)

func (t *tool) playbook() *cobra.Command {
	return group("playbook", "Show the playbooks that were applied", t.playbookList(), t.playbookGet(), t.playbookRevisions())
}

func (t *tool) playbookList() *cobra.Command {
	return &cobra.Command{Use: "list", Short: "List the playbooks", Args: needs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := t.client()
			if err != nil {
				return err
			}
			items, err := c.Playbooks(cmd.Context())
			if err != nil {
				return err
			}
			return t.revisions(items)
		}}
}

func (t *tool) playbookRevisions() *cobra.Command {
	cmd := &cobra.Command{Use: "revisions PLAYBOOK", Short: "List the revisions of a playbook, newest first", Args: needs("PLAYBOOK"),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := t.client()
			if err != nil {
				return err
			}
			items, err := c.Revisions(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return t.revisions(items)
		}}
	return t.completing(cmd, playbookNames)
}

func (t *tool) revisions(items []record.Playbook) error {
	return t.list(items, "PLAYBOOK\tREVISION\tVERSION\tAPPLIED\tSOURCE", len(items), func(i int) []string {
		p := items[i]
		return []string{p.Name, strconv.FormatInt(p.Revision, 10), dash(p.Version), when(&p.CreatedTS), dash(sourceText(p.Source))}
	})
}

func sourceText(s *record.Source) string {
	if s == nil {
		return ""
	}
	text := s.Repository
	if s.Path != "" {
		text += " " + s.Path
	}
	if s.Commit != "" {
		text += " @" + s.Commit
	}
	return strings.TrimSpace(text)
}
