package api

import (
	"strings"

	"github.com/replicante-io/playbooks/record"
)

// togetherText says after which stages a run pauses or is cancelled.
func togetherText(w *record.Wait, v values) string {
	items, _ := v["together"].([]any)
	stages := texts(items)
	then := "is paused"
	if v.text("then") == string(record.RunCancelled) {
		then = "is cancelled"
	}
	text := "the run " + then + " once stage " + w.Stage + " has ended: nothing stops between stages that run together"
	if len(stages) > 0 {
		text += " (" + strings.Join(stages, ", ") + ")"
	}
	if v.text("then") == string(record.RunCancelled) {
		text += "; what they have done is not undone; cancel with kill ends it now"
	}
	return text
}
