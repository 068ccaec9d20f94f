package api

import (
	"strconv"

	"github.com/replicante-io/playbooks/record"
)

// notRetriedText is why a node, or any node of a run, is not retried.
func notRetriedText(code string, v values) string {
	if code == record.CodeNothingToRetry {
		if v.text("begun") == "false" {
			return "run " + v.text("run") + " cannot be retried: it ended before it began; start a new one"
		}
		text := "no node of run " + v.text("run") + " can be retried"
		if n := v.number("unsettled"); n > 0 {
			return text + ": on " + strconv.FormatInt(n, 10) + " of them an action may still be running; resolve these nodes first"
		}
		if v.text("state") == string(record.RunPaused) {
			return text + ": none has failed in its open stage; those of earlier stages can be retried once the run has ended"
		}
		return text + ": every node is done or was left out"
	}
	text := "node " + v.text("node") + " of run " + v.text("run") + " cannot be retried: "
	switch v.text("why") {
	case "unsettled":
		return text + "an action may still be running on it; resolve it first"
	case "removed":
		return text + "it was removed, and has no live key"
	case "stage":
		return text + "it did not fail in the open stage; it can be retried once the run has ended"
	}
	return text + "it is " + v.text("state")
}
