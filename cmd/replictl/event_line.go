package main

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/replicante-io/playbooks/record"
)

// eventLine is an event in one line. Events of types that this tool does not know are shown as they are.
func eventLine(e record.Event) string {
	text := e.TS.UTC().Format("15:04:05") + "  " + eventText(e)
	if e.Actor != "" {
		text += " (by " + e.Actor + ")"
	}
	return cut(text, 1000)
}

func eventText(e record.Event) string {
	data := e.Data
	switch e.Type {
	case record.EventRunCreated:
		return "run created"
	case record.EventRunStarted:
		return "run started"
	case record.EventRunWaiting:
		if what := said(data, "message"); what != "" {
			return "run waiting: " + what
		}
		return "run continues"
	case record.EventRunPausing, record.EventRunPaused, record.EventRunResumed, record.EventRunCancelling:
		return "run " + strings.TrimPrefix(string(e.Type), "run.") + because(data)
	case record.EventRunClaimed:
		return "a new leader goes on with the run (term " + said(data, "term") + ")"
	case record.EventRunFinished:
		return "run finished: " + said(data, "state") + because(data)
	case record.EventStageStarted:
		return "stage " + e.Stage + " started"
	case record.EventStageFinished:
		return "stage " + e.Stage + " finished: " + said(data, "state") + because(data)
	case record.EventBatchStarted:
		return "stage " + e.Stage + ": batch " + said(data, "batch") + " started" + members(data)
	case record.EventBatchChecking:
		return "stage " + e.Stage + ": batch " + said(data, "batch") + " waits for its nodes' health"
	case record.EventBatchFinished:
		return "stage " + e.Stage + ": batch " + said(data, "batch") + " finished"
	case record.EventNodeState:
		return "node " + e.Node + ": " + said(data, "state") + because(data)
	case record.EventNodeAdded, record.EventNodeRemoved, record.EventNodeReturned, record.EventNodeResolved:
		text := "node " + e.Node + " " + strings.TrimPrefix(string(e.Type), "node.")
		if state := said(data, "state"); state != "" {
			text += " as " + state
		}
		return text + because(data)
	case record.EventActionFailed:
		return fmt.Sprintf("node %s: %s/%s failed (attempt %s): %s", e.Node, e.Stage, e.Step, said(data, "attempt"), said(data, "message"))
	case record.EventActionRetry:
		return fmt.Sprintf("node %s: %s/%s is tried again (attempt %s)", e.Node, e.Stage, e.Step, said(data, "attempt"))
	case record.EventActionUnknown:
		return fmt.Sprintf("node %s: nobody knows how %s/%s ended", e.Node, e.Stage, e.Step) + because(data)
	case record.EventActionSettled:
		return fmt.Sprintf("node %s: %s/%s is over now", e.Node, e.Stage, e.Step)
	case record.EventStepSkipped:
		return fmt.Sprintf("node %s: %s/%s skipped", e.Node, e.Stage, e.Step)
	}
	text := string(e.Type)
	for _, part := range []string{e.Node, e.Stage, e.Step} {
		if part != "" {
			text += " " + part
		}
	}
	if len(data) > 0 {
		all, _ := json.Marshal(data) // a Document holds JSON values only
		text += " " + string(all)
	}
	return text
}

// said is a value of data in plain words; "" where there is none.
func said(data record.Document, key string) string {
	value, ok := data[key]
	if !ok || value == nil {
		return ""
	}
	return fmt.Sprint(value)
}

// because is the reason, or the message, that data gives.
func because(data record.Document) string {
	for _, key := range []string{"reason", "message"} {
		if text := said(data, key); text != "" {
			return ": " + text
		}
	}
	return ""
}

// members names the nodes of a batch.
func members(data record.Document) string {
	nodes, _ := data["nodes"].([]any)
	names := make([]string, len(nodes))
	for i, node := range nodes {
		names[i] = fmt.Sprint(node)
	}
	if len(names) == 0 {
		return ""
	}
	if size := said(data, "size"); size != fmt.Sprint(len(names)) && size != "" {
		return fmt.Sprintf(" on %s nodes: %s…", size, strings.Join(names[:min(len(names), 10)], ", "))
	}
	return ": " + list(names)
}
