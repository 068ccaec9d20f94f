// Package wire has the messages of an agent's HTTP API: the published Replicante agent API (/api/unstable) and what our agents
// add to it. It imports the standard library only.
package wire

import (
	"encoding/json"
	"errors"
	"time"
)

var (
	// ErrNotSent means that no part of a request reached the agent.
	ErrNotSent = errors.New("cannot connect to the agent")
	// ErrCannotCall means that the caller itself lacks what it takes to connect. It says nothing about the agent.
	ErrCannotCall = errors.New("no agent can be called")
	// ErrBadURL means that no agent can be called at the URL, now or later. It comes with ErrNotSent.
	ErrBadURL = errors.New("the agent's URL is not valid")
	// ErrNotFound means that the agent does not know the ID.
	ErrNotFound = errors.New("the agent does not know this action")
	// ErrExists means that the agent has the ID already.
	ErrExists = errors.New("the agent has this action already")
	// ErrRejected means that the agent will never run the action: its kind is unknown, or its arguments are not valid.
	ErrRejected = errors.New("the agent rejects this action")
)

// RejectedError is ErrRejected with the agent's reason.
type RejectedError struct{ Reason string }

func (e *RejectedError) Error() string { return ErrRejected.Error() + ": " + e.Reason }

func (e *RejectedError) Unwrap() error { return ErrRejected }

// Base is the path of the API under an agent's URL.
const Base = "/api/unstable"

// Metadata keys of a fence, which identifies the sender of a request, and of a timeout.
const (
	MetaTerm         = "replicante.io/term" // decimal
	MetaInstallation = "replicante.io/installation"
	MetaJournal      = "replicante.io/journal"
	// MetaTimeout is how long the attempt may run, as a Go duration, from when it starts.
	MetaTimeout = "replicante.io/timeout"
)

// Phase is the progress of an action.
type Phase string

// The phases of an action.
const (
	PhaseNew     Phase = "NEW"
	PhaseRunning Phase = "RUNNING"
	PhaseDone    Phase = "DONE"
	PhaseFailed  Phase = "FAILED"
)

// Ended reports whether the phase is final.
func (p Phase) Ended() bool { return p == PhaseDone || p == PhaseFailed }

// Codes of an action's error.
const (
	CodeLost         = "lost"          // it was running when the agent stopped
	CodeNeverStarted = "never_started" // it was queued when the agent stopped
	CodeTimeout      = "timeout"
	CodeCancelled    = "cancelled"
	CodeExit         = "exit" // the command exited with another status than 0
	CodeFailed       = "failed"
)

// Kinds of actions of our agents.
const (
	KindSuccess        = "agent.replicante.io/test.success"
	KindFail           = "agent.replicante.io/test.fail"
	KindLoop           = "agent.replicante.io/test.loop"
	KindExternalPrefix = "external.agent.replicante.io/"
)

// ActionRequest is the body of POST /action.
type ActionRequest struct {
	ID          string            `json:"id"`
	Kind        string            `json:"kind"`
	Args        json.RawMessage   `json:"args"`
	CreatedTime time.Time         `json:"created_time"`
	Metadata    map[string]string `json:"metadata,omitempty"`
}

// ActionAccepted is the answer to POST /action. To POST /action?wait=20ms, an agent of ours answers with the Action once that has
// ended within the time.
type ActionAccepted struct {
	ID string `json:"id"`
}

// CancelRequest is the body of POST /action/{id}/cancel. Kill stops what is running; without it only what has not
// started is cancelled.
type CancelRequest struct {
	Kill     bool              `json:"kill"`
	Code     string            `json:"code,omitempty"` // timeout or cancelled (default)
	Metadata map[string]string `json:"metadata,omitempty"`
}

// CancelAnswer is the answer to a cancel: the state of the action, or, for an ID not seen before, phase FAILED with
// CodeNeverStarted. Such an ID is rejected from then on.
type CancelAnswer struct {
	ID    string `json:"id"`
	State State  `json:"state"`
}

// Action is the answer to GET /action/{id}.
type Action struct {
	ID            string            `json:"id"`
	Kind          string            `json:"kind"`
	Args          json.RawMessage   `json:"args"`
	Metadata      map[string]string `json:"metadata,omitempty"`
	CreatedTime   time.Time         `json:"created_time"`
	ScheduledTime *time.Time        `json:"scheduled_time"`
	FinishedTime  *time.Time        `json:"finished_time"`
	State         State             `json:"state"`
}

// State is the state of an action. Error is null unless the phase is FAILED; ours is an Error, that of other agents can be
// anything. ExitCode, the tails and Waiting are ours too, for kinds that run a command.
type State struct {
	Phase      Phase           `json:"phase"`
	Payload    json.RawMessage `json:"payload"`
	Error      json.RawMessage `json:"error"`
	ExitCode   *int            `json:"exit_code,omitempty"`
	StdoutTail string          `json:"stdout_tail,omitempty"`
	StderrTail string          `json:"stderr_tail,omitempty"`
	// Waiting is why an action is still RUNNING although its command has exited.
	Waiting string `json:"waiting,omitempty"`
}

// Error is State.Error of our agents.
type Error struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

// TailBytes bounds each tail of a command's output.
const TailBytes = 4096

// Fenced is the body of a 412: the reason, and the highest term of the installation that the agent has seen.
type Fenced struct {
	Reason  string `json:"reason"` // stale_term, term_jump, installation, journal
	Message string `json:"message"`
	Term    int64  `json:"term"`
}

func (f *Fenced) Error() string { return f.Message }

// Reasons of a 412.
const (
	FencedTerm         = "stale_term"
	FencedTermJump     = "term_jump" // the term is too far above the highest that the agent has seen
	FencedInstallation = "installation"
	FencedJournal      = "journal"
)

// Rejection is the body of a 400 or 409.
type Rejection struct {
	Error string `json:"error"`
}

// NodeInfo is the answer to GET /info/node, as the published SDK (replisdk, agent/models/info) encodes it.
type NodeInfo struct {
	AgentVersion AgentVersion    `json:"agent_version"`
	Attributes   map[string]any  `json:"attributes"`
	NodeID       string          `json:"node_id"`
	NodeStatus   json.RawMessage `json:"node_status"` // "HEALTHY", …, "JOINING_CLUSTER", "LEAVING_CLUSTER", {"UNKNOWN": "why"}
	StoreID      string          `json:"store_id"`
	StoreVersion StoreVersion    `json:"store_version"`
	// The rest is ours. With OneProbe, all of the answer is of one run of the probe, and what is absent is not known: nothing
	// else has to be asked. StatusReason is why the status is not HEALTHY, and what is wrong with the output of the probe.
	ClusterID    string  `json:"cluster_id,omitempty"`
	JournalID    string  `json:"journal_id,omitempty"`
	Role         string  `json:"role,omitempty"`
	StatusReason string  `json:"status_reason,omitempty"`
	OneProbe     bool    `json:"one_probe,omitempty"`
	Shards       []Shard `json:"shards,omitzero"`
}

// AgentVersion is the version of an agent.
type AgentVersion struct {
	Checkout string `json:"checkout"`
	Number   string `json:"number"`
	Taint    string `json:"taint"`
}

// StoreVersion is the version of a datastore.
type StoreVersion struct {
	Checkout *string `json:"checkout,omitempty"`
	Number   string  `json:"number"`
	Extra    *string `json:"extra,omitempty"`
}

// ActionsInfo is the answer to GET /info/actions.
type ActionsInfo struct {
	Kinds []string `json:"kinds"` // of the actions that the agent can run, sorted
}

// StoreInfo is the answer to GET /info/store.
type StoreInfo struct {
	ClusterID  string         `json:"cluster_id"`
	Attributes map[string]any `json:"attributes"`
}

// ShardsInfo is the answer to GET /info/shards. Shards is absent where they are not known.
type ShardsInfo struct {
	Shards []Shard `json:"shards,omitzero"`
}

// Shard is one shard of a node.
type Shard struct {
	ID           string          `json:"id"`
	Role         json.RawMessage `json:"role"` // "Primary", "Secondary", "Recovering", {"Other": "role"}
	CommitOffset Offset          `json:"commit_offset"`
	Lag          *Offset         `json:"lag"`
}

// Offset is a position in a shard, or a distance.
type Offset struct {
	Unit  json.RawMessage `json:"unit"` // "seconds", "milliseconds", {"unit": "word"}
	Value float64         `json:"value"`
}

// ActionList is the answer to GET /actions/queue and /actions/finished.
type ActionList struct {
	Actions []ActionSummary `json:"actions"`
}

// ActionSummary is one line of an ActionList.
type ActionSummary struct {
	ID    string `json:"id"`
	Kind  string `json:"kind"`
	Phase Phase  `json:"phase"`
}
