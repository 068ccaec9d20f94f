package record

import (
	"time"

	"github.com/google/uuid"
)

// NodeState is the state of a node in a run.
type NodeState string

// The states of a node record. All but NodePending, NodeAdded and NodeRunning are final.
const (
	NodePending        NodeState = "PENDING"
	NodeAdded          NodeState = "ADDED" // appeared during the run; the policy has not decided yet
	NodeRunning        NodeState = "RUNNING"
	NodeDone           NodeState = "DONE"
	NodeFailed         NodeState = "FAILED"
	NodeUnknown        NodeState = "UNKNOWN"
	NodeSkipped        NodeState = "SKIPPED"     // no stage was for it
	NodeNotReached     NodeState = "NOT_REACHED" // the run ended first
	NodeCancelled      NodeState = "CANCELLED"
	NodeRemoved        NodeState = "REMOVED"
	NodeRolledBack     NodeState = "ROLLED_BACK"
	NodeRollbackFailed NodeState = "ROLLBACK_FAILED"
)

// Final tells whether a node in this state is done with the run.
func (s NodeState) Final() bool { return s != NodePending && s != NodeAdded && s != NodeRunning }

// Membership is how a node belongs to a run.
type Membership string

// The kinds of membership.
const (
	MemberKnown   Membership = "KNOWN"
	MemberAdded   Membership = "ADDED"
	MemberRemoved Membership = "REMOVED"
)

// NodeChange is one entry of a node record's history. The history keeps the last MaxHistory.
type NodeChange struct {
	State  NodeState `json:"state"`
	TS     time.Time `json:"ts"`
	Reason string    `json:"reason,omitempty"`
}

// MaxHistory bounds a node record's history.
const MaxHistory = 50

// NodeStage is what a run knows of one node in one stage.
type NodeStage struct {
	Name   string     `json:"name"`
	Pass   Pass       `json:"pass"`
	Batch  int        `json:"batch"` // 0 until it is chosen
	State  StageState `json:"state"`
	Reason string     `json:"reason,omitempty"`

	// Step is the index of the step that the node is at; len(steps) when it passed them all.
	Step int `json:"step"`
	// Retries counts the failed attempts of Step in this pass; NextTS is when the next attempt may start.
	Retries int        `json:"retries,omitempty"`
	NextTS  *time.Time `json:"next_ts,omitempty"`
	// WasHealthy is true when the node was HEALTHY before its first step: the default gate wants it so again.
	WasHealthy *bool `json:"was_healthy,omitempty"`
	// SettleUntil is how long the node waits for the end of an UNKNOWN step to be told (on_unknown: retry).
	SettleUntil *time.Time `json:"settle_until,omitempty"`
	// BlockedTS is since when another run's action keeps the node from its step.
	BlockedTS *time.Time `json:"blocked_ts,omitempty"`
	// GateTS is set while the node's health decides about an UNKNOWN step (on_unknown: health).
	GateTS *time.Time `json:"gate_ts,omitempty"`
	// HealthyTS is since when the health check has held without interruption.
	HealthyTS *time.Time `json:"healthy_ts,omitempty"`
}

// RunNode is the record of one node in one run.
type RunNode struct {
	RunID      string       `json:"run_id"`
	Cluster    string       `json:"cluster"`
	Node       string       `json:"node"`
	State      NodeState    `json:"state"`
	Membership Membership   `json:"membership"`
	Stages     []NodeStage  `json:"stages,omitempty"`
	Actions    []Action     `json:"actions,omitempty"`
	Error      *Error       `json:"error,omitempty"`
	History    []NodeChange `json:"history,omitempty"`
	FinishTS   *time.Time   `json:"finish_ts,omitempty"`

	// Newcomer is true for a node that appeared, or came back, during the run: it goes through the stages by itself.
	Newcomer bool `json:"newcomer,omitempty"`
	// Absent is true while a node that was known at the start had no live key since.
	Absent bool `json:"absent,omitempty"`
	// GoneTS is since when the node's key has been gone.
	GoneTS *time.Time `json:"gone_ts,omitempty"`
}

// ActionState is the state of an action as its run knows it.
type ActionState string

// The states of an action.
const (
	ActionSaved      ActionState = "SAVED"      // recorded; it may have been sent
	ActionRunning    ActionState = "RUNNING"    // its agent has accepted it
	ActionCancelling ActionState = "CANCELLING" // its agent is being told to stop it
	ActionDone       ActionState = "DONE"
	ActionFailed     ActionState = "FAILED"
	ActionUnknown    ActionState = "UNKNOWN" // nobody knows how, or whether, it ended
)

// InFlight tells whether the run waits for the action.
func (s ActionState) InFlight() bool {
	return s == ActionSaved || s == ActionRunning || s == ActionCancelling
}

// Action is one attempt of one step on one node. ID, Kind, Args, AgentURL and JournalID never change once saved: what
// is sent again is what was sent.
type Action struct {
	ID         string      `json:"id"`
	Stage      string      `json:"stage"`
	Pass       Pass        `json:"pass"`
	Step       string      `json:"step"`
	Attempt    int         `json:"attempt"` // from 1; only grows within a run
	Kind       string      `json:"kind"`
	Args       Document    `json:"args"`
	AgentURL   string      `json:"agent_url"`
	JournalID  string      `json:"journal_id,omitempty"`
	Term       int64       `json:"term"` // of the leader that saved it
	State      ActionState `json:"state"`
	Payload    Document    `json:"payload,omitempty"`
	ExitCode   *int        `json:"exit_code,omitempty"`
	StdoutTail string      `json:"stdout_tail,omitempty"`
	StderrTail string      `json:"stderr_tail,omitempty"`
	Error      *Error      `json:"error,omitempty"`
	StartTS    time.Time   `json:"start_ts"` // when it was saved
	FinishTS   *time.Time  `json:"finish_ts,omitempty"`

	// DeadlineTS is when the attempt times out. CancelUntil is when a run stops waiting for the answer to its cancel.
	DeadlineTS  time.Time  `json:"deadline_ts"`
	CancelUntil *time.Time `json:"cancel_until,omitempty"`
	// CancelCode is why it is being cancelled: timeout or cancelled.
	CancelCode string `json:"cancel_code,omitempty"`
	// Unsettled is true while an UNKNOWN action may still be running.
	Unsettled bool `json:"unsettled,omitempty"`
}

// actionSpace is the namespace of action IDs.
var actionSpace = uuid.MustParse("5a3c1f0e-7d0b-5f4e-9a51-3f6c0f0b8f11")

// ActionID is the UUIDv5 of what makes an action unique: its run, node, stage, kind of pass (main or rollback), step
// and attempt.
func ActionID(run, node, stage string, pass Pass, step string, attempt int) string {
	kind := "main"
	if pass == PassRollback {
		kind = "rollback"
	}
	name := make([]byte, 0, 128)
	for _, part := range []string{run, node, stage, kind, step} {
		name = append(append(name, part...), 0)
	}
	name = append(name, byte(attempt>>24), byte(attempt>>16), byte(attempt>>8), byte(attempt))
	return uuid.NewSHA1(actionSpace, name).String()
}
