package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/replicante-io/playbooks/api/client"
	"github.com/replicante-io/playbooks/record"
)

// view is all that the picture of a run shows.
type view struct {
	run    record.Run
	unwell []record.RunNode // some of the nodes that are not well
	lost   error            // why nothing new is heard
	waits  string           // what keeps the run, as the stream says
}

// maxUnwell is how many nodes that are not well are shown.
const maxUnwell = 8

var badStates = []record.NodeState{record.NodeFailed, record.NodeUnknown, record.NodeRollbackFailed}

// readUnwell reads the nodes that are not well, if there are any.
func (v *view) readUnwell(ctx context.Context, c *client.Client) error {
	v.unwell = nil
	states := []string{}
	for _, state := range badStates {
		if v.run.Counts[state] > 0 {
			states = append(states, string(state))
		}
	}
	if len(states) == 0 {
		return nil
	}
	nodes, err := c.RunNodes(ctx, v.run.ID, states, maxUnwell)
	v.unwell = nodes
	return err
}

// columns is what a stage's line needs beside its name, its bar and its words.
const columns = 33

// draw is the picture of a run: lines of at most width characters.
func draw(v view, width int, now time.Time) []string {
	run := &v.run
	lines := []string{
		fmt.Sprintf("run %s  %s revision %d on %s", run.ID, run.Playbook.Name, run.Playbook.Revision, run.Cluster),
		string(run.State) + age(run, now),
	}
	if run.Error != nil {
		lines = append(lines, "error: "+run.Error.Message)
	}
	if v.waits != "" {
		lines = append(lines, "waiting: "+v.waits)
	} else if run.Waiting != nil && !run.State.Final() {
		lines = append(lines, "waiting: "+run.Waiting.Message)
	}
	if v.lost != nil {
		lines = append(lines, "connection lost, trying again: "+v.lost.Error())
	}
	lines = append(lines, "")
	longest, words := len("nodes"), len(counts(run.Counts))
	for _, stage := range run.Stages {
		longest, words = max(longest, len(stage.Name)), max(words, len(counts(stage.Counts)))
	}
	// The words come first; the bar gets what they leave.
	bar := min(width-longest-words-columns, 40)
	if narrow := width < longest+columns+20; narrow {
		for _, stage := range run.Stages {
			lines = append(lines, fmt.Sprintf("%s %s %s %s", mark(stage.State), stage.Name, stage.State, batchText(stage)))
		}
		lines = append(lines, "  "+counts(run.Counts))
	} else {
		for _, stage := range run.Stages {
			lines = append(lines, stageLine(stage, longest, bar))
		}
		lines = append(lines, fmt.Sprintf("  %-*s  %-11s  %-11s %s%s", longest, "nodes", "", "", meter(run.Counts, 0, bar), counts(run.Counts)))
	}
	if len(v.unwell) > 0 {
		lines = append(lines, "")
		for _, node := range v.unwell {
			lines = append(lines, fmt.Sprintf("  %s %s: %s", node.Node, node.State, trouble(node)))
		}
		all := 0
		for _, state := range badStates {
			all += run.Counts[state]
		}
		if more := all - len(v.unwell); more > 0 {
			lines = append(lines, fmt.Sprintf("  and %d more: replictl run nodes %s --state FAILED,UNKNOWN", more, run.ID))
		}
	}
	for i := range lines {
		lines[i] = cut(lines[i], width)
	}
	return lines
}

func age(run *record.Run, now time.Time) string {
	begun, word := run.CreatedTS, "for"
	if run.StartTS != nil {
		begun = *run.StartTS
	}
	if run.FinishTS != nil {
		now, word = *run.FinishTS, "after"
	}
	return fmt.Sprintf(" %s %s", word, max(now.Sub(begun), 0).Truncate(time.Second))
}

func mark(state record.StageState) string {
	switch state {
	case record.StageRunning:
		return ">"
	case record.StageFailed:
		return "!"
	case record.StageDone:
		return "+"
	}
	return " "
}

func batchText(stage record.RunStage) string {
	if stage.Batch == 0 {
		return ""
	}
	return fmt.Sprintf("batch %d/%d", stage.Batch, max(stage.Batches, stage.Batch))
}

func stageLine(stage record.RunStage, longest, bar int) string {
	line := fmt.Sprintf("%s %-*s  %-11s", mark(stage.State), longest, stage.Name, stage.State)
	if stage.State == record.StagePending || stage.State == record.StageNotReached {
		return line
	}
	line = fmt.Sprintf("%s  %-11s %s%s", line, batchText(stage), meter(stage.Counts, stage.Total, bar), counts(stage.Counts))
	if stage.Error != nil {
		line += "; " + stage.Error.Message
	}
	return line
}

// order is how states are counted up, and how a meter draws them.
var order = []struct {
	state record.NodeState
	mark  byte
}{
	{record.NodeDone, '#'}, {record.NodeSkipped, '-'}, {record.NodeRolledBack, '<'},
	{record.NodeFailed, '!'}, {record.NodeUnknown, '?'}, {record.NodeRollbackFailed, '!'},
	{record.NodeCancelled, 'x'}, {record.NodeIncomplete, 'x'}, {record.NodeNotReached, 'x'}, {record.NodeRemoved, 'x'},
	{record.NodeRunning, '>'}, {record.NodeWaiting, '='}, {record.NodeAdded, '.'}, {record.NodePending, '.'},
}

func sum(counts map[record.NodeState]int) int {
	total := 0
	for _, count := range counts {
		total += count
	}
	return total
}

// meter draws counts as a bar; total counts those too that have no state yet. What is not nothing has a mark. A bar of
// fewer than 8 marks tells nothing: it is left out.
func meter(counts map[record.NodeState]int, total, width int) string {
	if width < 8 {
		return ""
	}
	total = max(total, sum(counts))
	if total == 0 {
		return "[" + strings.Repeat(" ", width) + "] "
	}
	var bar strings.Builder
	passed := 0
	for _, entry := range order {
		count := counts[entry.state]
		if count == 0 {
			continue
		}
		passed += count
		size := passed*width/total - bar.Len()
		if size < 1 && bar.Len() < width {
			size = 1
		}
		bar.WriteString(strings.Repeat(string(entry.mark), max(size, 0)))
	}
	text := bar.String()
	if len(text) < width {
		text += strings.Repeat(".", width-len(text))
	}
	return "[" + text[:width] + "] "
}

// counts speaks counts, in the order of states; states that this tool does not know come last.
func counts(counts map[record.NodeState]int) string {
	parts := []string{}
	left := sum(counts)
	for _, entry := range order {
		if count := counts[entry.state]; count > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", count, entry.state))
			left -= count
		}
	}
	if left > 0 {
		parts = append(parts, fmt.Sprintf("%d others", left))
	}
	if len(parts) == 0 {
		return "none"
	}
	return strings.Join(parts, ", ")
}

// trouble is why a node is not well, in one line. One that is DONE is well, whatever its earlier attempts said.
func trouble(node record.RunNode) string {
	if node.State == record.NodeDone {
		return ""
	}
	text := ""
	if node.Error != nil {
		text = node.Error.Message
	}
	for i := len(node.Actions) - 1; i >= 0; i-- {
		action := node.Actions[i]
		if action.Error == nil {
			continue
		}
		if text == "" {
			text = action.Error.Message
		}
		if !strings.Contains(text, action.Step) {
			text = action.Stage + "/" + action.Step + ": " + text
		}
		if tail := lastLine(action.StderrTail); tail != "" && !strings.Contains(text, tail) {
			text += " (" + tail + ")"
		}
		break
	}
	return text
}

func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.TrimSpace(lines[len(lines)-1])
}

// cut makes text one line of at most width characters, without what would move a terminal's cursor.
func cut(text string, width int) string {
	runes := []rune(strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			return ' '
		}
		return r
	}, text))
	if len(runes) <= width {
		return strings.TrimRight(string(runes), " ")
	}
	if width < 2 {
		return string(runes[:max(width, 0)])
	}
	return string(runes[:width-1]) + "…"
}

// verdict is how a run is, in one line.
func verdict(run record.Run) string {
	text := fmt.Sprintf("run %s %s%s: %s", run.ID, run.State, age(&run, run.UpdateTS), counts(run.Counts))
	if run.Error != nil {
		text += ": " + run.Error.Message
	}
	return cut(text, len(text))
}
