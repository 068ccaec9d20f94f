package policy

import (
	"time"

	"github.com/replicante-io/playbooks/playbook"
	"github.com/replicante-io/playbooks/record"
)

// FactPurpose says what facts are for.
type FactPurpose int

// The purposes of facts.
const (
	ForTargets   FactPurpose = iota // which nodes a stage is for
	ForSelection                    // which nodes the next batch of a group takes
	ForGate                         // whether the nodes of a batch are healthy
	ForStep                         // whether, and with which arguments, a step of a node runs
	ForVerifying                    // whether the health of a node settles its UNKNOWN step
	ForRemoval                      // whether a node whose key is gone is still there
	ForSubset                       // which of the nodes that appeared the run is for
)

// FactKey names a request for facts. Fields that do not matter to its purpose are empty.
type FactKey struct {
	Purpose    FactPurpose
	Stage      string
	Pass       record.PassKind
	PassNumber int
	Group      string
	Batch      int
	Node       string
}

// FactRequest asks what nodes are like now, until it is cancelled: at once, and then again so long after each answer.
type FactRequest struct {
	Key FactKey
	// All asks for every known node of the cluster, instead of Nodes.
	All   bool
	Nodes []string
	Every time.Duration
	// ID tells this request from an earlier one under the same key: an answer to that is not fresh.
	ID int64
}

// facts is an answer to one FactRequest, by node.
type facts struct {
	nodes map[string]*record.Node
	all   []any // as expressions see them, made when one first asks

	// What was made of them once, for every node.
	verdicts  map[*playbook.CheckPart]verdict
	explained map[explained]*record.Error
	ordered   map[string]orderedBy // by node
	down      *int                 // nodes that are not HEALTHY
}

func newFacts(nodes []record.Node) *facts {
	f := &facts{nodes: make(map[string]*record.Node, len(nodes))}
	for i := range nodes {
		f.nodes[nodes[i].NodeID] = &nodes[i]
	}
	return f
}

func (f *facts) of(name string) *record.Node {
	if f == nil {
		return nil
	}
	return f.nodes[name]
}

// request asks for facts and returns them if this Apply has got them.
func (p *Plan) request(key FactKey, every time.Duration, all bool, nodes ...string) *facts {
	if answer := p.answers[key]; answer != nil {
		return answer
	}
	if _, asked := p.requests[key]; asked {
		return nil
	}
	p.requestID++
	request := FactRequest{Key: key, All: all, Every: every, ID: p.requestID}
	if !all {
		request.Nodes = nodes
	}
	p.requests[key] = request
	p.effects.RequestFacts = append(p.effects.RequestFacts, request)
	return nil
}

// spend drops an answer, so that the next decision under this key needs a fresh answer.
func (p *Plan) spend(key FactKey) { delete(p.answers, key) }

func (p *Plan) cancelRequest(key FactKey) {
	if _, asked := p.requests[key]; !asked {
		return
	}
	delete(p.requests, key)
	delete(p.answers, key)
	for i := range p.effects.RequestFacts {
		if p.effects.RequestFacts[i].Key == key {
			p.effects.RequestFacts = append(p.effects.RequestFacts[:i], p.effects.RequestFacts[i+1:]...)
			return
		}
	}
	p.effects.CancelFacts = append(p.effects.CancelFacts, key)
}

// cancelRequests cancels all requests but those that find out whether nodes are gone: nothing more is decided.
func (p *Plan) cancelRequests() {
	p.effects.WithdrawLocks = true
	p.dropGuard()
	clear(p.holders) // nobody tells this run any longer that a node is free
	for key := range p.requests {
		if key.Purpose != ForRemoval || p.ended() {
			p.cancelRequest(key)
		}
	}
}

// nodeKey is the key of a request about one node.
func nodeKey(purpose FactPurpose, n *node) FactKey {
	return FactKey{Purpose: purpose, Node: n.rec.Node}
}

// stageKey is the key of a request that a decision of the open stage needs.
func (p *Plan) stageKey(purpose FactPurpose, g *group) FactKey {
	key := FactKey{Purpose: purpose, Stage: p.stageSpec().Name, Pass: p.pass.kind, PassNumber: p.pass.number}
	if g != nil {
		key.Group, key.Batch = g.key, p.groupRecord(g).Batch
	}
	return key
}

func (in Facts) apply(p *Plan) *record.RejectedError {
	if asked, ok := p.requests[in.Key]; !ok || asked.ID != in.ID {
		return nil
	}
	answer := newFacts(in.Nodes)
	for i := range in.Nodes {
		if n := p.nodes[in.Nodes[i].NodeID]; n != nil {
			p.updateFact(n, &in.Nodes[i])
		}
	}
	p.answers[in.Key] = answer
	if n := p.nodes[in.Key.Node]; n != nil {
		p.touch(n)
		if in.Key.Purpose == ForRemoval {
			p.decideRemoval(n, answer)
		}
	}
	return nil
}
