// Package record holds what is stored and sent: runs, node records, actions, events, terms and commits, with one set of
// JSON tags that the primary store, the HTTP API and its clients share.
//
// All times are UTC with milliseconds (Now), because MongoDB's dates hold no more.
package record

import (
	"time"
)

// Time is t as records hold it: UTC, whole milliseconds.
func Time(t time.Time) time.Time { return t.UTC().Truncate(time.Millisecond) }

// Error is why something failed, or is as it is: a stable code and what it is about. Message is empty in the store: the API makes it
// from Code and Data. Of an action, Data has step and, where they are known, exit_code, last_stderr_line and message, the agent's own.
type Error struct {
	Code    string   `json:"code"`
	Message string   `json:"message,omitempty"`
	Data    Document `json:"data,omitempty"`
}

// Source says where a playbook's text is kept.
type Source struct {
	Repository string `json:"repository,omitempty"`
	Commit     string `json:"commit,omitempty"`
	Path       string `json:"path,omitempty"`
}

// Playbook is one applied revision. It never changes.
type Playbook struct {
	Name     string            `json:"name"`
	Revision int64             `json:"revision"` // from 1 per name, without gaps
	Version  string            `json:"version,omitempty"`
	Source   *Source           `json:"source,omitempty"`
	Labels   map[string]string `json:"labels,omitempty"`
	Spec     Document          `json:"spec"`
	// Digest is the SHA-256 of the document as applied, in hex: applying the same again makes no revision.
	Digest    string    `json:"digest"`
	CreatedTS time.Time `json:"created_ts"`
}

// PlaybookCopy is the playbook as a run carries it.
type PlaybookCopy struct {
	Name     string   `json:"name"`
	Version  string   `json:"version,omitempty"`
	Revision int64    `json:"revision"`
	Source   *Source  `json:"source,omitempty"`
	Spec     Document `json:"spec,omitempty"`
}
