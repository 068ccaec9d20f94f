package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/mattn/go-runewidth"
	"github.com/spf13/cobra"

	"github.com/replicante-io/playbooks/record"
)

// maxPlanRows and maxPlanNodes are how many batches of a stage, and how many nodes that cannot be decided about, a table shows.
const (
	maxPlanRows  = 50
	maxPlanNodes = 20
)

func (t *tool) plan() *cobra.Command {
	var flags startFlags
	cmd := &cobra.Command{Use: "plan PLAYBOOK --cluster C", Short: "Show what a run would do, without starting it", Args: needs("PLAYBOOK"),
		Long: "Show what a run of a playbook on a cluster would do: its stages, the batches of nodes in their order, the arguments, and what stands in\n" +
			"between. It is what happens where nothing fails and the nodes stay as they are now. Nothing is started or stored.",
		RunE: func(cmd *cobra.Command, args []string) error { return t.showPlan(cmd.Context(), args[0], flags) }}
	f := cmd.Flags()
	f.StringP("cluster", "c", "", "the `cluster` to plan for")
	f.StringArrayVarP(&flags.params, "param", "p", nil, "a param as `name=value`, lists and maps as YAML or JSON; repeatable")
	f.StringVar(&flags.where, "where", "", "plan only for the nodes for which this `expression` is true, such as 'node.attributes.zone == \"a\"'")
	f.StringArrayVar(&flags.nodes, "node", nil, "plan only for this `node`; repeatable")
	f.Int64Var(&flags.revision, "revision", 0, "the revision of the playbook; 0 is the latest")
	return t.completing(cmd, playbookNames)
}

func (t *tool) showPlan(ctx context.Context, name string, flags startFlags) error {
	cluster, err := t.needCluster()
	if err != nil {
		return err
	}
	if flags.revision < 0 {
		return usagef("--revision cannot be negative")
	}
	params, err := readParams(flags.params)
	if err != nil {
		return err
	}
	c, err := t.client()
	if err != nil {
		return err
	}
	plan, err := c.Plan(ctx, record.RunRequest{Playbook: name, Revision: flags.revision, Cluster: cluster, Params: params,
		Where: flags.where, Nodes: flags.nodes})
	if err != nil {
		return err
	}
	return t.one(plan, func(w io.Writer) {
		width := plainWidth
		if t.draws {
			if columns, _ := t.size(); columns > 0 {
				width = columns
			}
		}
		for _, line := range planLines(&plan, width) {
			for _, part := range wrap(line, width, 0) {
				_, _ = fmt.Fprintln(w, part)
			}
		}
	})
}

// planLines are a plan as lines, of which those of tables take at most width columns.
func planLines(plan *record.Plan, width int) []string {
	lines := []string{fmt.Sprintf("%s revision %d %s on %s", plan.Playbook.Name, plan.Playbook.Revision, plan.Playbook.Version, plan.Cluster)}
	add := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
	add("as of %s, where nothing fails and the nodes stay as they are", when(&plan.ObservedTS))
	if len(plan.Params) > 0 {
		add("params: %s", asJSON(plan.Params))
	}
	if plan.Where != "" {
		add("where: %s", plan.Where)
	}
	if len(plan.Only) > 0 {
		add("only: %s", list(plan.Only))
	}
	if plan.Behind != "" {
		add("queue: it would wait for run %s, which is in the way now", plan.Behind)
	}
	if f := plan.Freeze; f != nil {
		line := "freeze: the start would be refused now: " + f.Name
		if f.Until != nil {
			line += " holds until " + when(f.Until)
		}
		if f.Reason != "" {
			line += ": " + f.Reason
		}
		add("%s", line)
	}
	if plan.Approval != nil {
		add("approval: before the run begins%s", approvalLine(plan.Approval))
	}
	for _, stages := range plan.Together {
		add("together: nothing stops between the stages %s", strings.Join(stages, ", "))
	}
	for i := range plan.Stages {
		lines = append(append(lines, ""), planStageLines(&plan.Stages[i], width)...)
	}
	lines = append(lines, planNodeLines(plan)...)
	if plan.Error != nil {
		add("")
		add("error: %s", errorLine(plan.Error))
	}
	return lines
}

// planNodeLines are the nodes of a plan that no batch has.
func planNodeLines(plan *record.Plan) []string {
	var lines []string
	if len(plan.Undecided) > 0 {
		lines = append(lines, "", fmt.Sprintf("cannot be decided about now: %s; the run would wait, and then they fail", number(len(plan.Undecided), "node", "s")))
		for i, u := range plan.Undecided {
			if i == maxPlanNodes {
				lines = append(lines, fmt.Sprintf("  … and %d more; -o json has all", len(plan.Undecided)-i))
				break
			}
			lines = append(lines, fmt.Sprintf("  %s (stage %s): %s", u.Node, u.Stage, errorLine(u.Error)))
		}
	}
	if len(plan.LeftOut) > 0 {
		lines = append(lines, "", fmt.Sprintf("left out: %s: %s", number(len(plan.LeftOut), "node", "s"), list(plan.LeftOut)))
	}
	if len(plan.Untouched) > 0 {
		lines = append(lines, "", fmt.Sprintf("no stage is for: %s: %s", number(len(plan.Untouched), "node", "s"), list(plan.Untouched)))
	}
	return lines
}

func planStageLines(st *record.PlanStage, width int) []string {
	name, size := st.Name, number(st.Total, "node", "s")
	if st.Pass != record.PassMain {
		name += " (" + string(st.Pass) + ")"
	}
	if slices.Contains(st.AtRunTime, "targets") {
		size = "its nodes are known at run time"
	}
	lines := []string{fmt.Sprintf("stage %s: %s", name, size)}
	add := func(format string, args ...any) { lines = append(lines, fmt.Sprintf("  "+format, args...)) }
	if st.Approval != nil {
		add("approval: before the stage starts%s", approvalLine(st.Approval))
	}
	for _, what := range st.AtRunTime {
		if what == "targets" {
			continue
		}
		add("%s: known at run time", what)
	}
	if len(st.Groups) > 0 {
		add("groups: %s, %d at a time", list(st.Groups), st.AtOnce)
	}
	if st.Total > 0 {
		add("failures: at most %d, then %s", st.MaxFailures, st.OnFailure)
	}
	for i := range st.Steps {
		add("step %s", planStepLine(st, &st.Steps[i]))
	}
	if st.Guard != nil {
		add("guard before each batch: %s", guardLine(st.Guard))
	}
	if st.Health != nil {
		add("gate after each batch: %s", gateLine(st.Health))
	}
	if st.BatchPause != "" {
		add("pause between batches: %s", st.BatchPause)
	}
	if st.Stops {
		add("the run would stop here (%s): %s cannot be decided about now", st.OnFailure, number(st.Undecided, "node", "s"))
	}
	if st.Error != nil {
		add("error: %s", errorLine(st.Error))
	}
	return append(lines, planBatchLines(st, width)...)
}

// planBatchLines are a table of the batches of a stage.
func planBatchLines(st *record.PlanStage, width int) []string {
	if len(st.Batches) == 0 {
		return nil
	}
	table := [][]string{{"  BATCH", "SIZE", "NODES"}}
	if len(st.Groups) > 0 {
		table = [][]string{{"  BATCH", "GROUP", "SIZE", "NODES"}}
	}
	var nodes [][]string
	for i := range st.Batches[:min(len(st.Batches), maxPlanRows)] {
		b := &st.Batches[i]
		names := make([]string, len(b.Nodes))
		for j := range b.Nodes {
			names[j] = b.Nodes[j].Node
		}
		row := []string{fmt.Sprintf("  %d", i+1)}
		if len(st.Groups) > 0 {
			row = append(row, b.Group)
		}
		table = append(table, append(row, fmt.Sprint(len(b.Nodes)), ""))
		nodes = append(nodes, names)
	}
	left := width - runewidth.StringWidth(strings.Split(rows(table), "\n")[0]) + len("NODES")
	for i, names := range nodes {
		table[i+1][len(table[i+1])-1] = fitting(names, left)
	}
	lines := strings.Split(strings.TrimSuffix(rows(table), "\n"), "\n")
	if more := len(st.Batches) - maxPlanRows; more > 0 {
		lines = append(lines, fmt.Sprintf("  … and %s; -o json has all", number(more, "more batch", "es")))
	}
	return lines
}

// fitting is names as text, as many of them as width columns hold; one at least.
func fitting(names []string, width int) string {
	text := ""
	for i, name := range names {
		next := name
		if i > 0 {
			next = text + ", " + name
		}
		more := ""
		if i < len(names)-1 {
			more = fmt.Sprintf(" and %d more", len(names)-i-1)
		}
		if i > 0 && runewidth.StringWidth(next+more) > width {
			return text + fmt.Sprintf(" and %d more", len(names)-i)
		}
		text = next
	}
	return text
}

// number is a number of things.
func number(n int, thing, plural string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %s%s", n, thing, plural)
}

// planStepLine is a step with its arguments: those of the first node that gets it.
func planStepLine(st *record.PlanStage, step *record.PlanStep) string {
	line := step.Name + ": " + step.Action
	var args record.Document
	first, of, skipped, differ := "", "", 0, false
	for i := range st.Batches {
		for j := range st.Batches[i].Nodes {
			n := &st.Batches[i].Nodes[j]
			for _, s := range n.Steps {
				switch {
				case s.Step != step.Name:
				case s.Skipped:
					skipped++
				case of == "":
					args, first, of = s.Args, asJSON(s.Args), n.Node
				default:
					differ = differ || asJSON(s.Args) != first
				}
			}
		}
	}
	if len(args) > 0 {
		line += " " + first
		if differ {
			line += " for " + of + ", others for other nodes"
		}
	}
	if step.When != "" {
		line += ", when " + step.When
	}
	if len(step.AtRunTime) > 0 {
		line += "; known at run time: " + strings.Join(step.AtRunTime, ", ")
	}
	if skipped > 0 {
		line += fmt.Sprintf("; now skipped on %s", number(skipped, "node", "s"))
	}
	return line
}

// guardLine is a guard, and whether it holds now.
func guardLine(g *record.PlanGuard) string {
	line := checksLine(g.Checks) + " within " + g.Timeout + " (else " + g.OnTimeout + ")"
	switch {
	case g.Holds == nil:
		return line + "; known at run time"
	case *g.Holds:
		return line + "; it holds now"
	}
	return line + "; it does not hold now: " + errorLine(g.Error)
}

func checksLine(list []record.PlanCheck) string {
	checks := make([]string, len(list))
	for i, c := range list {
		if checks[i] = c.Check; c.Name != "" {
			checks[i] = c.Name + ": " + c.Check
		}
	}
	return strings.Join(checks, "; ")
}

func gateLine(health *record.PlanHealth) string {
	line := "nodes that were HEALTHY are so again"
	if len(health.Checks) > 0 {
		line = checksLine(health.Checks)
	}
	line += " within " + health.Timeout
	if health.Settle != "" {
		line += ", and stay so for " + health.Settle
	}
	return line
}

func approvalLine(a *record.PlanApproval) string {
	line := ""
	if a.Timeout != "" {
		line += ", within " + a.Timeout + " (else " + a.OnTimeout + ")"
	}
	if a.Message != "" {
		line += ": " + a.Message
	}
	return line
}

// asJSON is a value on one line.
func asJSON(value any) string {
	text, _ := json.Marshal(value) // of an answer, which was JSON
	return string(text)
}

func errorLine(e *record.Error) string {
	if e.Message != "" {
		return e.Message
	}
	return e.Code
}
