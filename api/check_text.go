package api

import (
	"fmt"
	"strings"

	"github.com/replicante-io/playbooks/record"
)

// falseText says which part of a check is false and on which values: those of the nodes that it is false for, or the node's own.
func falseText(v values) string {
	text := checkName(v) + " is false"
	if nodes := falseForText(v); nodes != "" {
		text += " for " + nodes
	} else {
		text += optional(": ", readingsText(v)) + ownStatusText(v)
	}
	switch also := v.list("also_false", "and"); {
	case also == "":
	case strings.Contains(also, " and "):
		text += "; so are checks " + also
	default:
		text += "; so is check " + also
	}
	return text
}

// undecidedText says why a part of a check is neither true nor false, and because of which nodes.
func undecidedText(v values) string {
	text := "cannot decide " + checkName(v) + ": " + v.text("error") + ownStatusText(v)
	nodes, _ := v["undecided_for"].([]any)
	for _, item := range nodes {
		one, _ := item.(map[string]any)
		if node := values(one); node.text("status") != "" && node.text("status") != string(record.StatusHealthy) {
			text += "; " + node.text("node") + " is " + node.text("status") + optional(": ", shorten(node.text("status_reason")))
		}
	}
	return text
}

// checkName is how a part of a check is called: by its name or, where it is the whole check, by the expression.
func checkName(v values) string {
	if part := v.text("part"); part != "" {
		return "check " + part
	}
	return shorten(v.text("check"))
}

// falseForText names the nodes for which a check over nodes is false, with what was read about each.
func falseForText(v values) string {
	nodes, _ := v["false_for"].([]any)
	texts := make([]string, len(nodes))
	for i, item := range nodes {
		one, _ := item.(map[string]any)
		node := values(one)
		texts[i] = node.text("node")
		if about := strings.TrimPrefix(readingsText(node)+ownStatusText(node), "; "); about != "" {
			texts[i] += " (" + about + ")"
		}
	}
	if more := v.number("false_for_total") - int64(len(nodes)); more > 0 {
		texts = append(texts, fmt.Sprintf("%d more", more))
	}
	return strings.Join(texts, ", ")
}

// readingsText is the values that an expression read.
func readingsText(v values) string {
	readings, _ := v["values"].([]any)
	texts := make([]string, len(readings))
	for i, item := range readings {
		one, _ := item.(map[string]any)
		if texts[i] = values(one).text("name") + " is absent"; one["value"] != nil {
			texts[i] = values(one).text("name") + " is " + values(one).text("value")
		}
	}
	return strings.Join(texts, ", ")
}

// ownStatusText is the status of a node with its reason, as far as the values that were read do not say it.
func ownStatusText(v values) string {
	status, reason := v.text("status"), shorten(v.text("status_reason"))
	readings, _ := v["values"].([]any)
	for _, item := range readings {
		one, _ := item.(map[string]any)
		if strings.HasSuffix(values(one).text("name"), ".status") && values(one).text("value") == status {
			return optional(": ", reason)
		}
	}
	if status == "" || status == string(record.StatusHealthy) && reason == "" {
		return ""
	}
	return "; its status is " + status + optional(": ", reason)
}

// blamesOthers reports whether a node is not healthy for what other nodes are like: a check is false, or cannot be decided, because of
// them.
func blamesOthers(why *record.Error) bool {
	return why.Data["check"] != nil && why.Data["node"] == nil
}
