package store

import (
	"bytes"
	"encoding/json"

	"github.com/replicante-io/playbooks/record"
)

// What every store decides in the same way about schedules and freezes that are applied.

// NextSchedule is the record of a schedule after applied was applied, and whether that changes it. stored is the record before, nil
// where there is none. What became of due times stays. Where the times change, or the schedule is no longer suspended, no due
// time before now is made up.
func NextSchedule(stored *record.Schedule, applied record.Schedule) (record.Schedule, bool) {
	applied.SinceTS, applied.Revision, applied.Rev = applied.CreatedTS, 1, 1
	applied.UpdateTS = applied.CreatedTS
	if stored == nil {
		applied.KeepSuspended = false
		return applied, true
	}
	if applied.KeepSuspended {
		applied.Spec.Suspended, applied.KeepSuspended = stored.Spec.Suspended, false
	}
	if sameJSON(stored.Labels, applied.Labels) && sameJSON(stored.Spec, applied.Spec) {
		return *stored, false
	}
	next := applied
	next.CreatedTS, next.Revision, next.Rev = stored.CreatedTS, stored.Revision+1, stored.Rev+1
	next.LastDueTS, next.Results, next.LastRunID = stored.LastDueTS, stored.Results, stored.LastRunID
	resumed := stored.Spec.Suspended && !applied.Spec.Suspended
	if sameTimes := stored.Spec.Cron == applied.Spec.Cron && stored.Spec.TimeZone == applied.Spec.TimeZone; sameTimes && !resumed {
		next.SinceTS = stored.SinceTS
	}
	return next, true
}

// NextFreeze is the record of a freeze after applied was applied, and whether that changes it. stored is the record before, nil
// where there is none.
func NextFreeze(stored *record.Freeze, applied record.Freeze) (record.Freeze, bool) {
	applied.Revision, applied.UpdateTS = 1, applied.CreatedTS
	if stored == nil {
		return applied, true
	}
	if sameJSON(stored.Labels, applied.Labels) && sameJSON(stored.Spec, applied.Spec) {
		return *stored, false
	}
	next := applied
	next.CreatedTS, next.Revision = stored.CreatedTS, stored.Revision+1
	return next, true
}

// sameJSON compares values as they are stored. Keys of maps are sorted there, and an empty one is as one that is absent.
func sameJSON(a, b any) bool {
	textA, errA := json.Marshal(a)
	textB, errB := json.Marshal(b)
	return errA == nil && errB == nil && bytes.Equal(textA, textB)
}
