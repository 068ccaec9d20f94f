package record

import (
	"time"

	"github.com/google/uuid"
)

// NodeState is the state of a node in a run.
type NodeState string

// The states of a node record. All but NodePending, NodeAdded, NodeRunning and NodeWaiting are final.
const (
	NodePending        NodeState = "PENDING"
	NodeAdded          NodeState = "ADDED"   // appeared during the run; the policy has not decided yet
	NodeRunning        NodeState = "RUNNING" // a step or a gate of it is open
	NodeWaiting        NodeState = "WAITING" // between its stages
	NodeDone           NodeState = "DONE"
	NodeFailed         NodeState = "FAILED"
	NodeUnknown        NodeState = "UNKNOWN"
	NodeSkipped        NodeState = "SKIPPED"     // no stage was for it
	NodeNotReached     NodeState = "NOT_REACHED" // the run ended before anything was done on it
	NodeIncomplete     NodeState = "INCOMPLETE"  // the run ended after some of its stages or steps
	NodeCancelled      NodeState = "CANCELLED"
	NodeRemoved        NodeState = "REMOVED"
	NodeRolledBack     NodeState = "ROLLED_BACK"
	NodeRollbackFailed NodeState = "ROLLBACK_FAILED"
)

// Final reports whether a node in this state is done with the run.
func (s NodeState) Final() bool {
	return s != NodePending && s != NodeAdded && s != NodeRunning && s != NodeWaiting
}

// NodeStates are all states of a node record.
var NodeStates = []NodeState{NodePending, NodeAdded, NodeRunning, NodeWaiting, NodeDone, NodeFailed, NodeUnknown, NodeSkipped,
	NodeNotReached, NodeIncomplete, NodeCancelled, NodeRemoved, NodeRolledBack, NodeRollbackFailed}

// Membership is how a node belongs to a run.
type Membership string

// The kinds of membership.
const (
	MemberKnown   Membership = "KNOWN"
	MemberAdded   Membership = "ADDED"
	MemberRemoved Membership = "REMOVED"
)

// NodeChange is one entry of a node record's history. The history keeps the last MaxHistory. Reason is empty in the store: the
// API makes it from Cause.
type NodeChange struct {
	State  NodeState `json:"state"`
	TS     time.Time `json:"ts"`
	Cause  *Error    `json:"cause,omitempty"`
	Reason string    `json:"reason,omitempty"`
}

// MaxHistory bounds a node record's history.
const MaxHistory = 50

// NodeStageState is the state of a node in a stage.
type NodeStageState string

// The states of a node in a stage. Those from READY to CHECKING are those of a member of an open batch.
const (
	NodeStagePending    NodeStageState = "PENDING"   // no batch has taken it yet
	NodeStageReady      NodeStageState = "READY"     // its next step may start
	NodeStageActing     NodeStageState = "ACTING"    // an action is in flight
	NodeStageBackoff    NodeStageState = "BACKOFF"   // the next attempt of its step is not due
	NodeStageSettling   NodeStageState = "SETTLING"  // on_unknown: retry waits for the end of its action to be known
	NodeStageVerifying  NodeStageState = "VERIFYING" // on_unknown: health decides about its step
	NodeStagePassed     NodeStageState = "PASSED"    // it passed all steps and waits for the others of its batch
	NodeStageChecking   NodeStageState = "CHECKING"  // the health gate of its batch is open
	NodeStageDone       NodeStageState = "DONE"
	NodeStageFailed     NodeStageState = "FAILED"
	NodeStageUnknown    NodeStageState = "UNKNOWN"
	NodeStageSkipped    NodeStageState = "SKIPPED"
	NodeStageNotReached NodeStageState = "NOT_REACHED"
	NodeStageCancelled  NodeStageState = "CANCELLED"
)

// InBatch reports whether a node in this state is a member of an open batch.
func (s NodeStageState) InBatch() bool {
	switch s {
	case NodeStageReady, NodeStageActing, NodeStageBackoff, NodeStageSettling, NodeStageVerifying, NodeStagePassed, NodeStageChecking:
		return true
	}
	return false
}

// NodeStage is what a run knows of one node in one stage of one pass. Reason is empty in the store: the API makes it from Cause.
type NodeStage struct {
	Name       string         `json:"name"`
	Pass       PassKind       `json:"pass"`
	PassNumber int            `json:"pass_number"`
	Group      string         `json:"group,omitempty"`
	Batch      int            `json:"batch"` // of its group; 0 until a batch has taken it
	State      NodeStageState `json:"state"`
	Cause      *Error         `json:"cause,omitempty"`
	Reason     string         `json:"reason,omitempty"`

	// Step is the index of the step that the node is at; len(steps) when it passed them all.
	Step int `json:"step"`
	// FailedAttempts counts the failed attempts of Step in this pass.
	FailedAttempts int `json:"failed_attempts,omitempty"`
	// Waiting is what keeps the node from its next step: the end of its backoff, the end of an unsettled action, its health, facts.
	Waiting *Wait `json:"waiting,omitempty"`
	// WasHealthy is true when the node was HEALTHY before its first step: the default gate wants it so again.
	WasHealthy *bool `json:"was_healthy,omitempty"`
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

	// Newcomer is true for a node that appeared, or came back, during the run: it takes part in the passes of newcomers.
	Newcomer bool `json:"newcomer,omitempty"`
	// Absent is true while a node that was known at the start had no live key since.
	Absent bool `json:"absent,omitempty"`
	// Before is how the node had ended before the stage of a rollback or a cleanup that it is in; nil when it is in none.
	Before *NodeChange `json:"before,omitempty"`
	// GoneTS is since when the node's key has been gone.
	GoneTS *time.Time `json:"gone_ts,omitempty"`
}

// Unsettled reports whether an action whose end is not known may still be running on the node.
func (n *RunNode) Unsettled() bool {
	return len(n.Actions) > 0 && n.Actions[len(n.Actions)-1].Unsettled // only the last one can be
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
	ActionUnknown    ActionState = "UNKNOWN" // it is not known how, or whether, it ended
)

// InFlight reports whether the run waits for the action.
func (s ActionState) InFlight() bool {
	return s == ActionSaved || s == ActionRunning || s == ActionCancelling
}

// Action is one attempt of one step on one node. ID, Kind, Args, AgentURL and JournalID never change once saved: what
// is sent again is what was sent.
type Action struct {
	ID         string      `json:"id"`
	Stage      string      `json:"stage"`
	Pass       PassKind    `json:"pass"`
	PassNumber int         `json:"pass_number"`
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

	// Timeout is that of the attempt, and begins again when its agent is known to have it; its agent is told. DeadlineTS is when the run stops waiting for it,
	// CancelUntil when it stops waiting for the answer to its cancel.
	Timeout     string     `json:"timeout"`
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
func ActionID(run, node, stage string, pass PassKind, step string, attempt int) string {
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
