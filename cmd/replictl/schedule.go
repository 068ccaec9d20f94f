package main

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/replicante-io/playbooks/api/client"
	"github.com/replicante-io/playbooks/record"
)

func (t *tool) schedule() *cobra.Command {
	return group("schedule", "Show, suspend and delete schedules", t.scheduleList(), t.scheduleGet(), t.scheduleSuspend(true), t.scheduleSuspend(false),
		t.scheduleDelete())
}

func (t *tool) scheduleList() *cobra.Command {
	return &cobra.Command{Use: "list", Short: "List the schedules, with their next due times and last results", Args: needs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := t.client()
			if err != nil {
				return err
			}
			items, err := c.Schedules(cmd.Context())
			if err != nil {
				return err
			}
			return t.list(items, "SCHEDULE\tPLAYBOOK\tCLUSTER\tCRON\tTIME ZONE\tNEXT\tLAST\tRESULT", len(items), func(i int) []string {
				s := items[i]
				return []string{s.Name, s.Spec.Playbook, s.Spec.Cluster, s.Spec.Cron, s.Spec.TimeZone, nextText(&s), when(s.LastDueTS), lastResult(&s)}
			})
		}}
}

func nextText(s *record.Schedule) string {
	if s.Spec.Suspended {
		return "suspended"
	}
	return when(s.NextTS)
}

func lastResult(s *record.Schedule) string {
	if len(s.Results) == 0 {
		return "-"
	}
	return resultText(s.Results[0])
}

// resultText is what became of a due time: the run, or why there is none.
func resultText(r record.ScheduleResult) string {
	text := string(r.State)
	if r.RunID != "" {
		text += " run " + r.RunID
	}
	if r.Reason != nil {
		text += ": " + oneLine(r.Reason.Message)
	}
	return text
}

func (t *tool) scheduleGet() *cobra.Command {
	cmd := &cobra.Command{Use: "get SCHEDULE", Short: "Show a schedule, its next due time and what became of the last ones", Args: needs("SCHEDULE"),
		Long: "Show a schedule, its next due time and what became of the last ones. What -o yaml prints can be applied again.",
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := t.client()
			if err != nil {
				return err
			}
			s, err := c.Schedule(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if t.format == "yaml" {
				return writeManifest(t.out, "Schedule", manifestMetadata{Name: s.Name, Labels: s.Labels}, s.Spec)
			}
			return t.one(s, func(w io.Writer) { _, _ = io.WriteString(w, rows(scheduleLines(&s))) })
		}}
	return t.completing(cmd, scheduleNames)
}

func scheduleLines(s *record.Schedule) [][]string {
	playbook := s.Spec.Playbook
	if s.Spec.Revision != 0 {
		playbook += " revision " + strconv.FormatInt(s.Spec.Revision, 10)
	}
	params := "-"
	if len(s.Spec.Params) > 0 {
		params = jsonText(s.Spec.Params)
	}
	lines := [][]string{{"Schedule:", s.Name + " revision " + strconv.FormatInt(s.Revision, 10)}, {"Playbook:", playbook}, {"Cluster:", s.Spec.Cluster},
		{"Params:", params}, {"Where:", dash(s.Spec.Where)}, {"Cron:", s.Spec.Cron + " (" + s.Spec.TimeZone + ")"}, {"Start within:", s.Spec.StartWithin},
		{"If running:", string(s.Spec.IfRunning)}, {"Next:", nextText(s)}}
	for _, r := range s.Results {
		lines = append(lines, []string{"Due " + when(&r.DueTS) + ":", resultText(r)})
	}
	return lines
}

func (t *tool) scheduleSuspend(suspended bool) *cobra.Command {
	verb, short := "resume", "Have a suspended schedule start runs again; what it has missed is not made up"
	if suspended {
		verb, short = "suspend", "Have a schedule start no run until it is resumed"
	}
	cmd := &cobra.Command{Use: verb + " SCHEDULE", Short: short, Args: needs("SCHEDULE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := t.client()
			if err != nil {
				return err
			}
			s, err := c.Suspend(cmd.Context(), args[0], suspended)
			if err != nil {
				return err
			}
			return t.one(s, func(w io.Writer) { _, _ = fmt.Fprintf(w, "schedule %s: next %s\n", s.Name, nextText(&s)) })
		}}
	return t.completing(cmd, scheduleNames)
}

func (t *tool) scheduleDelete() *cobra.Command {
	return t.deleteCommand("schedule", "Delete a schedule; runs that it has started go on", scheduleNames, (*client.Client).DeleteSchedule)
}

// deleteCommand deletes a document by its name.
func (t *tool) deleteCommand(kind, short string, source names, remove func(*client.Client, context.Context, string) error) *cobra.Command {
	upper := strings.ToUpper(kind)
	cmd := &cobra.Command{Use: "delete " + upper, Short: short, Args: needs(upper),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := t.client()
			if err != nil {
				return err
			}
			if err := remove(c, cmd.Context(), args[0]); err != nil {
				return err
			}
			return t.one(map[string]any{"kind": kind, "name": args[0], "deleted": true}, func(w io.Writer) {
				_, _ = fmt.Fprintf(w, "%s %s is deleted\n", kind, args[0])
			})
		}}
	return t.completing(cmd, source)
}
