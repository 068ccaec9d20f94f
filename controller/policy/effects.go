package policy

import (
	"slices"
	"time"

	"github.com/replicante-io/playbooks/record"
)

// Effects are what the records call for that has changed. They are executed only once the commit they came with is stored.
type Effects struct {
	// StartActions are to be sent, or followed where their agents may have them, until their ends are known. Each replaces
	// what was done about its node's action before.
	StartActions []ActionOrder
	// StopActions are to be stopped, or never started, until their ends are known. Each replaces what was done before.
	StopActions []StopOrder
	// AbandonActions names nodes about whose action nothing is to be done from now on.
	AbandonActions []string
	// RequestFacts are to be asked until they are cancelled; CancelFacts are not to be asked from now on.
	RequestFacts []FactRequest
	CancelFacts  []FactKey
	// LockNodes are to be locked for this run. Each is answered at once by Locked, NotLocked or OverLimit.
	LockNodes []LockRequest
	// WithdrawLocks takes back the lock requests that were refused: the run is paused or ends.
	WithdrawLocks bool
	// UnsettledNodes are locked only for actions that may still be running: the run does nothing more on them.
	UnsettledNodes []string
	// UnlockNodes are not needed by this run any longer.
	UnlockNodes []string
	// EnterQueue gives the run the place in the queue of its cluster that its QueuedTS says, unless it has it.
	EnterQueue bool
	// WakeAt is when the plan needs a Tick at the latest; nil for never.
	WakeAt *time.Time
	// Continue asks for a Tick at once: there was more to do than one commit should hold.
	Continue bool
}

// ActionOrder is an action of a node. The agent is at URL: where the action was meant to go, or where the same journal is
// now.
type ActionOrder struct {
	Node   string
	URL    string
	Action record.Action
}

// StopOrder is an action to be stopped, and why: timeout or cancelled.
type StopOrder struct {
	ActionOrder
	Code string
}

// LockRequest asks for all of Nodes, for the batch that a group is about to open, or, with a limit, for as many of them, from the first, as
// that allows.
type LockRequest struct {
	Group string
	Nodes []string
	Limit *Limit
}

// dispatch makes the node's action an effect, as its record says, instead of what this Apply had for the node before.
func (p *Plan) dispatch(n *node, a *record.Action) {
	p.withdraw(n)
	n.ordered = true
	order := ActionOrder{Node: n.rec.Node, URL: n.urlOf(a), Action: *a}
	if a.State != record.ActionCancelling && !a.Unsettled {
		p.effects.StartActions = append(p.effects.StartActions, order)
		return
	}
	code := a.CancelCode
	if code == "" {
		code = record.CodeCancelled
	}
	p.effects.StopActions = append(p.effects.StopActions, StopOrder{order, code})
}

// withdraw takes back what this Apply wanted done about the node's action.
func (p *Plan) withdraw(n *node) {
	if n.ordered {
		p.effects.StartActions = slices.DeleteFunc(p.effects.StartActions, func(o ActionOrder) bool { return o.Node == n.rec.Node })
		p.effects.StopActions = slices.DeleteFunc(p.effects.StopActions, func(o StopOrder) bool { return o.Node == n.rec.Node })
	}
	n.ordered = false
}

// abandon has nothing done about the node's action any longer.
func (p *Plan) abandon(n *node) {
	p.withdraw(n)
	p.effects.AbandonActions = append(p.effects.AbandonActions, n.rec.Node)
}

// forgetOrders prepares the nodes for the effects of the next Apply.
func (p *Plan) forgetOrders() {
	for _, o := range p.effects.StartActions {
		p.nodes[o.Node].ordered = false
	}
	for _, o := range p.effects.StopActions {
		p.nodes[o.Node].ordered = false
	}
}

// urlOf is where the agent of an action is: where the action was meant to go, or where its journal is now.
func (n *node) urlOf(a *record.Action) string {
	if a.JournalID != "" && n.fact.JournalID == a.JournalID && n.fact.AgentURL != "" {
		return n.fact.AgentURL
	}
	return a.AgentURL
}

// unlock gives the node back if this run has it locked and needs it no longer.
func (p *Plan) unlock(n *node) {
	switch {
	case !n.locked:
	case !needsLock(&n.rec):
		n.locked = false
		p.effects.UnlockNodes = append(p.effects.UnlockNodes, n.rec.Node)
	case onlyUnsettled(&n.rec):
		p.effects.UnsettledNodes = append(p.effects.UnsettledNodes, n.rec.Node)
	}
}
