// Package store says what the control plane asks of its primary store.
//
// Everything that a leader writes about runs is fenced: it names the term it was written under, and a store in which a
// later term has claimed the run, or has begun, refuses it with ErrStaleTerm. What is read may be as old as the store's
// own reads; Claim and what BeginTerm does are not.
package store

import (
	"context"
	"errors"
	"time"

	"github.com/replicante-io/playbooks/record"
)

var (
	// ErrStaleTerm means that a later term has taken over: stop leading.
	ErrStaleTerm = errors.New("a later term has taken over")
	// ErrConflict means that the run is not where the writer thought it was: claim it and read it again.
	ErrConflict = errors.New("the record has changed")
	// ErrNotFound means that there is no such thing.
	ErrNotFound = errors.New("not found")
	// ErrExists means that it is there already.
	ErrExists = errors.New("exists already")
	// ErrUnavailable means that the store could not be asked or did not answer in time: what was asked may have happened.
	ErrUnavailable = errors.New("the primary store cannot be reached")
	// ErrUnusable means that the store is not one we can use, or is not set up for it: the message says what to do.
	ErrUnusable = errors.New("the primary store cannot be used")
	// ErrKeyReused means that the idempotency key was used before, for another request.
	ErrKeyReused = errors.New("the idempotency key was used for another request")
)

// Store is a primary store. Its methods may be called from many goroutines; each honours its context's deadline and
// returns, wrapped, one of the errors above where one fits.
type Store interface {
	// Check says what is wrong with the store for our use, each with what to do, without changing it.
	Check(ctx context.Context) ([]string, error)
	// Init makes what is missing: collections, indexes, the installation id and the schema version; and brings TTLs to
	// what is configured. It is idempotent, and refuses a store whose schema is newer (ErrUnusable).
	Init(ctx context.Context) error
	// Maintain does the store's own background work (expiry where the store has none, following) until ctx ends.
	Maintain(ctx context.Context) error
	// Close lets go of everything.
	Close() error

	// Term reads the terms record, linearizably. ErrNotFound before Init.
	Term(ctx context.Context) (record.Term, error)
	// BeginTerm begins a new term, greater than every earlier one and than floor, and returns it. It ends whatever an
	// earlier leader has left open in the store that could hold up this one.
	BeginTerm(ctx context.Context, floor int64) (record.Term, error)

	// IdempotencyRecord finds what a write with this idempotency key did. ErrNotFound where there was none; ErrKeyReused where its
	// digest is another.
	IdempotencyRecord(ctx context.Context, key, digest string) (record.IdempotencyRecord, error)

	// Apply stores new revisions, all or none: each gets its name's next number, except where the latest of its name
	// has the same Digest, which is then returned. At most one per name in a call. effect may be nil; its Answer is
	// made from the result by the caller's answer function, inside the same write.
	Apply(ctx context.Context, playbooks []record.Playbook, effect *record.IdempotencyRecord, answer func([]record.Playbook) string) ([]record.Playbook, error)
	// Playbook reads a revision; 0 is the latest.
	Playbook(ctx context.Context, name string, revision int64) (record.Playbook, error)
	// Playbooks pages through the latest revision of every name, by name.
	Playbooks(ctx context.Context, page Page) ([]record.Playbook, string, error)
	// Revisions pages through the revisions of a name, newest first.
	Revisions(ctx context.Context, name string, page Page) ([]record.Playbook, string, error)

	// Create stores a new run, all its node records and its first events, visible at once or not at all. It is fenced by
	// the terms record. ErrExists if the run is there already, by the same CommitID or not.
	//
	// Wherever an effect is written with what it did, a key that is there already keeps all of it from being written:
	// ErrExists where the digest is the same (see Effect), ErrKeyReused where it is another.
	Create(ctx context.Context, term int64, create record.Commit) error
	// Claim takes a run for term: later commits of earlier terms are refused. It then reads the run and all its node
	// records as of one moment, nodes by name. A claim of the same term may be repeated; of an earlier term than the
	// run's it is ErrStaleTerm. It moves Run.Rev, and leaves Run.CommitID.
	Claim(ctx context.Context, term int64, runID string) (record.Run, []record.RunNode, error)
	// Commit lands commit, once, if the run is as its Rev-1, After and term say: ErrStaleTerm where a later term has
	// claimed it (or, for a Fence, has begun), ErrConflict where anything else moved it. After ErrUnavailable it may have
	// landed: repeat the same commit. ErrNotFound where there is no such run.
	//
	// A commit leaves Run.Stamped false, whatever its Run says. One that reopens an ended run (FinishTS is nil again) also
	// takes back, not later than it lands, the finish_ts that StampFinished stamped, so that nothing of an open run expires.
	Commit(ctx context.Context, term int64, commit record.Commit) error
	// StampFinished stamps finish_ts (the run's) on every record, event and idempotency key of an ended run that lacks it, then
	// sets Run.Stamped without moving Rev. It is idempotent and may be interrupted; the run need not be claimed first.
	// ErrConflict if the run has not ended, ErrStaleTerm where a later term has claimed it.
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
	// Follow delivers a run's events after seq, in order, each once, as they land, in slices of at least one, until ctx
	// ends (nil) or deliver returns an error (that error). It works on every replica while Maintain runs. ErrNotFound
	// where there is no such run.
	Follow(ctx context.Context, runID string, after int64, deliver func([]record.Event) error) error

	// SaveNodes inserts or replaces known nodes. Fenced by the terms record's term, without changing it.
	SaveNodes(ctx context.Context, term int64, nodes []record.Node) error
	// ForgetNode removes a known node. ErrNotFound where it is not there. effect may be nil.
	ForgetNode(ctx context.Context, term int64, key record.NodeKey, effect *record.IdempotencyRecord) error
	Node(ctx context.Context, key record.NodeKey) (record.Node, error)
	// Nodes pages through known nodes by cluster and node; an empty cluster means all.
	Nodes(ctx context.Context, cluster string, page Page) ([]record.Node, string, error)
	// Clusters counts known nodes by cluster, by name.
	Clusters(ctx context.Context) ([]Cluster, error)
}

// Cluster is a cluster of known nodes.
type Cluster struct {
	ClusterID string `json:"cluster_id"`
	Nodes     int    `json:"nodes"`
	Present   int    `json:"present"` // of them with a live key
}

// Page asks for a part of a list. Cursor is "" or what the part before returned; a cursor that was not is ErrConflict.
type Page struct {
	Limit  int // 0: everything
	Cursor string
}

// RunFilter chooses runs; empty fields choose all.
type RunFilter struct {
	Cluster  string
	Playbook string
	States   []record.RunState
}

// Config is what every store is told.
type Config struct {
	URL         string
	Database    string
	FinishedTTL time.Duration // how long after finish_ts a record is kept; 0: for ever
}
