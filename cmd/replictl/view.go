package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/replicante-io/playbooks/api/client"
	"github.com/replicante-io/playbooks/record"
)

// view is all that the picture of a run shows.
type view struct {
	run         record.Run
	unwell      []record.RunNode // some of the nodes that are in one of unwellStates
	resolved    []record.RunNode // those that the run's error names and that an operator has resolved as DONE since
	lost        error            // why the stream of events was interrupted; nil while it is open
	streamWaits string           // what the stream waits for, such as the primary store
}

// maxUnwell is how many nodes that are not well are shown.
const maxUnwell = 8

// unwellStates are the states of nodes that are not well: of those that failed, and of those that the run left halfway.
var unwellStates = []record.NodeState{record.NodeFailed, record.NodeUnknown, record.NodeRollbackFailed, record.NodeIncomplete}

// readUnwell reads the nodes that are not well, if there are any.
func (v *view) readUnwell(ctx context.Context, c *client.Client) error {
	v.unwell = nil
	halfway := len(unwellStates) - 1
	for _, states := range [][]record.NodeState{unwellStates[:halfway], unwellStates[halfway:]} {
		names := []string{}
		for _, state := range states {
			if v.run.Counts[state] > 0 {
				names = append(names, string(state))
			}
		}
		left := maxUnwell - len(v.unwell)
		if len(names) == 0 || left == 0 {
			continue
		}
		nodes, err := c.RunNodes(ctx, v.run.ID, names, left)
		if err != nil {
			return err
		}
		v.unwell = append(v.unwell, nodes...)
	}
	return v.readResolved(ctx, c)
}

// readResolved reads the nodes that the error of a run names as failed and that are DONE by now.
func (v *view) readResolved(ctx context.Context, c *client.Client) error {
	v.resolved = nil
	if v.run.Error == nil || v.run.Counts[record.NodeDone] == 0 {
		return nil
	}
	named, _ := v.run.Error.Data["named"].([]any)
	for _, item := range named[:min(len(named), maxUnwell)] {
		one, _ := item.(map[string]any)
		name := text(one, "node")
		if name == "" || slices.ContainsFunc(v.unwell, func(n record.RunNode) bool { return n.Node == name }) {
			continue
		}
		node, err := c.RunNode(ctx, v.run.ID, name)
		if err != nil {
			return err
		}
		if resolvedReason(&node) != "" {
			v.resolved = append(v.resolved, node)
		}
	}
	return nil
}

// maxReasonLines is how many lines a reason takes at most in a picture that is drawn again and again; unboundedLines is for one that is
// printed once.
const (
	maxReasonLines = 6
	unboundedLines = 0
)

// draw is the picture of a run: lines of at most width characters. Reasons continue on further lines, at most so many.
func draw(v view, width, most int, now time.Time) []string {
	var lines []string
	for _, line := range headLines(v, now) {
		lines = append(lines, wrap(line, width, most)...)
	}
	if w := v.run.Waiting; w != nil && v.streamWaits == "" { // what is cut is not when the waiting ends
		lines = withEnd(lines, w.Until, width)
	}
	lines = append(lines, "")
	for _, line := range stageLines(&v.run, width) {
		lines = append(lines, cut(line, width))
	}
	for _, line := range append(stageErrorLines(&v.run), unwellLines(v)...) {
		lines = append(lines, wrap(line, width, most)...)
	}
	return lines
}

// withEnd is lines with the time when the waiting ends, if it is on none of them.
func withEnd(lines []string, until *time.Time, width int) []string {
	if until == nil {
		return lines
	}
	clock := until.UTC().Format(time.RFC3339)
	if slices.ContainsFunc(lines, func(line string) bool { return strings.Contains(line, clock) }) {
		return lines
	}
	return append(lines, cut("  until "+clock, width))
}

// stageErrorLines are the errors of stages that are not that of the run.
func stageErrorLines(run *record.Run) []string {
	var lines []string
	for i := range run.Stages {
		stage := &run.Stages[i]
		if stage.Error != nil && (run.Error == nil || run.Error.Message != stage.Error.Message) {
			lines = append(lines, "  stage "+stageName(stage)+": "+stage.Error.Message)
		}
	}
	return lines
}

// suggestionLines are suggestions as the last lines of a picture, of at most width characters.
func suggestionLines(suggestions []suggestion, width int) []string {
	lines := []string{}
	for i, s := range suggestions {
		if i == 0 {
			lines = append(lines, "")
		}
		lines = append(lines, cut("  "+s.String(), width))
	}
	return lines
}

func headLines(v view, now time.Time) []string {
	run := &v.run
	lines := []string{
		fmt.Sprintf("run %s  %s revision %d on %s", run.ID, run.Playbook.Name, run.Playbook.Revision, run.Cluster),
		string(run.State) + age(run, now),
		timesLine(run),
	}
	if run.Where != "" {
		lines = append(lines, "where: "+run.Where)
	}
	if len(run.Nodes) > 0 {
		lines = append(lines, "only: "+list(run.Nodes))
	}
	if run.Reason != "" {
		lines = append(lines, "reason: "+run.Reason)
	}
	if run.Error != nil {
		lines = append(lines, "error: "+headError(v))
	}
	if line := rollbackLine(run.Rollback); line != "" {
		lines = append(lines, line)
	}
	if line := commandLine(run.LastCommand); line != "" && run.State != record.RunCancelled && run.State != record.RunCancelling {
		lines = append(lines, line)
	}
	if v.streamWaits != "" {
		lines = append(lines, waitingText(v.streamWaits, ""))
	} else if run.Waiting != nil {
		lines = append(lines, waitingLine(run))
	}
	if v.lost != nil {
		lines = append(lines, "connection lost, connecting again: "+v.lost.Error())
	}
	return lines
}

// headError is the error of a run without the reasons of the nodes that are shown with theirs below.
func headError(v view) string {
	message := v.run.Error.Message
	for i := range v.unwell {
		message = withoutReason(message, v.unwell[i].Node, nodeReason(&v.unwell[i]))
	}
	return message
}

// withoutReason is message without the reason of a node, which may have grown since: "node (reason)" becomes "node".
func withoutReason(message, node, reason string) string {
	before, rest, found := strings.Cut(message, node+" (")
	if !found {
		return message
	}
	same := 0
	for same < min(len(rest), len(reason)) && rest[same] == reason[same] {
		same++
	}
	if same == 0 || same == len(rest) || rest[same] != ')' || same < len(reason) && reason[same] != ';' {
		return message
	}
	return before + node + rest[same+1:]
}

// rollbackLine is how far the rollback of a run is, or how it ended.
func rollbackLine(r *record.RunRollback) string {
	if r == nil {
		return ""
	}
	counts := fmt.Sprintf("%d nodes rolled back, %d could not be", r.RolledBack, r.Failed)
	switch r.State {
	case record.RollbackPending:
		return "rollback: it begins once the actions in flight have ended"
	case record.RollbackDone:
		return fmt.Sprintf("rollback: DONE, %d nodes rolled back", r.RolledBack)
	}
	return "rollback: " + string(r.State) + ", " + counts
}

// commandLine is the last command that an operator gave a run. That of a cancelled run is its error.
func commandLine(c *record.LastCommand) string {
	if c == nil {
		return ""
	}
	line := map[record.Verb]string{record.VerbPause: "paused", record.VerbResume: "resumed", record.VerbCancel: "cancelled", record.VerbRetry: "retried",
		record.VerbApprove: "approved", record.VerbReject: "rejected"}[c.Verb]
	if c.Actor != "" {
		line += " by " + c.Actor
	}
	if line += " at " + c.TS.UTC().Format(time.RFC3339); c.Reason != "" {
		line += ": " + c.Reason
	}
	return line
}

// waitingLine is what a run waits for, without its error, which has a line of its own.
func waitingLine(run *record.Run) string {
	message, until := run.Waiting.Message, ""
	if run.Error != nil {
		message = strings.TrimSuffix(message, ": "+run.Error.Message)
	}
	if run.Waiting.Until != nil {
		until = run.Waiting.Until.Format(time.RFC3339Nano)
	}
	return waitingText(message, until)
}

// timesLine is who requested a run, and when it was requested, started and ended, and when nothing of it was unsettled any more where that
// was later.
func timesLine(run *record.Run) string {
	line := "requested"
	if run.RequestedBy != "" {
		line += " by " + run.RequestedBy
	}
	line += " at " + when(&run.CreatedTS)
	if run.StartTS != nil {
		line += ", started at " + when(run.StartTS)
	}
	if run.EndTS != nil {
		line += ", ended at " + when(run.EndTS)
	}
	if run.EndTS != nil && run.FinishTS != nil && run.FinishTS.Sub(*run.EndTS) >= time.Second {
		line += ", nothing unsettled since " + when(run.FinishTS)
	}
	return line
}

func age(run *record.Run, now time.Time) string {
	start, format := run.CreatedTS, ", requested %s ago"
	if run.StartTS != nil {
		start, format = *run.StartTS, ", started %s ago"
	}
	if run.EndTS != nil {
		now, format = *run.EndTS, " after %s"
	}
	return fmt.Sprintf(format, max(now.Sub(start), 0).Truncate(time.Second))
}

// stageColumns is the width of a stage's line without its name, its bar and its counts.
const stageColumns = 33

// stageLines are one line per stage and pass, and one for all nodes. The counts come first; the bar gets the width that they leave.
func stageLines(run *record.Run, width int) []string {
	longest, counted := len("nodes"), len(counts(run.Counts))
	for i := range run.Stages {
		longest, counted = max(longest, len(stageName(&run.Stages[i]))), max(counted, len(counts(run.Stages[i].Counts)))
	}
	lines := []string{}
	if width < longest+stageColumns+20 { // too narrow for columns
		for i := range run.Stages {
			stage := &run.Stages[i]
			lines = append(lines, fmt.Sprintf("%s %s %s %s", mark(stage.State), stageName(stage), stage.State, batchText(stage)))
		}
		return append(lines, "  "+counts(run.Counts))
	}
	bar := min(width-longest-counted-stageColumns, 40)
	for i := range run.Stages {
		stage := &run.Stages[i]
		lines = append(lines, stageLine(stage, longest, bar))
	}
	lines = append(lines, fmt.Sprintf("  %-*s  %-11s  %-11s %s%s", longest, "nodes", "", "", meter(run.Counts, 0, bar), counts(run.Counts)))
	if marks := legend(run); bar >= minMeter && marks != "" {
		lines = append(lines, fmt.Sprintf("  %-*s  %s", longest, "bars", marks))
	}
	return lines
}

// stageName is the name of a stage, with its pass where that is not the main one.
func stageName(stage *record.RunStage) string {
	return passName(stage.Name, stage.Pass, stage.PassNumber)
}

func passName(stage string, pass record.PassKind, number int) string {
	switch {
	case pass == record.PassMain || pass == "":
		return stage
	case number > 1:
		return fmt.Sprintf("%s (%s %d)", stage, pass, number)
	}
	return fmt.Sprintf("%s (%s)", stage, pass)
}

func mark(state record.StageState) string {
	switch state {
	case record.StageRunning:
		return ">"
	case record.StageFailed:
		return "!"
	case record.StageDone:
		return "+"
	case record.StageCancelled:
		return "x"
	}
	return " "
}

func batchText(stage *record.RunStage) string {
	if stage.Batch == 0 {
		return ""
	}
	return fmt.Sprintf("batch %d/%d", stage.Batch, max(stage.Batches, stage.Batch))
}

func stageLine(stage *record.RunStage, longest, bar int) string {
	line := fmt.Sprintf("%s %-*s  %-11s", mark(stage.State), longest, stageName(stage), stage.State)
	if stage.State == record.StagePending || stage.State == record.StageNotReached {
		return line
	}
	return fmt.Sprintf("%s  %-11s %s%s", line, batchText(stage), meter(stage.Counts, stage.Total, bar), counts(stage.Counts))
}

func unwellLines(v view) []string {
	if len(v.unwell)+len(v.resolved) == 0 {
		return nil
	}
	lines := []string{""}
	for _, nodes := range [][]record.RunNode{v.unwell, v.resolved} {
		for i := range nodes {
			lines = append(lines, fmt.Sprintf("  %s %s: %s", nodes[i].Node, nodes[i].State, nodeReason(&nodes[i])))
		}
	}
	total, states := 0, []string{}
	for _, state := range unwellStates {
		if n := v.run.Counts[state]; n > 0 {
			total += n
			states = append(states, string(state))
		}
	}
	if more := total - len(v.unwell); more > 0 {
		lines = append(lines, fmt.Sprintf("  and %d more: replictl run nodes %s --state %s", more, v.run.ID, strings.Join(states, ",")))
	}
	return lines
}

// gateReasons is what the health gates of a run wait for, by node, where the run's record names the node.
func gateReasons(run *record.Run) map[string]string {
	reasons := map[string]string{}
	for i := range run.Stages {
		for _, group := range run.Stages[i].Groups {
			if group.Waiting == nil || group.Waiting.For != record.WaitGate {
				continue
			}
			named, _ := group.Waiting.Data["named"].([]any)
			for _, item := range named {
				one, _ := item.(map[string]any)
				if node := text(one, "node"); node != "" {
					reasons[node] = "not healthy yet: " + text(one, "message")
				}
			}
		}
	}
	return reasons
}

// keptReason is what keeps a node that is at work, where its own record does not say it: that of its run does.
func keptReason(node *record.RunNode, run *record.Run) string {
	if node.State != record.NodeRunning || len(node.Stages) == 0 {
		return ""
	}
	if w := run.Waiting; w != nil && w.Node == node.Node {
		return w.Message
	}
	switch node.Stages[len(node.Stages)-1].State {
	case record.NodeStagePassed:
		return "it has passed its steps and waits for the other nodes of its batch"
	case record.NodeStageChecking:
		if why := gateReasons(run)[node.Node]; why != "" {
			return why
		}
		return "the health check of its batch is open"
	}
	return ""
}

// nodeReason is why a node is in its state, in one line: what it waits for, how the attempt before failed, or why it ended. One that is
// DONE needs no reason, whatever its earlier attempts reported, but who said so where an operator did.
func nodeReason(node *record.RunNode) string {
	switch {
	case node.State == record.NodeDone:
		return resolvedReason(node)
	case !node.State.Final():
		return workReason(node)
	case node.Error != nil:
		return node.Error.Message
	case len(node.History) > 0:
		return node.History[len(node.History)-1].Reason
	}
	return ""
}

// resolvedReason is an operator's decision that gave the node its state.
func resolvedReason(node *record.RunNode) string {
	if len(node.History) == 0 {
		return ""
	}
	if last := &node.History[len(node.History)-1]; last.Cause != nil && last.Cause.Code == record.CauseResolved {
		return last.Reason
	}
	return ""
}

func workReason(node *record.RunNode) string {
	if len(node.Stages) > 0 {
		if w := node.Stages[len(node.Stages)-1].Waiting; w != nil {
			return w.Message
		}
	}
	if node.State == record.NodeWaiting && len(node.History) > 0 {
		return node.History[len(node.History)-1].Reason
	}
	last := len(node.Actions) - 1
	if last < 1 || node.Actions[last].FinishTS != nil {
		return ""
	}
	if before := &node.Actions[last-1]; before.Error != nil && before.Step == node.Actions[last].Step && before.Stage == node.Actions[last].Stage {
		return fmt.Sprintf("attempt %d of step %s runs; attempt %d failed: %s", node.Actions[last].Attempt, before.Step, before.Attempt,
			before.Error.Message)
	}
	return ""
}

// summary is a run in one line.
func summary(run record.Run) string {
	line := fmt.Sprintf("run %s %s%s: %s", run.ID, run.State, age(&run, run.UpdateTS), counts(run.Counts))
	if run.Error != nil {
		line += ": " + run.Error.Message
	}
	return oneLine(line)
}
