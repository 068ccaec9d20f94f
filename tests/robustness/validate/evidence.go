package validate

import "time"

// Evidence is what an installation has left, and what operators asked of it.
type Evidence struct {
	Runs       []Run
	Nodes      []Node
	Events     []Event
	Keys       []Key
	Term       int64 // of the terms record
	Executions []Execution
	Requests   []Request
	Commands   []Command
	// Commits are those of each run. Without them the records are believed about times.
	Commits map[string][]Commit
	// Gentle are the nodes of agents that were slow, restarted, and had wrong clocks, and nothing worse.
	Gentle []string
}

// Request is one request for a run. No other request has its reason.
type Request struct {
	Reason string
	RunID  string // as acknowledged; "" where it is not known whether the run was created
}

// Command is one command to a run. Without an acknowledgement it is not known whether it took effect.
type Command struct {
	RunID, Verb  string
	Acknowledged bool
}

// Execution is one execution of an action's command, as the command itself recorded it.
type Execution struct {
	Action, Node string
	Term         int64
	Start        time.Time
	End          *time.Time // nil where the command was killed
	Code         int
	Hostile      bool // it wrote a payload that cannot be stored
}

// Run is a document of playbook_runs.
type Run struct {
	ID             string         `bson:"id"`
	Cluster        string         `bson:"cluster"`
	Playbook       Playbook       `bson:"playbook"`
	State          string         `bson:"state"`
	Reason         string         `bson:"reason"`
	Error          *Error         `bson:"error"`
	Waiting        *Waiting       `bson:"waiting"`
	IdempotencyKey string         `bson:"idempotency_key"`
	Concurrency    string         `bson:"concurrency"`
	Term           int64          `bson:"term"`
	Counts         map[string]int `bson:"counts"`
	Stages         []Stage        `bson:"stages"`
	QueuedTS       *time.Time     `bson:"queued_ts"`
	StartTS        *time.Time     `bson:"start_ts"`
	EndTS          *time.Time     `bson:"end_ts"`
	FinishTS       *time.Time     `bson:"finish_ts"`
	Unsettled      int            `bson:"unsettled"`
	Seq            int64          `bson:"seq"`
	Stamped        bool           `bson:"stamped"`
}

// Waiting is what a run waits for.
type Waiting struct {
	For   string `bson:"for"`
	Stage string `bson:"stage"`
	Node  string `bson:"node"`
}

// Playbook is the copy that a run carries.
type Playbook struct {
	Name string `bson:"name"`
	Spec Spec   `bson:"spec"`
}

// Stage is the progress of a run in one stage of one pass.
type Stage struct {
	Name       string  `bson:"name"`
	Pass       string  `bson:"pass"`
	PassNumber int     `bson:"pass_number"`
	State      string  `bson:"state"`
	Total      int     `bson:"total"`
	Batch      int     `bson:"batch"` // how many batches were opened, of all groups
	Groups     []Group `bson:"groups"`
}

// Group is the progress of a group of a stage.
type Group struct {
	Key   string `bson:"key"`
	Batch int    `bson:"batch"` // how many batches were opened
}

// Node is a document of playbook_run_agents.
type Node struct {
	RunID    string      `bson:"run_id"`
	Node     string      `bson:"node"`
	State    string      `bson:"state"`
	Error    *Error      `bson:"error"`
	Newcomer bool        `bson:"newcomer"`
	Stages   []NodeStage `bson:"stages"`
	Actions  []Action    `bson:"actions"`
	FinishTS *time.Time  `bson:"finish_ts"`
}

// NodeStage is the part of a node in one stage of one pass.
type NodeStage struct {
	Name       string `bson:"name"`
	Pass       string `bson:"pass"`
	PassNumber int    `bson:"pass_number"`
	Group      string `bson:"group"`
	Batch      int    `bson:"batch"`
	State      string `bson:"state"`
}

// Action is one attempt of a step.
type Action struct {
	ID        string     `bson:"id"`
	Stage     string     `bson:"stage"`
	Pass      string     `bson:"pass"`
	Step      string     `bson:"step"`
	Attempt   int        `bson:"attempt"`
	Term      int64      `bson:"term"`
	State     string     `bson:"state"`
	Error     *Error     `bson:"error"`
	StartTS   time.Time  `bson:"start_ts"`
	FinishTS  *time.Time `bson:"finish_ts"`
	Unsettled bool       `bson:"unsettled"`
}

// Error is the reason of a failure.
type Error struct {
	Code    string `bson:"code"`
	Message string `bson:"message"`
}

func (a *Action) code() string {
	if a.Error == nil {
		return ""
	}
	return a.Error.Code
}

// Event is a document of playbook_run_events.
type Event struct {
	RunID    string     `bson:"run_id"`
	Seq      int64      `bson:"seq"`
	TS       time.Time  `bson:"ts"`
	Says     time.Time  `bson:"-"` // TS as it is recorded
	Type     string     `bson:"type"`
	Node     string     `bson:"node"`
	Stage    string     `bson:"stage"`
	Data     Data       `bson:"data"`
	Actor    string     `bson:"actor"`
	FinishTS *time.Time `bson:"finish_ts"`
}

// Key is a document of idempotency_keys.
type Key struct {
	Key      string     `bson:"_id"`
	RunID    string     `bson:"run_id"`
	FinishTS *time.Time `bson:"finish_ts"`
}

// Data is the part of the data of events that the rules need.
type Data struct {
	Action string `bson:"action"`
	State  string `bson:"state"`
	Code   string `bson:"code"`
	Term   int64  `bson:"term"`
}
