package record

import (
	"time"
)

// EventType says what happened.
type EventType string

// The types of event.
const (
	EventRunCreated EventType = "run.created"
	EventRunStarted EventType = "run.started"
	EventRunWaiting EventType = "run.waiting" // data: the fields of a Wait; empty when the run continues
	EventRunPausing EventType = "run.pausing"
	EventRunPaused  EventType = "run.paused"
	EventRunResumed EventType = "run.resumed"
	// EventFreezeOverridden: the start overrides freezes; data.freeze, data.why and data.until of the one that holds, data.reason
	EventFreezeOverridden  EventType = "run.freeze_overridden"
	EventRunRetried        EventType = "run.retried" // data.nodes (how many), data.named (at most 100)
	EventRunCancelling     EventType = "run.cancelling"
	EventRunRollingBack    EventType = "run.rolling_back"    // data.stage, data.stages, data.nodes
	EventRunRolledBack     EventType = "run.rolled_back"     // data.rolled_back
	EventRunRollbackFailed EventType = "run.rollback_failed" // data.rolled_back, data.failed, data.named
	EventRunClaimed        EventType = "run.claimed"         // a new leader has taken the run over; data.term
	EventRunFinished       EventType = "run.finished"        // data.state
	EventRunApproved       EventType = "run.approved"
	EventRunRejected       EventType = "run.rejected"
	EventStageApproved     EventType = "stage.approved"
	EventStageRejected     EventType = "stage.rejected"
	EventStageStarted      EventType = "stage.started"
	EventStageFinished     EventType = "stage.finished" // data.state
	EventBatchStarted      EventType = "batch.started"  // data.batch, data.nodes (at most 100), data.size
	EventBatchChecking     EventType = "batch.checking" // its health gate opened
	EventBatchFinished     EventType = "batch.finished"
	EventNodeState         EventType = "node.state" // data.state, data.reason
	EventNodeAdded         EventType = "node.added"
	EventNodeRemoved       EventType = "node.removed"
	EventNodeReturned      EventType = "node.returned"
	EventNodeResolved      EventType = "node.resolved"
	EventActionFailed      EventType = "action.failed" // data.action, data.attempt, data.code, data.message
	EventActionRetry       EventType = "action.retry"  // data.attempt, data.next_ts
	EventActionUnknown     EventType = "action.unknown"
	EventActionSettled     EventType = "action.settled" // an UNKNOWN action is known to have ended
	EventStepSkipped       EventType = "step.skipped"   // its when was false
)

// Event is one thing that happened in a run. Seq counts from 1 without gaps.
type Event struct {
	RunID    string     `json:"run_id"`
	Seq      int64      `json:"seq"`
	TS       time.Time  `json:"ts"`
	Type     EventType  `json:"type"`
	Node     string     `json:"node,omitempty"`
	Stage    string     `json:"stage,omitempty"`
	Step     string     `json:"step,omitempty"`
	Data     Document   `json:"data,omitempty"`
	Actor    string     `json:"actor,omitempty"`
	FinishTS *time.Time `json:"finish_ts,omitempty"`
}
