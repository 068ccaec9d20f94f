package api

import (
	"fmt"
	"strings"
	"time"

	"github.com/replicante-io/playbooks/record"
)

// waitText is what something waits for.
func waitText(w *record.Wait) string {
	v := values(w.Data)
	switch w.For {
	case record.WaitQueue:
		return "run " + v.text("run") + " of the same cluster has to end first"
	case record.WaitPause:
		if w.Until != nil {
			return "the pause between batches of stage " + w.Stage + " ends at " + clock(*w.Until)
		}
		if why := v.nested("error"); why != "" {
			return "an operator has to resume or cancel the run: " + why
		}
		return "an operator has to resume or cancel the run"
	case record.WaitGuard:
		return guardText(w, v)
	case record.WaitWindow:
		return "no window of the playbook is open for the next batch" + until(w)
	case record.WaitApproval:
		return approvalText(w, v)
	case record.WaitAgent:
		return "the agent of node " + w.Node + others(v) + " does not answer" + optional(": ", v.agentCause()) + until(w)
	case record.WaitNode:
		if v.text("code") == record.CauseLocked {
			return "run " + v.text("run") + " has node " + w.Node + " locked for a batch"
		}
		if v.text("code") == record.CauseMaxUnavailable {
			return unavailableText(w, v)
		}
		return "the key of node " + w.Node + " is gone: it counts as removed" + until(w)
	case record.WaitUnsettled:
		return unsettledText(w, v)
	case record.WaitFacts:
		return "the fact that decides " + decisionText(v) + " is absent: " + v.text("error") + ownStatusText(v) + until(w)
	case record.WaitLeader:
		if v.text("code") == record.CodeNotStorable {
			return "the leader can neither advance nor end the run, and leaves it alone: " + v.text("error") +
				"; see \"a run that cannot be stored\" in docs/operations.md"
		}
		return "the leader is of a version that does not know all that the run needs, and leaves it alone: " + v.text("error") +
			"; upgrade all replicas, or let a newer one lead"
	case record.WaitTogether:
		return togetherText(w, v)
	case record.WaitAction:
		return actionText(w, v)
	case record.WaitGate:
		return gateText(w, v)
	case record.WaitRetry:
		return retryText(w, v)
	case record.WaitStore:
		text := "the primary store has not answered since " + clock(w.Since)
		return text + optional(": ", shorten(v.text("error"))) + "; work continues by itself when it answers again"
	}
	return string(w.For) + optional(" of stage ", w.Stage) + optional(" on node ", w.Node) + until(w)
}

const maxErrorLength = 300 // characters

func shorten(text string) string {
	if runes := []rune(text); len(runes) > maxErrorLength {
		return string(runes[:maxErrorLength-1]) + "…"
	}
	return text
}

func unsettledText(w *record.Wait, v values) string {
	switch {
	case v.number("actions") > 0:
		text := "the run has ended, and step " + v.text("step") + " may still be running on node " + w.Node
		if more := v.number("actions") - 1; more > 0 {
			text += ", as may " + plural(more, "more action")
		}
		return text + "; it is kept until the agent reports the end, or an operator resolves or forgets the node"
	case v.text("run") != "":
		return "an action of run " + v.text("run") + " may still be running on node " + w.Node + others(v) + until(w)
	}
	return "the agent of node " + w.Node + others(v) + " has not reported that step " + v.text("step") + " has ended" + until(w)
}

// actionText says which actions have to end before a run pauses or ends.
func actionText(w *record.Wait, v values) string {
	text := "the run ends " + v.text("then") + " once its running actions have ended: "
	switch {
	case v.text("then") == string(record.RunRollingBack):
		text = "the run is rolled back once its running actions have ended: "
	case v.text("then") == string(record.RunPaused):
		text = "the run is paused once its running actions have ended: "
	case v["kill"] == true:
		text = "the run ends " + v.text("then") + " once its running actions have been stopped: "
	}
	named, _ := v["named"].([]any)
	steps := make([]string, len(named))
	for i, item := range named {
		one, _ := item.(map[string]any)
		steps[i] = "step " + values(one).text("step") + " on node " + values(one).text("node")
	}
	text += strings.Join(steps, ", ")
	if more := v.number("nodes") - int64(len(named)); more > 0 {
		text += " and on " + plural(more, "more node")
	}
	return text + until(w)
}

func retryText(w *record.Wait, v values) string {
	failed := v.number("attempt")
	text := fmt.Sprintf("attempt %d of %d of step %s on node %s%s starts at %s: attempt %d failed", failed+1, v.number("attempts"),
		v.text("step"), w.Node, others(v), clock(*w.Until), failed)
	about, _ := v["about"].(map[string]any)
	return text + optional(": ", errorText(&record.Error{Code: v.text("code"), Data: about}))
}

func gateText(w *record.Wait, v values) string {
	if v.text("step") != "" {
		return "it is not known how step " + v.text("step") + " on node " + w.Node + others(v) + " ended; its health decides" +
			optional(": ", v.nested("error")) + until(w)
	}
	named, _ := v["named"].([]any)
	if len(named) == 0 {
		return "the health of " + plural(v.number("nodes"), "node") + " of stage " + w.Stage + " has to settle"
	}
	texts, counted, others := make([]string, len(named)), int64(0), false
	for i, item := range named {
		one, _ := item.(map[string]any)
		why := values(one).nested("error")
		if node := values(one).text("node"); node != "" {
			why = node + " (" + why + ")"
		}
		texts[i] = why
		counted += max(1, values(one).number("nodes"))
		data, _ := one["error"].(map[string]any)
		others = others || blamesOthers(errorOf(data))
	}
	if more := v.number("unhealthy") - counted; more > 0 {
		texts = append(texts, fmt.Sprintf("%d more", more))
	}
	if others {
		return "the health check of stage " + w.Stage + " does not hold yet: " + strings.Join(texts, "; ") + until(w)
	}
	return "nodes of stage " + w.Stage + " are not healthy: " + strings.Join(texts, ", ") + until(w)
}

func others(v values) string {
	if n := v.number("nodes"); n > 1 {
		return " and of " + plural(n-1, "more node")
	}
	return ""
}

func until(w *record.Wait) string {
	if w.Until == nil {
		return ""
	}
	return "; waiting until " + clock(*w.Until)
}

func clock(t time.Time) string { return t.UTC().Format(time.RFC3339) }

func plural(n int64, of string) string {
	if n == 1 {
		return "1 " + of
	}
	return fmt.Sprintf("%d %ss", n, of)
}

// unavailableText says which nodes are out, where those are as many as a stage allows.
func unavailableText(w *record.Wait, v values) string {
	named, _ := v["named"].([]any)
	texts := make([]string, len(named))
	for i, item := range named {
		one, _ := item.(map[string]any)
		out := values(one)
		var why []string
		if status := out.text("status"); status != "" {
			why = append(why, status)
		}
		switch {
		case out["unsettled"] == true:
			why = append(why, "an action of run "+out.text("run")+" may still be running")
		case out.text("run") != "":
			why = append(why, "run "+out.text("run")+" has it locked for a batch")
		}
		texts[i] = out.text("node") + " (" + strings.Join(why, "; ") + ")"
	}
	if more := v.number("out") - int64(len(named)); more > 0 {
		texts = append(texts, fmt.Sprintf("%d more", more))
	}
	return fmt.Sprintf("a batch of stage %s would leave more than %d of %s out, which is its max_unavailable; out are %s; "+
		"the run continues by itself once fewer are", w.Stage, v.number("max_unavailable"), plural(v.number("nodes"), "node"), strings.Join(texts, ", "))
}
