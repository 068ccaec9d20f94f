package record

// RunRequest asks for a run.
type RunRequest struct {
	Playbook string   `json:"playbook"`
	Revision int64    `json:"revision,omitempty"` // 0: the latest
	Cluster  string   `json:"cluster"`
	Params   Document `json:"params,omitempty"`
	Reason   string   `json:"reason,omitempty"`
	IfBusy   string   `json:"if_busy,omitempty"` // queue (default) | fail
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

// Request is who asks, and how a repetition is recognised.
type Request struct {
	Actor  string
	Key    string // Idempotency-Key; "" for none
	Digest string // of the request
}

// RejectedError is an answer of "no" to what an operator asked: nothing was written. Code is stable; Status is HTTP's.
type RejectedError struct {
	Status  int
	Code    string
	Message string
	// Problems says where in what was sent, if it has places.
	Problems []Problem
}

func (r *RejectedError) Error() string { return r.Message }
