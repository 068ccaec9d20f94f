package api

import "github.com/replicante-io/playbooks/record"

// planEndlessText says where a plan does not come to an end.
func planEndlessText(v values) string {
	text := "the plan is not complete: the run would not come to an end" + optional(" in stage ", v.text("stage")) + ", after " + v.text("steps") + " decisions"
	wait, _ := v["wait"].(map[string]any)
	if len(wait) == 0 {
		return text
	}
	w := values(wait)
	about, _ := wait["data"].(map[string]any)
	return text + "; it waits: " + waitText(&record.Wait{For: record.WaitReason(w.text("for")), Stage: w.text("stage"), Node: w.text("node"), Data: about})
}
