package policy

import (
	"time"

	"github.com/replicante-io/playbooks/record"
)

// Wants is how what the records want has changed. It is to be pursued only once the commit it came with has landed.
type Wants struct {
	// Actions are to be pursued from now on, each instead of what its node's pursuit did before.
	Actions []Pursuit
	// Observe are to be asked for; Forget, by key, no more.
	Observe []Observation
	Forget  []string
	// Release are nodes whose reservation is given back.
	Release []string
	// Wake is when the plan wants a Tick at the latest; zero for never.
	Wake time.Time
	// Again asks for a Tick at once: there was more to start than one commit should hold.
	Again bool
}

// Pursuit is an action that something is to be done about until its end is known: see that its agent has it and hear of
// its end, or, where Cancel says why, make the agent stop it or never start it. The agent is at URL: where the action was
// meant to go, or where the same journal is now.
type Pursuit struct {
	Node   string
	URL    string
	Action record.Action
	// Cancel is "" or the code of the reason: timeout or cancelled.
	Cancel string
	// Kill is false where an action that already runs may go on to its end.
	Kill bool
}

// Observation asks what nodes are like now, until it is forgotten: at once, and then again so long after each answer.
type Observation struct {
	Key   string
	Nodes []string // nil: every known node of the cluster
	Every time.Duration
	// Ask tells this question from an earlier one under the same key: what was heard for that is not fresh.
	Ask int64
}

// want pursues the node's action as its record says.
func (p *Plan) want(n *node, a *record.Action) {
	pursuit := Pursuit{Node: n.rec.Node, URL: a.AgentURL, Action: *a}
	if n.moved(a) {
		pursuit.URL = n.fact.AgentURL
	}
	if a.State == record.ActionCancelling || a.Unsettled {
		pursuit.Kill = true
		if pursuit.Cancel = a.CancelCode; pursuit.Cancel == "" {
			pursuit.Cancel = record.CodeCancelled
		}
	}
	p.wants.Actions = append(p.wants.Actions, pursuit)
}

// moved tells whether the agent that the action was meant for is somewhere else now.
func (n *node) moved(a *record.Action) bool {
	return a.JournalID != "" && n.fact.JournalID == a.JournalID && n.fact.AgentURL != "" && n.fact.AgentURL != a.AgentURL
}

// observe asks for facts and returns them if this Apply has heard them.
func (p *Plan) observe(key string, every time.Duration, all bool, nodes ...string) *observation {
	if seen := p.seen[key]; seen != nil {
		return seen
	}
	if _, asked := p.observations[key]; asked {
		return nil
	}
	if all {
		nodes = nil
	}
	p.asks++
	p.observations[key] = Observation{Key: key, Nodes: nodes, Every: every, Ask: p.asks}
	p.wants.Observe = append(p.wants.Observe, p.observations[key])
	return nil
}

func (p *Plan) unobserve(key string) {
	if _, asked := p.observations[key]; !asked {
		return
	}
	delete(p.observations, key)
	delete(p.seen, key)
	for i := range p.wants.Observe {
		if p.wants.Observe[i].Key == key {
			p.wants.Observe = append(p.wants.Observe[:i], p.wants.Observe[i+1:]...)
			return
		}
	}
	p.wants.Forget = append(p.wants.Forget, key)
}

func (p *Plan) release(n *node) {
	if n.taken {
		n.taken = false
		p.wants.Release = append(p.wants.Release, n.rec.Node)
	}
}
