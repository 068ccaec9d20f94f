// Package playbook is the playbook language: it turns YAML into a checked model, binds params and evaluates expressions.
//
// Parse reports everything that is wrong with a text at once, each problem with its line, its column and what would be
// right. A model that it returns without an error needs no further checks. Load compiles the copy of a spec that a run
// carries, with the same checks. Nothing here reads a clock, a file or the network: the same input always gives the same
// result. Everything that Parse and Load return may be used by many goroutines, as long as none of them changes it.
package playbook

import (
	"time"

	"github.com/replicante-io/playbooks/internal/calendar"
	"github.com/replicante-io/playbooks/record"
)

// Playbook is one document of a text. Its Document is a full copy of its spec as written, aliases resolved.
type Playbook struct {
	Name     string
	Version  string
	Source   *record.Source
	Labels   map[string]string
	Document record.Document
	Spec     *Spec
}

// Spec is what a playbook does.
type Spec struct {
	Description string
	Params      []Param
	Approval    *Approval // of the run; nil: none
	Concurrency record.Concurrency
	Membership  MembershipPolicy
	Windows     calendar.Windows // in which batches may open; none: always
	Stages      []Stage
	Timeout     time.Duration // of the run; 0: none
	Together    [][]string    // names of consecutive stages between which nothing stops
}

// MembershipPolicy says what happens when nodes appear or disappear during a run.
type MembershipPolicy struct {
	Added   AddedPolicy
	Removed RemovedPolicy
	Grace   time.Duration // how long a node may be gone before it counts as removed; 0: not given
}

// Stage is a set of nodes that go through Steps in batches.
type Stage struct {
	Name           string
	Targets        *Expr   // of a node, bool; nil: all nodes
	OrderBy        *Expr   // of a node, comparable by Compare; nil: by node id
	Groups         *Groups // nil: all nodes of the stage are one group
	Guard          *Guard  // nil: none
	Pick           *Pick   // nil: all
	AllowEmpty     bool
	Batch          []Amount // at least one; the last repeats
	MaxFailures    Amount
	MaxUnavailable *Amount       // nil: no limit
	Approval       *Approval     // before the stage starts; nil: none
	Steps          []Step        // at least one
	Health         *Health       // nil: no check
	BatchPause     time.Duration // between two batches
	OnFailure      OnFailure
	Rollback       []Step
	Always         bool // it runs at the end of the run, whatever happened
}

// Groups divides the nodes of a stage. A batch never spans two groups.
type Groups struct {
	By     *Expr  // of a node, a string, an int or a bool: nodes with the same value are one group
	AtOnce Amount // how many groups may have an open batch at the same time
}

// Pick is how many nodes of a stage are enough.
type Pick struct {
	Count   int
	AtLeast int // with fewer the stage fails
}

// Step is one action on each node of a stage.
type Step struct {
	Name      string
	Action    string
	Args      *Template // nil: none
	When      *Expr     // of a node, bool; nil: always
	Expect    *Expr     // of an action that has ended, bool; nil: what the action says of itself
	Timeout   time.Duration
	Retry     Retry
	OnUnknown OnUnknown
}

// Retry says how often a step is tried. Attempts includes the first: 1 means no retry.
type Retry struct {
	Attempts   int
	Backoff    time.Duration
	MaxBackoff time.Duration
}

// Guard is what must hold before a batch opens.
type Guard struct {
	Check     *Check // of the cluster
	Timeout   time.Duration
	OnTimeout OnTimeout
}

// Health is what must hold for the nodes of a batch after their steps. Without a Check, the nodes that were HEALTHY before
// the batch must be HEALTHY again.
type Health struct {
	Check    *Check // of a node
	Timeout  time.Duration
	Interval time.Duration
	Settle   time.Duration
}

// AddedPolicy says what happens when a node appears during a run.
type AddedPolicy string

// The policies for nodes that appear.
const (
	AddedInclude AddedPolicy = "include"
	AddedIgnore  AddedPolicy = "ignore"
	AddedPause   AddedPolicy = "pause"
	AddedFail    AddedPolicy = "fail"
)

// RemovedPolicy says what happens when a node disappears during a run.
type RemovedPolicy string

// The policies for nodes that disappear.
const (
	RemovedIgnore RemovedPolicy = "ignore"
	RemovedPause  RemovedPolicy = "pause"
	RemovedFail   RemovedPolicy = "fail"
)

// OnFailure says what happens when the failures of a stage exceed its max_failures.
type OnFailure string

// What may happen on failure.
const (
	FailureAbort       OnFailure = "abort"
	FailureContinue    OnFailure = "continue"
	FailurePause       OnFailure = "pause"
	FailureRollback    OnFailure = "rollback"
	FailureRollbackRun OnFailure = "rollback_run"
)

// OnTimeout says what happens when a guard does not hold in time.
type OnTimeout string

// What may happen then.
const (
	TimeoutPause OnTimeout = "pause"
	TimeoutFail  OnTimeout = "fail"
)

// OnUnknown says what happens to a step when it is unknown how its action ended.
type OnUnknown string

// What may happen to such a step.
const (
	UnknownFail   OnUnknown = "fail"
	UnknownRetry  OnUnknown = "retry"
	UnknownHealth OnUnknown = "health"
)
