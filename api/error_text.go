package api

import (
	"fmt"
	"strings"

	"github.com/replicante-io/playbooks/record"
)

// Records hold codes and data; the texts for people are made here, when the API answers.

// errorText is the text of an error, a cause or a reason.
func errorText(e *record.Error) string {
	if e == nil {
		return ""
	}
	if e.Message != "" {
		return e.Message
	}
	v := values(e.Data)
	text := ""
	if of := errorTexts[e.Code]; of != nil {
		text = of(v)
	} else if of := outcomeTexts[e.Code]; of != nil {
		text = of(v)
	} else if text = v.text("message"); text == "" { // else it is an agent's own code
		return e.Code + optional(": ", rawText(e.Data))
	}
	return text + stderrText(v) + laterText(v)
}

// rawText is the data of an error whose code this version does not know.
func rawText(data record.Document) string {
	if len(data) == 0 {
		return ""
	}
	return fmt.Sprint(map[string]any(data))
}

// nodeErrorText is errorText where the step of an action is not named beside it.
func nodeErrorText(e *record.Error) string {
	text := errorText(e)
	if e == nil || e.Message != "" || errorTexts[e.Code] != nil || e.Data["step"] == nil {
		return text
	}
	how := " failed: "
	if e.Code == record.CodeLost {
		how = " has an unknown end: "
	}
	return "step " + values(e.Data).text("step") + how + text
}

// stderrText is the last line that a failed command has printed to its standard error.
func stderrText(v values) string {
	if line := v.text("last_stderr_line"); line != "" {
		return `: "` + line + `"`
	}
	return ""
}

// laterText is what became known of an action after its end was recorded as unknown.
func laterText(v values) string {
	later, ok := v["later"].(map[string]any)
	if !ok {
		return ""
	}
	data, _ := later["error"].(map[string]any)
	err := errorOf(data)
	switch state := values(later).text("state"); {
	case state == "": // an operator's word
		return "; " + errorText(err)
	case state == string(record.ActionDone):
		return "; its agent reported later that the step is done"
	case err.Code == record.CodeLost:
		return "; its agent reported later that the step was lost: " + errorText(err)
	default:
		return "; its agent reported later that the step has failed: " + errorText(err)
	}
}

// outcomeTexts are the texts of how an action ended, by code. They do not name its step.
var outcomeTexts = map[string]func(values) string{
	record.CodeExit:         exitText,
	record.CodeFailed:       func(v values) string { return v.or("message", "its agent gave no reason") },
	record.CodeLost:         func(v values) string { return v.or("message", "it was running when its agent stopped") },
	record.CodeNeverStarted: func(v values) string { return v.or("message", "its agent stopped before it began") },
}

// exitText is how a command ended. Shells and agents report one that a signal ended as 128 and the number of the signal.
func exitText(v values) string {
	if v.text("exit_code") == "" {
		return v.or("message", "the command failed")
	}
	text := "exit code " + v.text("exit_code")
	if signal := v.number("exit_code") - 128; signal > 0 && signal <= 64 {
		text += fmt.Sprintf(" (signal %d)", signal)
	}
	return text
}

// values reads the data of an error for its text.
type values map[string]any

func (v values) text(key string) string {
	if value, ok := v[key]; ok && value != nil {
		return fmt.Sprint(value)
	}
	return ""
}

// nested is the text of an error within the data.
func (v values) nested(key string) string {
	data, ok := v[key].(map[string]any)
	if !ok {
		return ""
	}
	return nodeErrorText(errorOf(data))
}

// agentCause is why an agent does not answer, and then its URL.
func (v values) agentCause() string {
	why, at := v.or("error", v.text("status_reason")), v.text("agent_url")
	if at == "" {
		return shorten(why)
	}
	if i := strings.LastIndex(why, " ("+at); i >= 0 && strings.HasSuffix(why, ")") { // errors of the agents' client end with it
		why = why[:i]
	}
	return strings.TrimSpace(shorten(why) + " (" + at + ")")
}

// or is a text, or another one where there is none.
func (v values) or(key, otherwise string) string {
	if text := v.text(key); text != "" {
		return text
	}
	return otherwise
}

// errorOf is an error as data holds it.
func errorOf(data map[string]any) *record.Error {
	v := values(data)
	e := &record.Error{Code: v.text("code"), Message: v.text("message")}
	e.Data, _ = v["data"].(map[string]any)
	return e
}

// list is a list of texts, as "a, b or c".
func (v values) list(key, last string) string {
	items, _ := v[key].([]any)
	all := texts(items)
	if len(all) < 2 {
		return strings.Join(all, "")
	}
	return strings.Join(all[:len(all)-1], ", ") + " " + last + " " + all[len(all)-1]
}

func texts(items []any) []string {
	texts := make([]string, len(items))
	for i, item := range items {
		texts[i] = fmt.Sprint(item)
	}
	return texts
}

// number is a count; 0 where there is none.
func (v values) number(key string) int64 {
	switch n := v[key].(type) {
	case int64:
		return n
	case float64:
		return int64(n)
	}
	return 0
}

func fixed(text string) func(values) string { return func(values) string { return text } }

// errorTexts are the texts of codes. It is set by init because texts contain the texts of nested errors.
var errorTexts map[string]func(values) string

func init() {
	errorTexts = map[string]func(values) string{
		record.CodeTimeout: func(v values) string {
			if v.text("timeout") == "" { // the agent's
				return "step " + v.text("step") + " took too long" + optional(": ", v.text("message"))
			}
			return "step " + v.text("step") + " did not end within " + v.text("timeout")
		},
		record.CodeCancelled: func(v values) string {
			if v.text("step") != "" {
				return "step " + v.text("step") + " was cancelled" + optional(": ", v.text("message"))
			}
			return "cancelled" + optional(" by ", v.text("actor")) + optional(": ", v.text("reason")) + optional("; before that: ", v.nested("before"))
		},
		record.CodeExpect: expectText,
		record.CodeBadArgs: func(v values) string {
			return "the arguments of step " + v.text("step") + " cannot be stored: " + v.text("error")
		},
		record.CodeRecordTooLarge: func(v values) string {
			return "the record of the node would take more than " + v.text("most") + " bytes with " + v.text("what") + " of step " + v.text("step") +
				", so that is left out; return or pass less"
		},
		record.CodeNotStorable: func(v values) string {
			if v.text("step") != "" {
				return "how step " + v.text("step") + " ended cannot be stored, its payload and output are left out: " + v.text("error")
			}
			return "the primary store does not take the record, however often it is tried: " + v.text("error")
		},
		record.CodeRejected: func(v values) string {
			return "its agent" + optional(" at ", v.text("agent_url")) + " rejects step " + v.text("step") + ": " + v.text("error") + "; it is not tried again"
		},
		record.CodeBadPayload: func(v values) string {
			return "the payload of step " + v.text("step") + " cannot be stored: " + v.text("error")
		},
		record.CodeUnreachable: func(v values) string {
			if v.text("other_node") != "" {
				sent := "step " + v.text("step") + " was not sent to it"
				if v["sent"] == true {
					sent = "it is not known whether step " + v.text("step") + ", which may have been sent before, ran"
				}
				return "the agent at " + v.text("agent_url") + " is that of node " + v.text("other_node") + ": " + sent +
					"; correct agent_url in the node's key in etcd"
			}
			if v.text("error") != "" {
				return "its agent cannot be reached: " + v.agentCause()
			}
			return "its agent did not answer when its turn came" + optional(": ", v.agentCause()) + optional("; waited ", v.text("waited"))
		},
		record.CodeUnknown: func(v values) string {
			return "its agent at " + v.text("agent_url") + " did not report in time how step " + v.text("step") + " ended, nor that it was stopped"
		},
		record.CodeNodeLost: func(v values) string {
			return "the node is gone for " + v.text("grace") + " and its agent at " + v.text("agent_url") + " did not answer in time: it was not known whether step " +
				v.text("step") + " had ended"
		},
		record.CodeForgotten: func(v values) string {
			return "its agent no longer knows the action of step " + v.text("step") + ", which it had accepted"
		},
		record.CodeJournalChanged: func(v values) string {
			if v["sent"] == true {
				return "its agent has lost its journal: it is not known whether step " + v.text("step") + " ran"
			}
			return "its agent has another journal than the one that step " + v.text("step") + " was meant for; nothing was started"
		},
		record.CodeTermRefused: termRefusedText,
		record.CodeConflict: func(v values) string {
			return "its agent has another action under the ID of step " + v.text("step") + ", of kind " + v.text("kind")
		},
		record.CodeHealthTimeout: healthTimeoutText,
		record.CodeRollbackFailed: func(v values) string {
			return "stage " + v.text("stage") + " could not be rolled back: " + v.nested("error")
		},
		record.CodeCleanupFailed: func(v values) string {
			return "stage " + v.text("stage") + ", which always runs, failed: " + v.nested("error")
		},
		record.CodeUnsettled: func(v values) string {
			return "an action of run " + v.text("run") + " may still be running on it; if you know that it has ended, resolve node " +
				v.text("node") + " in that run"
		},
		record.CodeExpression: func(v values) string {
			if v.text("what") == "check" {
				return undecidedText(v)
			}
			return "cannot decide " + decisionText(v) + ": " + v.text("error")
		},
		record.CodeFactsAbsent: absentText,
		record.CodeUndecidable: absentText,
		record.CodeNoTargets: func(v values) string {
			if v.text("targets") != "" {
				return "stage " + v.text("stage") + " has no target: no node that is left in the run matches " + v.text("targets")
			}
			return "stage " + v.text("stage") + " has no target: no node is left in the run"
		},
		record.CodeGuardTimeout: guardTimeoutText,
		record.CodeMaxFailures: func(v values) string {
			return "stage " + v.text("stage") + ": " + failuresText(v) + "; max_failures is " + v.text("max_failures")
		},
		record.CodePickTooFew: func(v values) string {
			return fmt.Sprintf("stage %s has to pick at least %d of its %s, and can pick %d", v.text("stage"), v.number("at_least"), plural(v.number("nodes"), "node"),
				v.number("picked")) + optional(": ", pickFailuresText(v))
		},
		record.CodeNodesFailed: failuresText,
		record.CodeRunTimeout: func(v values) string {
			return "the run has taken longer than its timeout of " + v.text("timeout") + "; resume gives it as long again"
		},
		record.CodePlanTime: func(v values) string {
			return "the plan is not complete: there was time to plan for " + v.text("within") + " only"
		},
		record.CodePlanEndless: planEndlessText,
		record.CodeApprovalRejected: func(v values) string {
			return approvalOf(v) + " was rejected" + optional(" by ", v.text("actor")) + optional(": ", v.text("reason"))
		},
		record.CodeApprovalTimeout: func(v values) string {
			return "nobody approved or rejected " + approvalOf(v) + " within " + v.text("timeout")
		},
		record.CodeNodeAdded: func(v values) string {
			return "node " + v.text("node") + " appeared (membership.added: " + v.text("policy") + ")" + onResume(v, "it takes part after a resume")
		},
		record.CodeNodeRemoved: func(v values) string {
			return "node " + v.text("node") + " is gone (membership.removed: " + v.text("policy") + ")" + onResume(v, "a resume continues without it")
		},

		record.CauseNoStage: fixed("no stage was for it"),
		record.CauseNotPicked: func(v values) string {
			return "stage " + v.text("stage") + " had picked enough nodes before its turn came"
		},
		record.CauseSubset:       subsetText,
		record.CauseRunFailed:    endedText("failed"),
		record.CauseRunCancelled: endedText("was cancelled"),
		record.CauseBeforeStep: func(v values) string {
			return "the run ended before step " + v.text("step") + " of stage " + v.text("stage") + doneText(v)
		},
		record.CauseBeforeHealth: func(v values) string {
			return "the run ended before the health of stage " + v.text("stage") + " was checked" + doneText(v)
		},
		record.CauseBetween: func(v values) string {
			return "it has passed stage " + v.text("after") + " and waits for its next stage"
		},
		record.CauseJoined: func(v values) string {
			switch v.text("policy") {
			case "":
				return "it appeared during the run"
			case "retry":
				return "it appeared after the run had ended, and no retry is for it"
			}
			return "it appeared during the run (membership.added: " + v.text("policy") + ")"
		},
		record.CauseKeyGone: fixed("its key is gone"),
		record.CauseLocked:  func(v values) string { return "run " + v.text("run") + " has it locked for a batch" },
		record.CauseRemoved: fixed("its key is gone and its agent does not answer"),
		record.CauseReopened: func(v values) string {
			if v.text("pass") == string(record.PassRollback) {
				return "it waits until stage " + v.text("stage") + " is rolled back"
			}
			return "it waits for stage " + v.text("stage") + ", which always runs"
		},
		record.CauseMaxUnavailable: func(v values) string {
			return fmt.Sprintf("%d of %s are out", v.number("out"), plural(v.number("nodes"), "node"))
		},
		record.CauseReturned: fixed("it is back"),
		record.CauseRetried:  fixed("it is retried"),
		record.CodeNodesLeft: func(v values) string {
			return "what was retried is done; " + plural(v.number("nodes"), "node") + " of the run not: retry them, too"
		},
		record.CauseResolved: resolvedText,
		record.CauseNodeForgotten: func(v values) string {
			return "the node was forgotten by " + v.or("actor", "an operator") + ": what might still run on it is written off"
		},
		record.CauseNoAnswer: fixed("its agent did not answer in time"),
		record.CauseStatus: func(v values) string {
			return "its status is " + v.text("status") + optional(": ", v.text("status_reason"))
		},
		record.CauseCheckFalse: falseText,
		record.CauseNotEnded:   fixed("its agent has not reported that the step has ended"),
		record.CauseNotSettled: fixed("it has not been healthy for long enough"),
	}
}

// resolvedText is an operator's decision about a node.
func resolvedText(v values) string {
	return "resolved" + optional(" ", v.text("state")) + " by " + v.or("actor", "an operator") + optional(": ", v.text("reason"))
}

func optional(before, text string) string {
	if strings.TrimSpace(text) == "" {
		return ""
	}
	return before + text
}

func onResume(v values, text string) string {
	if v.text("policy") == "pause" {
		return "; " + text
	}
	return ""
}

// endedText says why nothing more is done on a node.
func endedText(how string) func(values) string {
	return func(v values) string {
		if v.text("after") != "" {
			return "the run " + how + " after stage " + v.text("after") + " of this node" + doneText(v)
		}
		return "the run " + how + " before its turn came"
	}
}

// doneText is what was done on a node.
func doneText(v values) string {
	done := v.list("done", "and")
	if done == v.text("after") {
		return ""
	}
	return optional("; done on it: ", done)
}

func absentText(v values) string {
	if v.text("what") == "check" {
		return undecidedText(v)
	}
	return "cannot decide " + decisionText(v) + ": " + v.text("error") + ownStatusText(v) + "; waited " + v.text("waited")
}

// decisionText is what an expression decides.
func decisionText(v values) string {
	text := map[string]string{
		"targets": "targets of stage " + v.text("stage"), "groups": "groups of stage " + v.text("stage"), "order_by": "order_by of stage " + v.text("stage"),
		"when": "when of step " + v.text("step"), "args": "args of step " + v.text("step"),
	}[v.text("what")]
	if text == "" {
		text = v.text("what")
	}
	return text + optional(" on node ", v.text("node"))
}

func termRefusedText(v values) string {
	text := "its agent refuses term " + v.text("term") + " of this leader: the highest that it has seen is " + v.text("agent_term") +
		", which no election can have reached; "
	if v.number("agent_term") <= v.number("term") {
		text = "its agent refuses term " + v.text("term") + " of this leader, which is too far above " + v.text("agent_term") +
			", the highest that it has seen; "
	}
	if v["sent"] == true {
		text += "it is not known whether step " + v.text("step") + " ran; "
	} else {
		text += "step " + v.text("step") + " was not started; "
	}
	return text + "give the agent a new journal: see \"a term that was driven up\" in docs/operations.md"
}

func healthTimeoutText(v values) string {
	why := v.nested("why")
	if v.text("step") != "" {
		return "it is not known how step " + v.text("step") + " ended, and the node was not healthy within " + v.text("timeout") + ": " + why
	}
	if v.text("settle") != "" {
		return "not healthy for " + v.text("settle") + " within " + v.text("timeout") + " after its steps"
	}
	if data, ok := v["why"].(map[string]any); ok && blamesOthers(errorOf(data)) {
		return "the health check of its batch did not hold within " + v.text("timeout") + ": " + why
	}
	return "not healthy within " + v.text("timeout") + " after its steps: " + why
}

// pickFailuresText is failuresText where nodes have failed.
func pickFailuresText(v values) string {
	if v.number("failed") == 0 {
		return ""
	}
	return failuresText(v)
}

// failuresText says which nodes failed and why, of those that are named.
func failuresText(v values) string {
	failed, nodes := v.number("failed"), v.number("nodes")
	text := fmt.Sprintf("%d of %s failed", failed, plural(nodes, "node"))
	named, _ := v["named"].([]any)
	for i, item := range named {
		one, _ := item.(map[string]any)
		text += map[bool]string{true: ": ", false: "; "}[i == 0] + values(one).text("node")
		if why := values(one).nested("error"); why != "" {
			text += " (" + why + ")"
		}
	}
	if more := failed - int64(len(named)); more > 0 {
		text += fmt.Sprintf("; and %d more", more)
	}
	return text
}
