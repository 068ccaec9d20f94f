package api

import (
	"fmt"
	"strings"
)

// subsetText says to which nodes a run was restricted.
func subsetText(v values) string {
	var to []string
	if v.number("named") > 0 {
		to = append(to, plural(v.number("named"), "node")+" that the start named")
	}
	if v.text("where") != "" {
		to = append(to, "those where "+v.text("where"))
	}
	text := "the run was started for " + strings.Join(to, ", of ")
	if v.text("error") != "" {
		text += ", which cannot be decided about this node: " + v.text("error") + statusText(v)
	}
	return text
}

func statusText(v values) string {
	if v.text("status") == "" || v.text("status") == "HEALTHY" {
		return ""
	}
	return " (it is " + v.text("status") + optional(": ", v.text("status_reason")) + ")"
}

// undecidedNodesText names the nodes about which the where of a start cannot decide.
func undecidedNodesText(v values) string {
	var named []string
	list, _ := v["undecided"].([]any)
	for _, item := range list {
		one, _ := item.(map[string]any)
		u := values(one)
		named = append(named, "node "+u.text("node")+": "+u.text("error")+statusText(u))
	}
	text := strings.Join(named, "; ")
	if more := v.number("count") - int64(len(list)); more > 0 {
		text += fmt.Sprintf("; and %d more", more)
	}
	return "where cannot decide about " + plural(v.number("count"), "node") + " of cluster " + v.text("cluster") + ": " + text +
		"; nothing was started: try again once they report it, or write what holds without it, such as has(node.role) && node.role == \"PRIMARY\""
}

// unknownNodesText names nodes that a cluster does not have.
func unknownNodesText(v values) string {
	names := v.list("nodes", "and")
	list, _ := v["nodes"].([]any)
	if more := v.number("count") - int64(len(list)); more > 0 {
		names += fmt.Sprintf(" and %d more", more)
	}
	return "cluster " + v.text("cluster") + " has no node " + names + "; nothing was started"
}

func noneSelectedText(v values) string {
	text := "none of the " + plural(v.number("of"), "node") + " of cluster " + v.text("cluster") + " is selected"
	return text + optional(" by where ", v.text("where")) + "; nothing was started"
}
