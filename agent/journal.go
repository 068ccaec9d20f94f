package agent

import (
	"encoding/json"
	"time"

	"github.com/replicante-io/playbooks/agent/wire"
)

// journal is what an agent remembers. Its methods are called by one goroutine at a time, but for find and finished.
type journal interface {
	// id is random and made with the journal.
	id() string
	terms() (map[string]int64, error)
	// unfinished are the actions that have not ended, in order of acceptance.
	unfinished() ([]*entry, error)
	// find tells of an ID whether it was ever written, and its entry unless that was purged.
	find(id string) (e *entry, known bool, err error)
	// finished are the last that finished, newest first.
	finished(limit int) ([]wire.ActionSummary, error)
	// write lands all of the changes or none, and returns when they survive a crash of the machine.
	write(...change) error
	// purge drops what finished before the time given, at most limit of it. The IDs stay known.
	purge(before time.Time, limit int) (dropped int, err error)
	close() error
}

// change is one thing to write: a higher term, an entry, or both.
type change struct {
	installation string
	term         int64
	put          *entry
}

// entry is what a journal holds of one action.
type entry struct {
	Action wire.Action `json:"action"`
	// Seq orders what has not ended by its acceptance.
	Seq uint64 `json:"seq,omitempty"`
	// Process is the leader of the command's session.
	Process *process `json:"process,omitempty"`
}

// end sets the final state.
func (e *entry) end(state wire.State) {
	now := time.Now().UTC()
	e.Action.State = state
	e.Action.FinishedTime = &now
}

func (e *entry) fail(code, message string) {
	e.end(wire.State{Phase: wire.PhaseFailed, Payload: e.Action.State.Payload, Error: failure(code, message)})
}

func (e *entry) summary() wire.ActionSummary {
	return wire.ActionSummary{ID: e.Action.ID, Kind: e.Action.Kind, Phase: e.Action.State.Phase}
}

func failure(code, message string) json.RawMessage {
	raw, _ := json.Marshal(wire.Error{Code: code, Message: message})
	return raw
}
