package api

import (
	"github.com/replicante-io/playbooks/record"
)

// approvalText is the wait for an approval: of what, with the playbook's message, and what happens when nobody decides.
func approvalText(w *record.Wait, v values) string {
	text := "an operator has to approve or reject the run"
	if w.Stage != "" {
		text = "an operator has to approve or reject stage " + w.Stage
	}
	text += optional(": ", v.text("message"))
	if w.Until == nil {
		return text
	}
	then := "rejected"
	if v.text("on_timeout") == "approve" {
		then = "approved"
	}
	return text + "; without a decision it is " + then + " at " + clock(*w.Until)
}

// wrongApprovalText is why a run, or a stage of it, can be neither approved nor rejected now.
func wrongApprovalText(v values) string {
	if v.text("stage") != "" {
		return "cannot " + v.text("verb") + " stage " + v.text("stage") + " of run " + v.text("run") + ": the stage is " + v.text("state") +
			" and does not wait for an approval; the run is " + v.text("run_state")
	}
	return "cannot " + v.text("verb") + " run " + v.text("run") + ": it is " + v.text("state") + ending(v) +
		" and does not wait for an approval; it has to be PENDING_APPROVE, or RUNNING with a stage that waits for its approval"
}

// approvalOf is what an error about an approval is about.
func approvalOf(v values) string {
	if v.text("stage") != "" {
		return "stage " + v.text("stage")
	}
	return "the run"
}
