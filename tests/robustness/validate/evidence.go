package check

import "time"

// Evidence is what an installation has left behind, and what was asked of it.
type Evidence struct {
	Runs   []Run
	Nodes  []Node
	Events []Event
	Keys   []Key
	Term   int64 // of the terms record
	Work   []Work
	Asked  []Asked
	Told   []Told
}

// Asked is a run that was asked for. Its reason is nobody else's.
type Asked struct {
	Reason string
	RunID  string // as acknowledged; "" where nobody knows whether it was created
}

// Told is a command to a run. Without an acknowledgement nobody knows whether it took effect.
type Told struct {
	RunID, Verb  string
	Acknowledged bool
}

// Work is one start of an action's command, as the command itself wrote it down.
type Work struct {
	Action, Node string
	Term         int64
	Start        time.Time
	End          *time.Time // nil where the command was killed
	Code         int
}

// Run is a document of playbook_runs.
type Run struct {
	ID             string         `bson:"id"`
	Cluster        string         `bson:"cluster"`
	Playbook       Playbook       `bson:"playbook"`
	State          string         `bson:"state"`
	Reason         string         `bson:"reason"`
	Error          *Error         `bson:"error"`
	WaitsFor       string         `bson:"waits_for"`
	IdempotencyKey string         `bson:"idempotency_key"`
	Concurrency    string         `bson:"concurrency"`
	Term           int64          `bson:"term"`
	Counts         map[string]int `bson:"counts"`
	Stages         []Stage        `bson:"stages"`
	StartTS        *time.Time     `bson:"start_ts"`
	FinishTS       *time.Time     `bson:"finish_ts"`
	Unsettled      int            `bson:"unsettled"`
	Seq            int64          `bson:"seq"`
	Stamped        bool           `bson:"stamped"`
}

// Playbook is the copy that a run carries.
type Playbook struct {
	Name string `bson:"name"`
	Spec Spec   `bson:"spec"`
}

// Stage is a run's progress in a stage.
type Stage struct {
	Name  string `bson:"name"`
	State string `bson:"state"`
	Total int    `bson:"total"`
}

// Node is a document of playbook_run_agents.
type Node struct {
	RunID    string      `bson:"run_id"`
	Node     string      `bson:"node"`
	State    string      `bson:"state"`
	Newcomer bool        `bson:"newcomer"`
	Stages   []NodeStage `bson:"stages"`
	Actions  []Action    `bson:"actions"`
	FinishTS *time.Time  `bson:"finish_ts"`
}

// NodeStage is a node's part in a stage.
type NodeStage struct {
	Name  string `bson:"name"`
	Batch int    `bson:"batch"`
	State string `bson:"state"`
}

// Action is one attempt.
type Action struct {
	ID        string     `bson:"id"`
	Stage     string     `bson:"stage"`
	Step      string     `bson:"step"`
	Attempt   int        `bson:"attempt"`
	Term      int64      `bson:"term"`
	State     string     `bson:"state"`
	Error     *Error     `bson:"error"`
	StartTS   time.Time  `bson:"start_ts"`
	FinishTS  *time.Time `bson:"finish_ts"`
	Unsettled bool       `bson:"unsettled"`
}

// Error is why something failed.
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

// Data is what events say that the rules ask about.
type Data struct {
	Action string `bson:"action"`
	State  string `bson:"state"`
	Code   string `bson:"code"`
	Term   int64  `bson:"term"`
}
