package record

import "time"

// Freeze keeps runs from starting, and batches from being opened, in clusters at times.
type Freeze struct {
	Name      string            `json:"name"`
	Revision  int64             `json:"revision"` // from 1; it grows with every change of what was applied
	Labels    map[string]string `json:"labels,omitempty"`
	Spec      FreezeSpec        `json:"spec"`
	CreatedTS time.Time         `json:"created_ts"`
	UpdateTS  time.Time         `json:"update_ts"` // of the last revision
}

// FreezeSpec is which clusters are frozen, and when: from From until To, or in Windows.
type FreezeSpec struct {
	Clusters []string   `json:"clusters"` // patterns: * stands for any characters, ? for one
	From     *time.Time `json:"from,omitempty"`
	To       *time.Time `json:"to,omitempty"`
	Windows  []Window   `json:"windows,omitempty"`
	Reason   string     `json:"reason,omitempty"`
}

// Window is a time that comes again and again: it opens at each due time of Cron and stays open for For.
type Window struct {
	Cron     string `json:"cron"`
	For      string `json:"for"` // a duration, such as 6h
	TimeZone string `json:"time_zone"`
}

// Length is For as a duration.
func (w *Window) Length() time.Duration { return durationOf(w.For) }
