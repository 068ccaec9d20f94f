package store

import (
	"cmp"
	"time"

	"github.com/replicante-io/playbooks/record"
)

// CompareQueued orders runs as the queue of a cluster does, first in line first: by queued_ts, then by id. A run without
// queued_ts has been queued since created_ts.
func CompareQueued(a, b record.Run) int {
	return cmp.Or(queuedTS(&a).Compare(queuedTS(&b)), cmp.Compare(a.ID, b.ID))
}

func queuedTS(run *record.Run) time.Time {
	if run.QueuedTS != nil {
		return *run.QueuedTS
	}
	return run.CreatedTS
}
