package record

import "time"

// WaitReason says what kind of thing something waits for. It is stable.
type WaitReason string

// What a run, a stage, a group or a node can wait for.
const (
	WaitApproval  WaitReason = "approval"
	WaitGuard     WaitReason = "guard"
	WaitWindow    WaitReason = "window"
	WaitFreeze    WaitReason = "freeze"
	WaitFacts     WaitReason = "facts"     // an expression needs a fact that is absent
	WaitNode      WaitReason = "node"      // a node is gone, or locked by another run
	WaitAgent     WaitReason = "agent"     // an agent with an action in flight does not answer
	WaitGate      WaitReason = "gate"      // nodes are not healthy yet
	WaitPause     WaitReason = "pause"     // an operator has to resume the run, or the pause between batches has to end
	WaitQueue     WaitReason = "queue"     // another run of the cluster is before it
	WaitStore     WaitReason = "store"     // the primary store does not answer
	WaitRetry     WaitReason = "retry"     // the next attempt of a step is not due
	WaitUnsettled WaitReason = "unsettled" // an action may still be running
	WaitLeader    WaitReason = "leader"    // the leader leaves the run alone: another one has to continue it
	WaitTogether  WaitReason = "together"  // stages that run together have to end before the run pauses or is cancelled
	WaitAction    WaitReason = "action"    // actions in flight have to end before the run pauses or ends
)

// Wait is what something waits for. It is never changed, only replaced. Message is empty in the store: the API makes it from
// the other fields.
type Wait struct {
	For     WaitReason `json:"for"`
	Since   time.Time  `json:"since"`
	Until   *time.Time `json:"until,omitempty"` // when the waiting ends, whatever happens
	Stage   string     `json:"stage,omitempty"`
	Node    string     `json:"node,omitempty"`
	Data    Document   `json:"data,omitempty"`
	Message string     `json:"message,omitempty"`
}

// Same reports whether both are one wait: what they wait for and until when, whatever else is known about it by now.
func (w *Wait) Same(other *Wait) bool {
	if w == nil || other == nil {
		return w == other
	}
	return w.For == other.For && w.Stage == other.Stage && w.Node == other.Node && sameTime(w.Until, other.Until)
}

func sameTime(a, b *time.Time) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.Equal(*b)
}
