package api

import (
	"github.com/replicante-io/playbooks/playbook"
	"github.com/replicante-io/playbooks/record"
)

// guardText is the wait for a guard: which part is false or cannot be decided, why, and what happens when it does not hold in time.
func guardText(w *record.Wait, v values) string {
	text := "the guard of stage " + w.Stage + " does not hold, so no batch opens" + optional(": ", v.nested("error"))
	if w.Until == nil {
		return text
	}
	then := "pauses"
	if v.text("on_timeout") == string(playbook.TimeoutFail) {
		then = "fails"
	}
	return text + "; the run continues by itself once it holds, and " + then + " at " + clock(*w.Until)
}

// guardTimeoutText is why a run paused or failed at a guard.
func guardTimeoutText(v values) string {
	text := "the guard of stage " + v.text("stage") + " did not hold within " + v.text("timeout") + optional(": ", v.nested("why"))
	if v.text("on_timeout") == string(playbook.TimeoutPause) {
		text += "; after a resume it is waited for again"
	}
	return text
}
