package record

import "time"

// Plan is what a run would do, as far as can be known before it starts: on the facts of one look, where every step succeeds, every gate
// holds and every approval is given.
type Plan struct {
	Cluster  string       `json:"cluster"`
	Playbook PlanPlaybook `json:"playbook"`
	Params   Document     `json:"params"`
	Where    string       `json:"where,omitempty"`
	Only     []string     `json:"nodes,omitempty"` // that the request names
	// ObservedTS is when the nodes were asked what they are like.
	ObservedTS time.Time `json:"observed_ts"`
	// Behind is a run that keeps this one in the queue of the cluster now.
	Behind string `json:"behind,omitempty"`
	// Freeze is a freeze that holds in the cluster now: the start would be refused.
	Freeze   *PlanFreeze   `json:"freeze,omitempty"`
	Approval *PlanApproval `json:"approval,omitempty"`
	Together [][]string    `json:"together,omitempty"`
	Stages   []PlanStage   `json:"stages"`
	// Undecided are nodes about which it cannot be decided now. A run waits for them, and then they fail.
	Undecided []PlanUndecided `json:"undecided,omitempty"`
	LeftOut   []string        `json:"left_out,omitempty"`  // by where or nodes of the request
	Untouched []string        `json:"untouched,omitempty"` // no stage is for them
	// Error is why the run would not get to its end, or why the plan does not.
	Error *Error `json:"error,omitempty"`
}

// PlanFreeze is a freeze, and until when it holds; without an end, it is not known or never.
type PlanFreeze struct {
	Name   string     `json:"name"`
	Reason string     `json:"reason,omitempty"`
	Until  *time.Time `json:"until,omitempty"`
}

// PlanPlaybook is the playbook of a plan.
type PlanPlaybook struct {
	Name     string `json:"name"`
	Version  string `json:"version,omitempty"`
	Revision int64  `json:"revision"`
}

// PlanApproval is an approval that stands before a run or a stage.
type PlanApproval struct {
	Message   string `json:"message,omitempty"`
	Timeout   string `json:"timeout,omitempty"`
	OnTimeout string `json:"on_timeout,omitempty"`
}

// PlanStage is what a stage would do, in one pass. Its batches are in the order in which they open.
type PlanStage struct {
	Name        string        `json:"name"`
	Pass        PassKind      `json:"pass"`
	Total       int           `json:"total"` // how many nodes it is for
	Approval    *PlanApproval `json:"approval,omitempty"`
	Guard       *PlanGuard    `json:"guard,omitempty"`  // before each batch
	Health      *PlanHealth   `json:"health,omitempty"` // the gate after each batch
	Steps       []PlanStep    `json:"steps"`
	Groups      []string      `json:"groups,omitempty"`  // their keys, where the stage has groups
	AtOnce      int           `json:"at_once,omitempty"` // how many of them have an open batch at a time
	BatchPause  string        `json:"batch_pause,omitempty"`
	MaxFailures int           `json:"max_failures"`
	OnFailure   string        `json:"on_failure"`
	// AtRunTime is what of targets, groups and order_by is known at run time. Without targets or groups there are no batches; without
	// order_by the batches are by node id.
	AtRunTime []string    `json:"at_run_time,omitempty"`
	Batches   []PlanBatch `json:"batches"`
	// Undecided is how many nodes could not be decided about in the stage; Stops is true where those are more failures than it allows.
	Undecided int    `json:"undecided,omitempty"`
	Stops     bool   `json:"stops,omitempty"`
	Error     *Error `json:"error,omitempty"`
}

// PlanGuard is the guard of a stage. Holds is whether it holds now, and Error why not; it is absent where that is known at run time.
type PlanGuard struct {
	Checks    []PlanCheck `json:"checks"`
	Timeout   string      `json:"timeout"`
	OnTimeout string      `json:"on_timeout"`
	Holds     *bool       `json:"holds,omitempty"`
	Error     *Error      `json:"error,omitempty"`
}

// PlanHealth is the health gate of a stage. Checks is empty where the nodes that were HEALTHY before have to be so again.
type PlanHealth struct {
	Checks  []PlanCheck `json:"checks,omitempty"`
	Timeout string      `json:"timeout"`
	Settle  string      `json:"settle,omitempty"`
}

// PlanCheck is a part of a check.
type PlanCheck struct {
	Name  string `json:"name,omitempty"`
	Check string `json:"check"`
}

// PlanStep is a step of a stage, as written.
type PlanStep struct {
	Name    string `json:"name"`
	Action  string `json:"action"`
	When    string `json:"when,omitempty"`
	Timeout string `json:"timeout"`
	// AtRunTime is what is known at run time: when, or places in the arguments such as args.peers[0].
	AtRunTime []string `json:"at_run_time,omitempty"`
}

// PlanBatch is one batch of a group of a stage.
type PlanBatch struct {
	Group string     `json:"group,omitempty"`
	Batch int        `json:"batch"` // of its group, from 1
	Nodes []PlanNode `json:"nodes"`
}

// PlanNode is what a batch would do on a node, step by step.
type PlanNode struct {
	Node  string         `json:"node"`
	Steps []PlanNodeStep `json:"steps"`
}

// PlanNodeStep is a step on one node. Skipped is true where its when is false now.
type PlanNodeStep struct {
	Step    string   `json:"step"`
	Args    Document `json:"args,omitempty"`
	Skipped bool     `json:"skipped,omitempty"`
	// ArgsLeftOut is true where the arguments are more than a plan may hold.
	ArgsLeftOut bool `json:"args_left_out,omitempty"`
}

// PlanUndecided is a node about which it cannot be decided now, and why.
type PlanUndecided struct {
	Node  string `json:"node"`
	Stage string `json:"stage,omitempty"`
	Error *Error `json:"error"`
}
