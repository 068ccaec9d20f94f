package agent

import (
	"encoding/json"
	"time"

	"github.com/replicante-io/playbooks/agent/wire"
	"github.com/replicante-io/playbooks/internal/failpoint"
)

// journal holds an agent's actions and terms. One goroutine at a time calls its methods, except for find and finished.
type journal interface {
	// id is random and made with the journal.
	id() string
	terms() (map[string]int64, error)
	// unfinished are the actions that have not ended, in order of acceptance.
	unfinished() ([]*entry, error)
	// find returns whether an ID was ever written, and its entry unless that was purged.
	find(id string) (e *entry, known bool, err error)
	// finished are the latest actions that finished, newest first.
	finished(limit int) ([]wire.ActionSummary, error)
	// write stores all of the changes or none, and returns when they survive a crash of the machine.
	write(...change) error
	// purge drops the entries of at most limit actions that finished before a time. Their IDs stay known.
	purge(before time.Time, limit int) (dropped int, err error)
	close() error
}

// change is a higher term, an entry, or both.
type change struct {
	installation string
	term         int64
	put          *entry
}

// entry is an action in a journal.
type entry struct {
	Action wire.Action `json:"action"`
	// Seq orders unfinished actions by acceptance.
	Seq uint64 `json:"seq,omitempty"`
	// Process is the leader of the command's session.
	Process *process `json:"process,omitempty"`
}

// end sets the final state.
func (e *entry) end(state wire.State) {
	now := failpoint.Wall().UTC()
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

// errorOf is the error of an action of this agent that has failed.
func errorOf(state wire.State) (e wire.Error) {
	_ = json.Unmarshal(state.Error, &e)
	return e
}
