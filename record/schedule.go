package record

import (
	"slices"
	"time"
)

// Documents are what one apply stores, in the order in which it was given.
type Documents struct {
	Playbooks []Playbook
	Schedules []Schedule
	Freezes   []Freeze
}

// Schedule starts runs of a playbook at times. What was applied is its Spec; the leader keeps in it what became of its due times.
type Schedule struct {
	Name      string            `json:"name"`
	Revision  int64             `json:"revision"` // from 1; it grows with every change of what was applied
	Labels    map[string]string `json:"labels,omitempty"`
	Spec      ScheduleSpec      `json:"spec"`
	CreatedTS time.Time         `json:"created_ts"`
	UpdateTS  time.Time         `json:"update_ts"` // of the last revision
	// SinceTS is what due times have to be after to be considered: the last one that was decided, or when the schedule was
	// applied with other times, or resumed.
	SinceTS time.Time `json:"since_ts"`
	// LastDueTS is the last due time that was decided.
	LastDueTS *time.Time `json:"last_due_ts,omitempty"`
	// NextTS is the next due time; absent while the schedule is suspended, and in the store: the API computes it.
	NextTS *time.Time `json:"next_ts,omitempty"`
	// Results are what became of the last due times, the newest first, at most MaxScheduleResults.
	Results []ScheduleResult `json:"results,omitempty"`
	// LastRunID is the last run that was started.
	LastRunID string `json:"last_run_id,omitempty"`
	// Rev grows by one with every write of the record.
	Rev int64 `json:"rev"`
	// KeepSuspended is of a schedule that is to be applied and does not say whether it is suspended: it stays as it is.
	KeepSuspended bool `json:"-"`
}

// MaxScheduleResults is how many results a schedule keeps.
const MaxScheduleResults = 10

// ScheduleSpec is what a schedule does. Its defaults are filled in.
type ScheduleSpec struct {
	Playbook    string    `json:"playbook"`
	Revision    int64     `json:"revision,omitempty"` // of the playbook; 0: the latest at the time
	Cluster     string    `json:"cluster"`
	Params      Document  `json:"params,omitempty"`
	Where       string    `json:"where,omitempty"`
	Cron        string    `json:"cron"`
	TimeZone    string    `json:"time_zone"`
	StartWithin string    `json:"start_within"` // a duration, such as 1h
	IfRunning   IfRunning `json:"if_running"`
	Suspended   bool      `json:"suspended"`
}

// IfRunning is what a schedule does at a due time while its run could not begin at once.
type IfRunning string

// What a schedule does meanwhile.
const (
	IfRunningSkip  IfRunning = "skip"
	IfRunningQueue IfRunning = "queue"
)

// Within is StartWithin as a duration.
func (s *ScheduleSpec) Within() time.Duration { return durationOf(s.StartWithin) }

// durationOf reads a duration that was checked when it was applied.
func durationOf(text string) time.Duration {
	d, _ := time.ParseDuration(text)
	return d
}

// ScheduleResult is what became of one due time.
type ScheduleResult struct {
	DueTS time.Time   `json:"due_ts"`
	TS    time.Time   `json:"ts"`
	State FiringState `json:"state"`
	RunID string      `json:"run_id,omitempty"`
	// Reason is why no run was started: see the constants. Its Message is made by the API.
	Reason *Error `json:"reason,omitempty"`
}

// FiringState is whether a due time has started a run.
type FiringState string

// The states of a result.
const (
	FiringStarted FiringState = "STARTED"
	FiringSkipped FiringState = "SKIPPED"
	// FiringRejected is of a run whose start was rejected, or failed.
	FiringRejected FiringState = "REJECTED"
)

// Why a due time started no run. Any other code is that of the rejected start, such as playbook_not_found.
const (
	CodeScheduleLate    = "late"    // data.start_within, which had passed, or data.later: the due time that was made up
	CodeScheduleRunning = "running" // if_running is skip; data.run was in the way
	CodeScheduleError   = "error"   // the run could not be created; data.error
)

// ScheduleKeys is what the idempotency keys of the runs of schedules begin with. No request has such a key.
const ScheduleKeys = "schedule/"

// AddResult adds what became of a due time, in the place of an earlier result of the same one.
func (s *Schedule) AddResult(result ScheduleResult) {
	s.Results = slices.DeleteFunc(slices.Clone(s.Results), func(r ScheduleResult) bool { return r.DueTS.Equal(result.DueTS) })
	s.Results = slices.Insert(s.Results, 0, result)
	slices.SortStableFunc(s.Results, func(a, b ScheduleResult) int { return b.DueTS.Compare(a.DueTS) })
	s.Results = s.Results[:min(len(s.Results), MaxScheduleResults)]
	if s.LastDueTS == nil || s.LastDueTS.Before(result.DueTS) {
		s.LastDueTS = &result.DueTS
	}
	if result.State == FiringStarted {
		s.LastRunID = result.RunID
	}
	if s.SinceTS.Before(result.DueTS) {
		s.SinceTS = result.DueTS
	}
}
