package record

import "time"

// Concurrency says which other runs of a cluster may run beside one.
type Concurrency string

// The kinds of concurrency.
const (
	Exclusive Concurrency = "exclusive"
	Shared    Concurrency = "shared"
)

// RunState is the state of a run.
type RunState string

// The states of a run. RunDone, RunFailed and RunCancelled are final.
const (
	RunPendingApprove RunState = "PENDING_APPROVE"
	RunPending        RunState = "PENDING" // queued behind another run of the cluster
	RunRunning        RunState = "RUNNING"
	RunPausing        RunState = "PAUSING"
	RunPaused         RunState = "PAUSED"
	RunCancelling     RunState = "CANCELLING"
	RunRollingBack    RunState = "ROLLING_BACK"
	RunDone           RunState = "DONE"
	RunFailed         RunState = "FAILED"
	RunCancelled      RunState = "CANCELLED"
)

// RunStates are all states of a run.
var RunStates = []RunState{RunPendingApprove, RunPending, RunRunning, RunPausing, RunPaused, RunCancelling, RunRollingBack,
	RunDone, RunFailed, RunCancelled}

// Final reports whether a run in this state has ended.
func (s RunState) Final() bool { return s == RunDone || s == RunFailed || s == RunCancelled }

// StageState is the state of a stage of a run.
type StageState string

// The states of a stage. It is PENDING until the stages before it ended, and NOT_REACHED when the run ended before it began.
const (
	StagePending    StageState = "PENDING"
	StageRunning    StageState = "RUNNING"
	StageDone       StageState = "DONE"
	StageFailed     StageState = "FAILED"
	StageNotReached StageState = "NOT_REACHED"
	StageCancelled  StageState = "CANCELLED"
)

// PassKind says why a set of nodes goes through stages.
type PassKind string

// The kinds of pass. Action IDs know only main and rollback: the attempts of the other passes continue those of main.
const (
	PassMain      PassKind = "main"
	PassNewcomers PassKind = "newcomers" // nodes that appeared during the run
	PassRetry     PassKind = "retry"
	PassRollback  PassKind = "rollback"
	PassCleanup   PassKind = "cleanup" // the stages that run whatever happened
)

// RunStage is the progress of one stage in one pass. Counts is by node state, of the nodes that the stage is for.
type RunStage struct {
	Name       string            `json:"name"`
	Pass       PassKind          `json:"pass"`
	PassNumber int               `json:"pass_number"` // from 1 per kind of pass
	State      StageState        `json:"state"`
	Batch      int               `json:"batch"`   // how many batches have been opened, of all groups
	Batches    int               `json:"batches"` // how many there will be as far as is known
	Counts     map[NodeState]int `json:"counts,omitempty"`
	Groups     []StageGroup      `json:"groups,omitempty"`
	Waiting    *Wait             `json:"waiting,omitempty"` // of a stage that cannot be opened yet, or whose guard keeps its next batches
	Error      *Error            `json:"error,omitempty"`
	StartTS    *time.Time        `json:"start_ts,omitempty"`
	EndTS      *time.Time        `json:"end_ts,omitempty"`

	// Total is how many nodes the stage is for in this pass.
	Total int `json:"total"`
	// AcceptedFailures is how many failures an operator has accepted by resuming a run that paused on failure.
	AcceptedFailures int `json:"accepted_failures,omitempty"`
	// Approved is true once the approval of the stage was given.
	Approved bool `json:"approved,omitempty"`
}

// RollbackState is the state of a rollback.
type RollbackState string

// The states of a rollback.
const (
	RollbackPending   RollbackState = "PENDING" // it begins once nothing is in flight
	RollbackRunning   RollbackState = "RUNNING"
	RollbackDone      RollbackState = "DONE"      // all nodes are ROLLED_BACK
	RollbackFailed    RollbackState = "FAILED"    // a node is ROLLBACK_FAILED
	RollbackCancelled RollbackState = "CANCELLED" // an operator has cancelled the run before or during it
)

// RunRollback is the rollback of a run. Stage is the one that failed, Stages are those that are rolled back, in that order. RolledBack and
// Failed count nodes.
type RunRollback struct {
	State      RollbackState `json:"state"`
	Number     int           `json:"number"` // from 1
	Stage      string        `json:"stage"`
	Stages     []string      `json:"stages"`
	RolledBack int           `json:"rolled_back"`
	Failed     int           `json:"failed"`
}

// GroupState is the state of a group of a stage.
type GroupState string

// The states of a group.
const (
	GroupIdle     GroupState = "IDLE"     // between its batches
	GroupOpen     GroupState = "OPEN"     // the nodes of its batch go through the steps
	GroupChecking GroupState = "CHECKING" // the health gate of its batch is open
)

// StageGroup is a set of nodes of a stage that has batches of its own. A stage without groups has one, whose key is empty.
type StageGroup struct {
	Key   string     `json:"key,omitempty"`
	State GroupState `json:"state"`
	Batch int        `json:"batch"`          // the open batch, or the last one; from 1
	Size  int        `json:"size,omitempty"` // of the open batch
	// LadderFrom is how many batches came before the last retry in this stage: the sizes of its batches begin again after them.
	LadderFrom int `json:"ladder_from,omitempty"`
	// Waiting is what keeps the group: the health gate of its batch, the pause between batches, facts, a node.
	Waiting *Wait `json:"waiting,omitempty"`
}

// Run is one execution of a playbook over the nodes of a cluster.
type Run struct {
	ID             string            `json:"id"`
	Cluster        string            `json:"cluster"`
	Playbook       PlaybookCopy      `json:"playbook"`
	Params         Document          `json:"params"`
	Where          string            `json:"where,omitempty"`           // the run is for the nodes for which it was true at the start
	Nodes          []string          `json:"nodes,omitempty"`           // the run is for these nodes only
	OverrideFreeze bool              `json:"override_freeze,omitempty"` // freezes do not keep the run
	State          RunState          `json:"state"`
	Reason         string            `json:"reason,omitempty"`
	Error          *Error            `json:"error,omitempty"`
	RequestedBy    string            `json:"requested_by,omitempty"`
	IdempotencyKey string            `json:"idempotency_key,omitempty"`
	Term           int64             `json:"term"`
	Stages         []RunStage        `json:"stages"`
	Counts         map[NodeState]int `json:"counts"`
	Waiting        *Wait             `json:"waiting,omitempty"`
	CreatedTS      time.Time         `json:"created_ts"`
	QueuedTS       *time.Time        `json:"queued_ts,omitempty"` // its place in the queue of the cluster, by the leader's sequence
	StartTS        *time.Time        `json:"start_ts,omitempty"`
	UpdateTS       time.Time         `json:"update_ts"`
	// EndTS is when the run reached its final state; FinishTS is when, after that, nothing of it was unsettled any more. What is
	// expired is counted from FinishTS.
	EndTS    *time.Time `json:"end_ts,omitempty"`
	FinishTS *time.Time `json:"finish_ts,omitempty"`

	// Concurrency is the playbook's, beside the run's head so that the queue needs no playbook.
	Concurrency Concurrency `json:"concurrency,omitempty"`
	// Pass, PassNumber and StageIndex say where the run is: in which pass, at which of its stages.
	Pass       PassKind `json:"pass,omitempty"`
	PassNumber int      `json:"pass_number,omitempty"`
	StageIndex int      `json:"stage_index"`
	// PutBack are the nodes of a retry that are still to be taken out of their final states.
	PutBack []string `json:"put_back,omitempty"`
	// Outcome is how the run will end once nothing is in flight: FAILED or CANCELLED; during a cleanup also DONE.
	Outcome RunState `json:"outcome,omitempty"`
	// TimeoutSince is since when time counts against the timeout of the playbook, TimeoutSpentMS how many milliseconds did before.
	TimeoutSince   *time.Time `json:"timeout_since,omitempty"`
	TimeoutSpentMS int64      `json:"timeout_spent_ms,omitempty"`
	// AfterTogether is true while a run that is PAUSING or CANCELLING continues until the last of the stages that run together has ended.
	AfterTogether bool `json:"after_together,omitempty"`
	// Rollback is the last rollback of the run, from when it is due; nil when there was none.
	Rollback *RunRollback `json:"rollback,omitempty"`
	// ApprovalUntil is when the time for the approval of the run ends.
	ApprovalUntil *time.Time `json:"approval_until,omitempty"`
	// LastCommand is the last command for the run as a whole.
	LastCommand *LastCommand `json:"last_command,omitempty"`
	// Kill tells a cancelled run to stop the actions in flight instead of waiting for them.
	Kill bool `json:"kill,omitempty"`
	// Unsettled counts actions of this run that may still be running although the run does not wait for them.
	Unsettled int `json:"unsettled,omitempty"`
	// Seq is the number of the last event.
	Seq int64 `json:"seq"`
	// Rev grows by one with every commit; CommitID names the last one. Claims move Rev too.
	Rev      int64  `json:"rev"`
	CommitID string `json:"commit_id,omitempty"`
	// Stamped is true once every record of a finished run has its finish_ts.
	Stamped bool `json:"stamped,omitempty"`
}

// Open reports whether the leader still has work with the run: it is not finished, or its records are not all stamped.
func (r *Run) Open() bool { return r.FinishTS == nil || !r.Stamped }
