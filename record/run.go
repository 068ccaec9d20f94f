// Package record holds what is stored and sent: runs, node records, actions, events, terms and commits, with one set of
// JSON tags that the primary store, the HTTP API and its clients share.
//
// All times are UTC with milliseconds (Now), because MongoDB's dates hold no more.
package record

import (
	"time"
)

// Now is the present as records hold it: UTC, whole milliseconds.
func Now() time.Time { return Time(time.Now()) }

// Time is t as records hold it: UTC, whole milliseconds.
func Time(t time.Time) time.Time { return t.UTC().Truncate(time.Millisecond) }

// Error is why something failed: a stable code for programs and plain words for people.
type Error struct {
	Code    string `json:"code"`
	Message string `json:"message"`
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

// Final tells whether a run in this state has ended.
func (s RunState) Final() bool { return s == RunDone || s == RunFailed || s == RunCancelled }

// StageState is the state of a stage of a run, and of a stage of one node.
type StageState string

// The states of a stage. A run's stage is PENDING until the stages before it ended, and NOT_REACHED when the run ended
// before it began. A node's stage entry is PENDING until its batch opens and CHECKING while its health gate is open.
const (
	StagePending    StageState = "PENDING"
	StageRunning    StageState = "RUNNING"
	StageChecking   StageState = "CHECKING"
	StageDone       StageState = "DONE"
	StageFailed     StageState = "FAILED"
	StageSkipped    StageState = "SKIPPED"
	StageNotReached StageState = "NOT_REACHED"
	StageUnknown    StageState = "UNKNOWN"
	StageCancelled  StageState = "CANCELLED"
)

// Pass names why a set of nodes goes through a stage.
type Pass string

// The passes. Action IDs know only main and rollback: the attempts of the other passes continue those of main.
const (
	PassMain      Pass = "main"
	PassNewcomers Pass = "newcomers"
	PassRetry     Pass = "retry"
	PassRollback  Pass = "rollback"
)

// RunStage is the progress of one stage. Counts is by node state, of the nodes that the stage is for.
type RunStage struct {
	Name    string            `json:"name"`
	State   StageState        `json:"state"`
	Pass    Pass              `json:"pass,omitempty"`
	Batch   int               `json:"batch"`   // the open batch, or the last one; from 1
	Batches int               `json:"batches"` // how many there will be as far as is known
	Counts  map[NodeState]int `json:"counts,omitempty"`
	Error   *Error            `json:"error,omitempty"`
	StartTS *time.Time        `json:"start_ts,omitempty"`
	EndTS   *time.Time        `json:"end_ts,omitempty"`

	// Total is how many nodes the stage is for, of all passes.
	Total int `json:"total"`
	// Open is true while a batch is open; nodes enter it until its Size is reached.
	Open bool `json:"open,omitempty"`
	Size int  `json:"size,omitempty"`
	// PauseUntil is when the pause between batches ends.
	PauseUntil *time.Time `json:"pause_until,omitempty"`
	// FactsUntil is when the stage fails if a fact that an expression needs is still absent.
	FactsUntil *time.Time `json:"facts_until,omitempty"`
	// GateTS is when the health gate of the open batch opened.
	GateTS *time.Time `json:"gate_ts,omitempty"`
	// Forgiven is how many failures an operator has accepted by resuming a run that paused on failure.
	Forgiven int `json:"forgiven,omitempty"`
}

// Run is one execution of a playbook over the nodes of a cluster.
type Run struct {
	ID             string            `json:"id"`
	Cluster        string            `json:"cluster"`
	Playbook       PlaybookCopy      `json:"playbook"`
	Params         Document          `json:"params"`
	State          RunState          `json:"state"`
	Reason         string            `json:"reason,omitempty"`
	Error          *Error            `json:"error,omitempty"`
	RequestedBy    string            `json:"requested_by,omitempty"`
	IdempotencyKey string            `json:"idempotency_key,omitempty"`
	Term           int64             `json:"term"`
	Stages         []RunStage        `json:"stages"`
	Counts         map[NodeState]int `json:"counts"`
	WaitsFor       string            `json:"waits_for,omitempty"`
	CreatedTS      time.Time         `json:"created_ts"`
	QueuedTS       *time.Time        `json:"queued_ts,omitempty"` // when it entered the queue of its cluster, or entered it again
	StartTS        *time.Time        `json:"start_ts,omitempty"`
	UpdateTS       time.Time         `json:"update_ts"`
	FinishTS       *time.Time        `json:"finish_ts,omitempty"`

	// Concurrency is the playbook's, beside the run's head so that the queue needs no playbook.
	Concurrency Concurrency `json:"concurrency,omitempty"`
	// Pass and StageIndex say where the run is: in which pass, at which stage.
	Pass       Pass `json:"pass,omitempty"`
	StageIndex int  `json:"stage_index"`
	// Verdict is how the run will end once nothing is in flight: FAILED or CANCELLED while it winds down.
	Verdict RunState `json:"verdict,omitempty"`
	// Kill tells a cancelled run to stop the actions in flight instead of waiting for them.
	Kill bool `json:"kill,omitempty"`
	// Unsettled counts actions of this run that may still be running somewhere although nobody waits for them.
	Unsettled int `json:"unsettled,omitempty"`
	// Seq is the number of the last event.
	Seq int64 `json:"seq"`
	// Rev grows by one with every commit; CommitID names the last one. Claims move Rev too.
	Rev      int64  `json:"rev"`
	CommitID string `json:"commit_id,omitempty"`
	// Stamped is true once every record of an ended run has its finish_ts.
	Stamped bool `json:"stamped,omitempty"`
}

// Open tells whether the leader still has work with the run: it has not ended, or its records are not all stamped, or
// an action of it is unsettled.
func (r *Run) Open() bool { return r.FinishTS == nil || !r.Stamped || r.Unsettled > 0 }
