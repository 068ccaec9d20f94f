package record

import (
	"fmt"
	"time"
)

// RunRequest asks for a run.
type RunRequest struct {
	Playbook string   `json:"playbook"`
	Revision int64    `json:"revision,omitempty"` // 0: the latest
	Cluster  string   `json:"cluster"`
	Params   Document `json:"params,omitempty"`
	Where    string   `json:"where,omitempty"` // an expression of a node: only the nodes for which it is true
	Nodes    []string `json:"nodes,omitempty"` // only these nodes
	Reason   string   `json:"reason,omitempty"`
	IfBusy   string   `json:"if_busy,omitempty"` // queue (default) | fail
	// OverrideFreeze starts the run also in a cluster that is frozen; it needs a Reason.
	OverrideFreeze bool `json:"override_freeze,omitempty"`
}

// Verb is what an operator tells a run to do.
type Verb string

// The verbs.
const (
	VerbPause   Verb = "pause"
	VerbResume  Verb = "resume"
	VerbApprove Verb = "approve"
	VerbReject  Verb = "reject"
	VerbCancel  Verb = "cancel"
	VerbRetry   Verb = "retry"
	VerbResolve Verb = "resolve"
)

// Command is what an operator tells a run.
type Command struct {
	Verb   Verb      `json:"verb"`
	Stage  string    `json:"stage,omitempty"`
	Reason string    `json:"reason,omitempty"`
	Kill   bool      `json:"kill,omitempty"`  // of cancel: stop what is in flight
	Nodes  []string  `json:"nodes,omitempty"` // of retry
	Node   string    `json:"node,omitempty"`  // of resolve
	State  NodeState `json:"state,omitempty"` // of resolve: DONE or FAILED
}

// LastCommand is a command that an operator gave a run as a whole.
type LastCommand struct {
	Verb   Verb      `json:"verb"`
	Actor  string    `json:"actor,omitempty"`
	Reason string    `json:"reason,omitempty"`
	TS     time.Time `json:"ts"`
}

// Request is who asks, and how a repetition is recognised.
type Request struct {
	Actor  string
	Key    string // Idempotency-Key; "" for none
	Digest string // of the request
}

// RejectedError refuses what an operator asked for: nothing was written. Code is stable; its HTTP status and its text are made
// by the API, from Code and Data.
type RejectedError struct {
	Code string
	Data Document
	// Problems says where in what was sent, if it has places.
	Problems []Problem
}

func (e *RejectedError) Error() string {
	if len(e.Data) == 0 {
		return e.Code
	}
	return fmt.Sprintf("%s %v", e.Code, map[string]any(e.Data))
}
