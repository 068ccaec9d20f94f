package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/replicante-io/playbooks/record"
)

// shownStates is the order in which states are counted, and the mark of each in a meter.
var shownStates = []struct {
	state record.NodeState
	mark  byte
}{
	{record.NodeDone, '#'}, {record.NodeSkipped, '-'}, {record.NodeRolledBack, '<'},
	{record.NodeFailed, '!'}, {record.NodeUnknown, '?'}, {record.NodeRollbackFailed, '!'},
	{record.NodeIncomplete, '/'}, {record.NodeCancelled, 'x'}, {record.NodeNotReached, 'x'}, {record.NodeRemoved, 'x'},
	{record.NodeRunning, '>'}, {record.NodeWaiting, '='}, {record.NodeAdded, '.'}, {record.NodePending, '.'},
}

// otherMark is the mark of states that this tool does not know.
const otherMark = '~'

// counted is how many nodes are in a state.
type counted struct {
	state record.NodeState
	mark  byte
	count int
}

// inOrder are the counts that are not 0, in the order of shownStates, and after them by name those of states that this tool does not
// know.
func inOrder(counts map[record.NodeState]int) []counted {
	entries := []counted{}
	others := maps.Clone(counts)
	for _, shown := range shownStates {
		if count := counts[shown.state]; count > 0 {
			entries = append(entries, counted{shown.state, shown.mark, count})
		}
		delete(others, shown.state)
	}
	for _, state := range slices.Sorted(maps.Keys(others)) {
		if others[state] > 0 {
			entries = append(entries, counted{state, otherMark, others[state]})
		}
	}
	return entries
}

// counts is counts as text.
func counts(counts map[record.NodeState]int) string {
	parts := []string{}
	for _, entry := range inOrder(counts) {
		parts = append(parts, fmt.Sprintf("%d %s", entry.count, entry.state))
	}
	if len(parts) == 0 {
		return "none"
	}
	return strings.Join(parts, ", ")
}

// minMeter is the smallest width at which a meter shows anything useful; a narrower one is left out.
const minMeter = 8

// meter draws counts as a bar; total also counts the nodes that have no state yet. Every count that is not 0 has a mark.
func meter(counts map[record.NodeState]int, total, width int) string {
	if width < minMeter {
		return ""
	}
	entries := inOrder(counts)
	sum := 0
	for _, entry := range entries {
		sum += entry.count
	}
	if total = max(total, sum); total == 0 {
		return "[" + strings.Repeat(" ", width) + "] "
	}
	var bar strings.Builder
	passed := 0
	for _, entry := range entries {
		passed += entry.count
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

// legend says which marks the meters of a run have, and what they stand for.
func legend(run *record.Run) string {
	all := maps.Clone(run.Counts)
	if all == nil {
		all = map[record.NodeState]int{}
	}
	for i := range run.Stages {
		for state, count := range run.Stages[i].Counts {
			all[state] += count
		}
	}
	parts := []string{}
	at := map[byte]int{}
	for _, entry := range inOrder(all) {
		if i, known := at[entry.mark]; known {
			parts[i] += " or " + string(entry.state)
			continue
		}
		at[entry.mark] = len(parts)
		parts = append(parts, string(entry.mark)+" "+string(entry.state))
	}
	return strings.Join(parts, "  ")
}
