package api

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/replicante-io/playbooks/record"
)

// rejection is the answer to a rejected request: its status, and its text.
func rejection(e *record.RejectedError) *Failure {
	v := values(e.Data)
	status, text := http.StatusConflict, e.Error()
	switch e.Code {
	case record.CodeWrongState:
		what := "run " + v.text("run")
		if v.text("node") != "" {
			what = "node " + v.text("node") + " of " + what
		}
		text = "cannot " + v.text("verb") + " " + what + ": it is " +
			v.text("state") + ending(v) + "; it has to be " + v.list("allowed", "or")
		if verb := v.text("verb"); verb == string(record.VerbApprove) || verb == string(record.VerbReject) {
			text = wrongApprovalText(v)
		}
		if v.text("verb") == string(record.VerbCancel) && v.text("state") == string(record.RunCancelling) {
			text += "; with kill, what is in flight is stopped"
		}
		if v.text("verb") == string(record.VerbCancel) && v.text("pass") != "" {
			text = "cannot cancel " + what + ": it is in its " + v.text("pass") + ", which only kill stops"
		}
	case record.CodeNotSupported:
		status, text = http.StatusBadRequest, v.text("verb")+" is not supported yet"
	case record.CodeUnknownFeature:
		what := "playbook " + v.text("playbook") + " revision " + v.text("revision")
		if v.text("run") != "" {
			what = "run " + v.text("run")
		}
		text = what + " needs what this version of replicore does not know; upgrade all replicas: " + record.Problems(e.Problems).Error()
	case record.CodeNotRetried, record.CodeNothingToRetry:
		text = notRetriedText(e.Code, v)
	case record.CodeNoSuchNode:
		status, text = http.StatusNotFound, "run "+v.text("run")+" has no node "+v.text("node")
	case record.CodeBadValue:
		status, text = http.StatusBadRequest, v.text("field")+" must be "+v.list("allowed", "or")
	case record.CodeClusterBusy:
		text = "cluster " + v.text("cluster") + " is busy with run " + v.text("run") + "; without if_busy: fail, the run waits in its queue"
	case record.CodeFrozen:
		text = frozenText(v)
	case record.CodePlaybookNotFound:
		status = http.StatusNotFound
		if text = "there is no playbook " + v.text("playbook"); v.text("revision") != "" {
			text = "there is no revision " + v.text("revision") + " of playbook " + v.text("playbook")
		}
		text += "; apply it first"
	case record.CodeBadParams:
		status, text = http.StatusUnprocessableEntity, record.Problems(e.Problems).Error()
	case record.CodeNoNodes:
		status, text = http.StatusUnprocessableEntity, "cluster "+v.text("cluster")+" has no known nodes"
	case record.CodeBadWhere:
		status, text = http.StatusUnprocessableEntity, record.Problems(e.Problems).Error()
	case record.CodeUnknownNodes:
		status, text = http.StatusUnprocessableEntity, unknownNodesText(v)
	case record.CodeNoneSelected:
		status, text = http.StatusUnprocessableEntity, noneSelectedText(v)
	case record.CodeNodesUndecided:
		status, text = http.StatusUnprocessableEntity, undecidedNodesText(v)
	case record.CodeUnknownAction:
		status, text = http.StatusUnprocessableEntity, unknownActionText(v)
	case record.CodeNodePresent:
		text = "node " + v.text("node") + " of cluster " + v.text("cluster") + " has a live key: stop its agent first"
	case record.CodeNotStorable:
		text = "run " + v.text("run") + " can neither be advanced nor ended: " + v.text("error") +
			"; see \"a run that cannot be stored\" in docs/operations.md"
	case record.CodeNotLeading:
		status, text = http.StatusServiceUnavailable, "the leader is changing: try again in a moment"
	}
	f := fail(status, e.Code, text)
	f.Problems = e.Problems
	return f
}

// ending says how a run that still runs will end.
func ending(v values) string {
	if v.text("state") != string(record.RunRunning) {
		return ""
	}
	return optional(" and ends ", v.text("outcome"))
}

// unknownActionText names each action that agents do not know, by whom, and what to do.
func unknownActionText(v values) string {
	lines, everywhere := []string{}, true
	unknown, _ := v["unknown"].([]any)
	for _, item := range unknown {
		one, _ := item.(map[string]any)
		u := values(one)
		named, _ := u["nodes"].([]any)
		names, count, of := u.list("nodes", "and"), u.number("count"), u.number("of")
		if count > int64(len(named)) {
			names = fmt.Sprintf("%s and %d more", strings.Join(texts(named), ", "), count-int64(len(named)))
		}
		everywhere = everywhere && count == of
		lines = append(lines, fmt.Sprintf("action %s of step %s (stage %s) is not known to %d of %s of cluster %s: %s%s", u.text("action"), u.text("step"),
			u.text("stage"), count, plural(of, "node"), v.text("cluster"), names, meantText(u)))
	}
	advice := "correct its name, or add it to actions in the configuration of these agents and restart them"
	if !everywhere {
		advice += ", or give the stage targets that leave these nodes out"
	}
	return strings.Join(lines, "; ") + "; nothing was started: " + advice + optional("; known: ", v.list("known", "and"))
}

// meantText says which action was probably meant by one that agents do not know, or how to write one.
func meantText(unknown values) string {
	switch meant := unknown.text("meant"); {
	case meant != "":
		return " (did you mean " + meant + "?)"
	case !strings.Contains(unknown.text("action"), "/"):
		return " (an agent's configured command NAME is the action external.agent.replicante.io/NAME)"
	}
	return ""
}
