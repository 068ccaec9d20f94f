package record

import "time"

// Commit is one decision about one run: everything in it lands together or not at all.
//
// The run's Rev and CommitID are those after the commit; Rev-1 and After are those it was decided on. A commit whose
// ID is already the run's CommitID has landed: repeating it is harmless.
type Commit struct {
	ID    string
	After string
	// Run is the whole run after the commit. Its immutable parts (Playbook, Params, Cluster, Concurrency, Reason,
	// RequestedBy, IdempotencyKey, CreatedTS) are not written again.
	Run Run
	// Nodes are the records that change, whole, after the commit; new ones are inserted.
	Nodes []RunNode
	// Events continue the run's sequence; Run.Seq is the last one's number.
	Events []Event
	// Idempotency are the idempotency keys of the commands that the commit answers.
	Idempotency []IdempotencyRecord
	// Fence is set when the commit admits or reopens a run: it then changes the terms record too.
	Fence bool
}

// Empty reports whether there is nothing to commit.
func (c *Commit) Empty() bool { return c.ID == "" }

// IdempotencyRecord is what a write with an Idempotency-Key did. It is kept with what it did.
type IdempotencyRecord struct {
	Key string `json:"key"`
	// Digest is of the request: the same key with another one is refused.
	Digest string `json:"digest"`
	// RunID is the run it was about, if any: the key then lives as long as the run.
	RunID string `json:"run_id,omitempty"`
	// Answer is the JSON that was answered where the run does not tell it.
	Answer string `json:"answer,omitempty"`
}

// Term is the record of who may lead. It only grows.
type Term struct {
	Term         int64  `json:"term"`
	Installation string `json:"installation"` // random, made with the store
	Schema       int    `json:"schema"`
	// CreatedBy is the program that made the store where it is only for that program: CreatedByDev, else "".
	CreatedBy string `json:"created_by,omitempty"`
	// FinishedTTLSeconds is how long finished runs of the installation are kept; 0: not decided.
	FinishedTTLSeconds int64 `json:"finished_ttl_seconds,omitempty"`
}

// CreatedByDev marks the stores of replicore dev.
const CreatedByDev = "dev"

// FinishedTTL is how long finished runs of the installation are kept; 0: not decided.
func (t *Term) FinishedTTL() time.Duration { return time.Duration(t.FinishedTTLSeconds) * time.Second }
