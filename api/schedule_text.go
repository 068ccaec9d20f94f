package api

import "github.com/replicante-io/playbooks/record"

// scheduleReasonText is why a due time of a schedule has started no run.
func scheduleReasonText(reason *record.Error) string {
	v := values(reason.Data)
	switch reason.Code {
	case record.CodeScheduleLate:
		if later := v.text("later"); later != "" {
			return "nobody could start it in time, and the due time of " + later + " came meanwhile: only the last one is made up"
		}
		return "nobody could start it within " + v.text("start_within") + " (start_within)"
	case record.CodeScheduleRunning:
		return "run " + v.text("run") + " was in the way (if_running: skip)"
	case record.CodeScheduleError:
		return "the run could not be created: " + v.text("error")
	}
	if problems := v.text("problems"); problems != "" {
		return problems
	}
	return rejection(&record.RejectedError{Code: reason.Code, Data: reason.Data}).Detail
}

// frozenText says which freeze keeps a run from being started.
func frozenText(v values) string {
	text := "cluster " + v.text("cluster") + " is frozen by freeze " + v.text("freeze") + optional(": ", v.text("why"))
	if until := v.text("until"); until != "" {
		text += "; until " + until
	} else {
		text += "; until the freeze is deleted"
	}
	return text + "; nothing was started: wait, or override the freeze with a reason"
}
