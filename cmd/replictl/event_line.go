package main

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/replicante-io/playbooks/record"
)

// eventLine is an event in one line. Events of types that this tool does not know are shown as they are.
func eventLine(e record.Event) string {
	line := e.TS.UTC().Format(time.RFC3339) + "  " + eventText(e)
	if e.Actor != "" {
		line += " (by " + e.Actor + ")"
	}
	return cut(line, 1000)
}

func eventText(e record.Event) string {
	switch group, _, _ := strings.Cut(string(e.Type), "."); group {
	case "run":
		return runEventText(e)
	case "stage", "batch":
		return stageEventText(e)
	case "node", "action", "step":
		return nodeEventText(e)
	}
	return unknownEventText(e)
}

func runEventText(e record.Event) string {
	switch e.Type {
	case record.EventRunCreated, record.EventRunStarted, record.EventRunPausing, record.EventRunPaused, record.EventRunResumed,
		record.EventRunCancelling, record.EventRunApproved, record.EventRunRejected:
		return "run " + strings.TrimPrefix(string(e.Type), "run.") + because(e.Data)
	case record.EventFreezeOverridden:
		if freeze := text(e.Data, "freeze"); freeze != "" {
			return "freeze " + freeze + " is overridden" + because(e.Data)
		}
		return "freezes are overridden" + because(e.Data)
	case record.EventRunRetried:
		return "run retried, " + retriedNodes(e.Data) + because(e.Data)
	case record.EventRunWaiting:
		if record.RunState(text(e.Data, "state")).Final() {
			return "nothing of the run is unsettled any more"
		}
		return waitingText(text(e.Data, "message"), text(e.Data, "until"))
	case record.EventRunRollingBack:
		return "run rolls back " + text(e.Data, "nodes") + " nodes because stage " + e.Stage + " failed"
	case record.EventRunRolledBack:
		return "rollback finished: " + text(e.Data, "rolled_back") + " nodes are rolled back"
	case record.EventRunRollbackFailed:
		return "rollback failed: " + text(e.Data, "rolled_back") + " nodes are rolled back, " + text(e.Data, "failed") + " are not" + because(e.Data)
	case record.EventRunClaimed:
		return "a new leader continues the run (term " + text(e.Data, "term") + ")"
	case record.EventRunFinished:
		return "run finished: " + text(e.Data, "state") + because(e.Data)
	}
	return unknownEventText(e)
}

// retriedNodes is which nodes a retry is for.
func retriedNodes(data record.Document) string {
	named, _ := data["named"].([]any)
	if len(named) == 1 {
		return fmt.Sprintf("node %v", named[0])
	}
	names := make([]string, 0, maxRetriedNamed)
	for _, name := range named[:min(len(named), maxRetriedNamed)] {
		names = append(names, fmt.Sprint(name))
	}
	line := text(data, "nodes") + " nodes: " + strings.Join(names, ", ")
	if len(named) > len(names) {
		line += ", …"
	}
	return line
}

// maxRetriedNamed is how many nodes of a retry a line names.
const maxRetriedNamed = 10

// waitingText is what a run waits for, and until when where message does not contain it. No message: the run waits for nothing.
func waitingText(message, until string) string {
	if message == "" {
		return "run continues"
	}
	if end, err := time.Parse(time.RFC3339Nano, until); err == nil {
		if clock := end.UTC().Format(time.RFC3339); !strings.Contains(message, clock) {
			message += " (until " + clock + ")"
		}
	}
	return "waiting: " + oneLine(message)
}

func stageEventText(e record.Event) string {
	stage := "stage " + e.Stage
	if pass := text(e.Data, "pass"); pass != "" {
		stage += " (" + pass + ")"
	}
	if group := text(e.Data, "group"); group != "" {
		stage += ", group " + group
	}
	batch := stage + ": batch " + text(e.Data, "batch")
	switch e.Type {
	case record.EventStageApproved, record.EventStageRejected:
		return stage + " " + strings.TrimPrefix(string(e.Type), "stage.") + because(e.Data)
	case record.EventStageStarted:
		return stage + " started" + stageSize(e.Data)
	case record.EventStageFinished:
		return stage + " finished: " + text(e.Data, "state") + because(e.Data)
	case record.EventBatchStarted:
		return batch + " started" + batchNodes(e.Data)
	case record.EventBatchChecking:
		return batch + " waits until its nodes are healthy" + atMost(e.Data)
	case record.EventBatchFinished:
		return batch + " finished"
	}
	return unknownEventText(e)
}

// atMost is until when something waits at most.
func atMost(data record.Document) string {
	end, err := time.Parse(time.RFC3339Nano, text(data, "until"))
	if err != nil {
		return ""
	}
	return ", until " + end.UTC().Format(time.RFC3339) + " at most"
}

func nodeEventText(e record.Event) string {
	node, step := "node "+e.Node, e.Stage+"/"+e.Step
	attempt := node + ": attempt " + text(e.Data, "attempt") + " of " + step
	switch e.Type {
	case record.EventNodeState:
		return node + ": " + text(e.Data, "state") + because(e.Data)
	case record.EventNodeAdded:
		return node + " appeared during the run" + because(e.Data)
	case record.EventNodeRemoved:
		return node + " removed from the run" + because(e.Data)
	case record.EventNodeReturned:
		return node + " returned" + because(e.Data)
	case record.EventNodeResolved:
		return node + " resolved as " + text(e.Data, "state") + because(e.Data)
	case record.EventActionFailed:
		return attempt + " failed" + because(e.Data)
	case record.EventActionRetry:
		line := attempt + " failed" + because(e.Data)
		if next, err := time.Parse(time.RFC3339Nano, text(e.Data, "next_ts")); err == nil {
			line += "; " + nextAttempt(e.Data) + " starts at " + next.UTC().Format(time.RFC3339)
		}
		return line
	case record.EventActionUnknown:
		return attempt + " has an unknown end" + because(e.Data)
	case record.EventActionSettled:
		return node + ": " + settledText(e, step)
	case record.EventStepSkipped:
		return node + ": " + step + " skipped: its when is false"
	}
	return unknownEventText(e)
}

// settledText is what became known of a step whose end was unknown.
func settledText(e record.Event, step string) string {
	state := text(e.Data, "state")
	switch code := text(e.Data, "code"); {
	case code == record.CauseNodeForgotten:
		return "step " + step + " no longer counts as running" + because(e.Data)
	case code == record.CodeLost:
		return "its agent reports that step " + step + " was lost" + because(e.Data)
	case state == string(record.ActionUnknown):
		return "its agent reports that step " + step + " no longer runs; how it ended is not known" + because(e.Data)
	case state == "":
		return "its agent reports that step " + step + " has ended"
	}
	return "its agent reports that step " + step + " has ended " + state + because(e.Data)
}

// nextAttempt is which attempt of how many follows the one that failed.
func nextAttempt(data record.Document) string {
	attempt, err := strconv.Atoi(text(data, "attempt"))
	if attempts := text(data, "attempts"); err == nil && attempts != "" {
		return fmt.Sprintf("attempt %d of %s", attempt+1, attempts)
	}
	return "the next attempt"
}

func unknownEventText(e record.Event) string {
	line := string(e.Type)
	for _, part := range []string{e.Node, e.Stage, e.Step} {
		if part != "" {
			line += " " + part
		}
	}
	if len(e.Data) > 0 {
		all, _ := json.Marshal(e.Data) // a Document holds JSON values only
		line += " " + string(all)
	}
	return line
}

// text is a value of data as text; "" where there is none.
func text(data record.Document, key string) string {
	value, ok := data[key]
	if !ok || value == nil {
		return ""
	}
	return fmt.Sprint(value)
}

// because is the reason, or the message, that data gives.
func because(data record.Document) string {
	for _, key := range []string{"reason", "message"} {
		if why := text(data, key); why != "" {
			return ": " + why
		}
	}
	return ""
}

// stageSize is how many nodes a stage is for.
func stageSize(data record.Document) string {
	switch nodes := text(data, "nodes"); nodes {
	case "":
		return ""
	case "1":
		return " on 1 node"
	default:
		return " on " + nodes + " nodes"
	}
}

// batchNodes names the nodes of a batch, at most ten.
func batchNodes(data record.Document) string {
	nodes, _ := data["nodes"].([]any)
	names := make([]string, len(nodes))
	for i, node := range nodes {
		names[i] = fmt.Sprint(node)
	}
	if len(names) == 0 {
		return ""
	}
	if size := text(data, "size"); size != fmt.Sprint(len(names)) && size != "" {
		return fmt.Sprintf(" on %s nodes: %s…", size, strings.Join(names[:min(len(names), 10)], ", "))
	}
	return ": " + list(names)
}
