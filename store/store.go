// Package store declares the primary store of the control plane.
//
// Everything that a leader writes about runs is fenced: it names the term in which it is written, and a store in which a
// later term has claimed the run, or has begun, refuses it with ErrStaleTerm. Reads may be as old as the store's own reads,
// except those of Claim, Term and OpenRuns.
package store

import (
	"context"
	"errors"
	"time"

	"github.com/replicante-io/playbooks/record"
)

var (
	// ErrStaleTerm means that a later term has begun: stop leading.
	ErrStaleTerm = errors.New("a later term has begun")
	// ErrConflict means that the record is not in the state that the write was decided on: claim the run and read it again.
	ErrConflict = errors.New("the record has changed")
	// ErrNotFound means that there is no such record.
	ErrNotFound = errors.New("not found")
	// ErrExists means that the record exists already.
	ErrExists = errors.New("already exists")
	// ErrUnavailable means that the store could not be reached or did not answer in time: a write may have been applied.
	ErrUnavailable = errors.New("the primary store cannot be reached")
	// ErrUnusable means that the store cannot be used by this program, or is not set up for it: the message says what to do.
	ErrUnusable = errors.New("the primary store cannot be used")
	// ErrNotStorable means that the store never takes a record as it is, however often it is tried: it is too large, nested too deep,
	// or has what the database cannot hold. A RecordError names the record where it is known.
	ErrNotStorable = errors.New("a record cannot be stored")
	// ErrKeyReused means that the idempotency key was used before, for another request.
	ErrKeyReused = errors.New("the idempotency key was used for another request")
)

// RecordError is an ErrNotStorable that is due to what a commit has about one node.
type RecordError struct {
	Node string
	Err  error
}

func (e *RecordError) Error() string { return "node " + e.Node + ": " + e.Err.Error() }

// Unwrap makes it an ErrNotStorable.
func (e *RecordError) Unwrap() []error { return []error{ErrNotStorable, e.Err} }

// Store is a primary store. Its methods may be called from many goroutines; each returns when its context ends and wraps one
// of the errors above where one fits.
type Store interface {
	// Check lists what is wrong with the store, each with what to do, without changing it.
	Check(ctx context.Context) ([]string, error)
	// Init creates what is missing: collections, indexes, the installation id and the schema version. The TTL of an installation
	// that has none yet, and of any with Config.SetFinishedTTL, becomes the configured one; else it stays. Init is idempotent, and
	// refuses a store whose schema is newer (ErrUnusable).
	Init(ctx context.Context) error
	// Maintain does the store's own background work (expiry where the database has none, what Follow needs) until ctx ends.
	Maintain(ctx context.Context) error
	// Close frees everything. Calls in progress may return ErrUnavailable.
	Close() error

	// Ping reports whether the store answers, without writing anything. ErrNotFound before Init.
	Ping(ctx context.Context) error
	// Term reads the terms record, linearizably. ErrNotFound before Init.
	Term(ctx context.Context) (record.Term, error)
	// BeginTerm begins a new term, greater than every earlier one and than floor, and returns it: see NextTerm, whose errors it
	// returns. It ends whatever an earlier leader has left open in the store that could block this one.
	BeginTerm(ctx context.Context, floor int64) (record.Term, error)

	// IdempotencyRecord reads the record of an idempotency key. ErrNotFound where there is none; ErrKeyReused where its
	// digest differs.
	IdempotencyRecord(ctx context.Context, key, digest string) (record.IdempotencyRecord, error)

	// Apply stores documents, all or none, fenced as SaveNodes is, and returns them as they are stored then. A playbook gets the next
	// revision of its name, except where the latest of its name has the same Digest, which is then returned; a schedule or freeze
	// replaces the one of its name: see NextSchedule, NextFreeze. A call has at most one of a kind and name. key may be nil; its Answer
	// is what the caller's answer function makes of the result, inside the same write.
	Apply(ctx context.Context, term int64, documents record.Documents, key *record.IdempotencyRecord, answer func(record.Documents) string) (record.Documents, error)
	// Playbook reads a revision; 0 is the latest.
	Playbook(ctx context.Context, name string, revision int64) (record.Playbook, error)
	// Playbooks pages through the latest revision of every name, by name.
	Playbooks(ctx context.Context, page Page) ([]record.Playbook, string, error)
	// Revisions pages through the revisions of a name, newest first.
	Revisions(ctx context.Context, name string, page Page) ([]record.Playbook, string, error)

	// Schedule reads a schedule, and Schedules pages through all, by name.
	Schedule(ctx context.Context, name string) (record.Schedule, error)
	Schedules(ctx context.Context, page Page) ([]record.Schedule, string, error)
	// SaveSchedule replaces a schedule whose Rev is one less, fenced as SaveNodes is. ErrConflict where it has another Rev, and
	// ErrNotFound where it does not exist. key may be nil.
	SaveSchedule(ctx context.Context, term int64, schedule record.Schedule, key *record.IdempotencyRecord) error
	// DeleteSchedule deletes a schedule, fenced as SaveNodes is. ErrNotFound where it does not exist. key may be nil.
	DeleteSchedule(ctx context.Context, term int64, name string, key *record.IdempotencyRecord) error
	// Freeze reads a freeze, and Freezes pages through all, by name.
	Freeze(ctx context.Context, name string) (record.Freeze, error)
	Freezes(ctx context.Context, page Page) ([]record.Freeze, string, error)
	// DeleteFreeze deletes a freeze as DeleteSchedule does a schedule.
	DeleteFreeze(ctx context.Context, term int64, name string, key *record.IdempotencyRecord) error

	// Create stores a new run, all its node records and its first events, visible at once or not at all. It is fenced by
	// the terms record. ErrExists if the run exists already, with the same CommitID or another.
	//
	// Wherever an idempotency record is written together with its write, a key that is recorded already refuses all of it:
	// ErrExists where the digest is the same (see IdempotencyRecord), ErrKeyReused where it differs.
	Create(ctx context.Context, term int64, create record.Commit) error
	// Claim takes a run for term: later commits of earlier terms are refused. It then reads the run and all its node
	// records as of one moment, nodes by name. A claim of the same term may be repeated; one of an earlier term than the
	// run's is refused with ErrStaleTerm. It increments Run.Rev and keeps Run.CommitID.
	Claim(ctx context.Context, term int64, runID string) (record.Run, []record.RunNode, error)
	// Commit applies commit, once, if the run is as its Rev-1, After and term say: ErrStaleTerm where a later term has
	// claimed it (or, for a Fence, has begun), ErrConflict where anything else changed it. After ErrUnavailable it may have
	// been applied: repeat the same commit. ErrNotFound where there is no such run.
	//
	// A commit leaves Run.Stamped false, whatever its Run says. One that reopens a finished run (FinishTS is nil again) also
	// removes, in the same write, the finish_ts that StampFinished set, so that nothing of an open run expires.
	Commit(ctx context.Context, term int64, commit record.Commit) error
	// SetWaiting records what a run waits for that this leader does not claim: nothing else of the run changes, also nothing that this
	// version does not know. ErrStaleTerm where a later term has claimed it.
	SetWaiting(ctx context.Context, term int64, runID string, wait record.Wait) error
	// StampFinished sets finish_ts (the run's) on every node record, event and idempotency record of a finished run that has
	// none, then sets Run.Stamped without changing Rev. Only then may the run expire. It is idempotent and may be interrupted; the run
	// need not be claimed first. ErrConflict if the run has no FinishTS, also where it has ended with something unsettled; ErrStaleTerm
	// where a later term has claimed it.
	StampFinished(ctx context.Context, term int64, runID string) error

	// OpenRuns lists the heads (without Playbook.Spec) of runs that are Open, in the order of CompareQueued, linearizably.
	OpenRuns(ctx context.Context) ([]record.Run, error)
	// Run reads a whole run. ErrNotFound, here and below, where there is none.
	Run(ctx context.Context, runID string) (record.Run, error)
	// Runs pages through run heads (without Playbook.Spec), newest first: by created_ts, then by id.
	Runs(ctx context.Context, filter RunFilter, page Page) ([]record.Run, string, error)
	RunNode(ctx context.Context, runID, node string) (record.RunNode, error)
	// RunNodes pages through a run's node records by node name. ErrNotFound where there is no such run.
	RunNodes(ctx context.Context, runID string, states []record.NodeState, page Page) ([]record.RunNode, string, error)
	// Events reads at most limit events (0: all) of a run after seq, in order. ErrNotFound where there is no such run.
	Events(ctx context.Context, runID string, after int64, limit int) ([]record.Event, error)
	// Follow delivers a run's events after seq, in order, each once, as they are committed, in slices of at least one, until
	// ctx ends (nil) or deliver returns an error (that error). It works on every replica while Maintain runs. ErrNotFound
	// where there is no such run.
	Follow(ctx context.Context, runID string, after int64, deliver func([]record.Event) error) error

	// SaveNodes inserts or replaces nodes. It is fenced by the terms record's term, without changing it.
	SaveNodes(ctx context.Context, term int64, nodes []record.Node) error
	// ForgetNode deletes a node, fenced as SaveNodes is. ErrNotFound where it does not exist. key may be nil.
	ForgetNode(ctx context.Context, term int64, node record.NodeKey, key *record.IdempotencyRecord) error
	Node(ctx context.Context, key record.NodeKey) (record.Node, error)
	// Nodes pages through nodes by cluster and node; an empty cluster means all.
	Nodes(ctx context.Context, cluster string, page Page) ([]record.Node, string, error)
	// Clusters counts nodes by cluster, by name.
	Clusters(ctx context.Context) ([]Cluster, error)
}

// Cluster is how many nodes of a cluster are known.
type Cluster struct {
	ClusterID string `json:"cluster_id"`
	Nodes     int    `json:"nodes"`
	Present   int    `json:"present"` // of them with a live key
}

// Page selects a part of a list. Cursor is "" or what the previous part returned; any other cursor is ErrConflict.
type Page struct {
	Limit  int // 0: everything
	Cursor string
}

// RunFilter selects runs; empty fields select all.
type RunFilter struct {
	Cluster  string
	Playbook string
	States   []record.RunState
}

// Config is the configuration that all stores share.
type Config struct {
	URL         string
	Database    string
	FinishedTTL time.Duration // how long after finish_ts a record is kept, where the store has no TTL yet; 0: forever
	// SetFinishedTTL makes Init change the store's TTL to FinishedTTL.
	SetFinishedTTL bool
	CreatedBy      string // of a store that Init creates: see record.Term
}

// NewTerm is the terms record of a store that Init creates.
func (c *Config) NewTerm(installation string, schema int) record.Term {
	return record.Term{
		Installation: installation, Schema: schema, CreatedBy: c.CreatedBy, FinishedTTLSeconds: c.ttlSeconds(),
	}
}

// ChangeTTL makes the TTL of a terms record what Init has to make it, and reports whether it differs.
func (c *Config) ChangeTTL(term *record.Term) bool {
	if term.FinishedTTLSeconds != 0 && !c.SetFinishedTTL || term.FinishedTTLSeconds == c.ttlSeconds() {
		return false
	}
	term.FinishedTTLSeconds = c.ttlSeconds()
	return true
}

// ttlSeconds is FinishedTTL in whole seconds.
func (c *Config) ttlSeconds() int64 {
	return int64((max(c.FinishedTTL, 0) + time.Second - 1) / time.Second)
}
