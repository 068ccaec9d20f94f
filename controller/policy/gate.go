package policy

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/replicante-io/playbooks/playbook"
	"github.com/replicante-io/playbooks/record"
)

// gate decides about the nodes of the open batch that passed all steps: all of them must be healthy at once, for as long
// as the stage's settle says; when the timeout is over, those that are not have failed. True means that it decided.
func (p *Plan) gate() bool {
	st, health := p.stage(), p.stageSpec().Health
	if health == nil {
		for _, n := range p.membersOver() {
			p.pass(n)
		}
		return true
	}
	key := p.decisionKey("gate")
	if st.GateTS == nil {
		opened := p.now
		st.GateTS = &opened
		p.gateSeen = nil
		p.runDirty = true
		p.event(record.EventBatchChecking, "", st.Name, "", record.Document{"batch": int64(st.Batch)})
		for _, n := range p.membersOver() {
			e := p.openEntry(n)
			e.HealthyTS = nil
			p.setEntry(n, e, record.StageChecking, "")
		}
	}
	deadline := st.GateTS.Add(health.Timeout)
	var ask []string
	members := p.membersOver()
	for _, n := range members {
		ask = append(ask, n.rec.Node)
	}
	seen := p.observe(key, health.Interval, health.Check.NeedsAllNodes(), ask...)
	switch {
	case seen != nil:
		p.gateSeen = seen
	case p.now.Before(deadline):
		p.wakeAt(deadline, "")
		return false
	case p.gateSeen != nil:
		seen = p.gateSeen
	case p.now.Before(deadline.Add(gatePatience)):
		p.wakeAt(deadline.Add(gatePatience), "")
		return false
	default:
		seen = &observation{}
	}
	delete(p.seen, key)
	settled := true
	reasons := make(map[*node]string, len(members))
	for _, n := range members {
		e := p.openEntry(n)
		if why := p.unhealthy(n, e, seen); why != "" {
			reasons[n] = why
			settled = false
			if e.HealthyTS != nil {
				e.HealthyTS = nil
				p.mark(n)
			}
			continue
		}
		if e.HealthyTS == nil {
			since := p.now
			e.HealthyTS = &since
			if health.Settle > 0 {
				p.mark(n)
			}
		}
		settled = settled && p.now.Sub(*e.HealthyTS) >= health.Settle
	}
	if !settled && p.now.Before(deadline) {
		p.factsFor = p.gateWords(members, reasons)
		p.wakeAt(deadline, "")
		return false
	}
	p.factsFor = ""
	p.unobserve(key)
	for _, n := range members {
		if why, unhealthy := reasons[n]; unhealthy {
			p.endNode(n, record.NodeFailed, &record.Error{
				Code: record.CodeHealthTimeout, Message: fmt.Sprintf("not healthy within %s after its steps: %s", health.Timeout, why),
			})
		} else if p.now.Sub(*p.openEntry(n).HealthyTS) < health.Settle {
			p.endNode(n, record.NodeFailed, &record.Error{
				Code: record.CodeHealthTimeout, Message: fmt.Sprintf("not healthy for %s within %s after its steps", health.Settle, health.Timeout),
			})
		} else {
			p.pass(n)
		}
	}
	return true
}

// membersOver is the nodes of the open batch that wait for its gate, by id.
func (p *Plan) membersOver() []*node {
	members := make([]*node, 0, p.over)
	for _, name := range p.names {
		if n := p.nodes[name]; n.member && n.over {
			members = append(members, n)
		}
	}
	return members
}

// pass ends the node's part in the stage well. It is DONE when no later stage can be for it.
func (p *Plan) pass(n *node) {
	p.setEntry(n, p.openEntry(n), record.StageDone, "")
	p.leaveBatch(n)
	if p.run.StageIndex == len(p.spec.Stages)-1 {
		p.setNode(n, record.NodeDone, "")
	}
	p.checkGone(n)
}

// unhealthy says why the node does not pass its health check on what was seen; "" when it does.
func (p *Plan) unhealthy(n *node, e *record.NodeStage, seen *observation) string {
	fact := seen.fact(n.rec.Node)
	if fact == nil {
		return "its agent did not answer in time"
	}
	check := p.stageSpec().Health.Check
	if check == nil {
		if e.WasHealthy == nil || *e.WasHealthy {
			if fact.Status != record.StatusHealthy {
				return "its status is " + string(fact.Status)
			}
		}
		return ""
	}
	healthy, err := check.Bool(p.vars(n, seen))
	switch {
	case errors.Is(err, playbook.ErrAbsent) && fact.Status == record.StatusUnreachable:
		return "its agent does not answer"
	case err != nil:
		return err.Error()
	case !healthy:
		return fmt.Sprintf("%s is false; its status is %s", check, fact.Status)
	}
	return ""
}

func (p *Plan) gateWords(members []*node, reasons map[*node]string) string {
	var words []string
	for _, n := range members {
		if why := reasons[n]; why != "" && len(words) < 3 {
			words = append(words, n.rec.Node+" ("+why+")")
		}
	}
	if len(words) == 0 {
		return fmt.Sprintf("the health of %d nodes to settle", len(members))
	}
	if more := len(reasons) - len(words); more > 0 {
		words = append(words, fmt.Sprintf("%d more", more))
	}
	return "the health of " + strings.Join(words, ", ")
}

func stepGateKey(n *node) string { return "health/" + n.rec.Node }

// stepGate lets a node's health decide about its UNKNOWN step (on_unknown: health). It passes only once its agent has
// also said that the action is over.
func (p *Plan) stepGate(n *node, e *record.NodeStage) {
	if p.run.Verdict != "" || p.run.State != record.RunRunning {
		return
	}
	health := p.stageSpec().Health
	deadline := e.GateTS.Add(health.Timeout)
	key := stepGateKey(n)
	if seen := p.observe(key, health.Interval, health.Check.NeedsAllNodes(), n.rec.Node); seen != nil {
		delete(p.seen, key)
		why := p.unhealthy(n, e, seen)
		if why == "" && n.lastAction().Unsettled {
			why = "its agent has not said that the step is over"
		}
		if n.unwell = why; why == "" {
			n.unwell = "it has not been healthy for long enough"
		}
		if why != "" {
			e.HealthyTS = nil
		} else if e.HealthyTS == nil {
			since := p.now
			e.HealthyTS = &since
			p.mark(n)
		}
		if e.HealthyTS != nil && p.now.Sub(*e.HealthyTS) >= health.Settle {
			p.passStep(n, e)
			return
		}
	}
	why := n.unwell
	if why == "" { // nobody has heard of it yet, maybe because this leader is new
		deadline = deadline.Add(gatePatience)
		why = "its agent did not answer in time"
	}
	if p.now.Before(deadline) {
		p.wakeAt(deadline, n.rec.Node)
		return
	}
	p.unobserve(key)
	p.endNode(n, record.NodeUnknown, &record.Error{Code: record.CodeHealthTimeout, Message: fmt.Sprintf(
		"nobody knows how step %s ended, and it was not healthy within %s: %s", n.lastAction().Step, health.Timeout.Round(time.Second), why)})
}

// observed looks at what waits for an observation.
func (p *Plan) observed(key string, seen *observation) {
	for _, prefix := range []string{"step/", "health/", "gone/"} {
		if name, ok := strings.CutPrefix(key, prefix); ok {
			if n := p.nodes[name]; n != nil {
				p.touch(n)
				if prefix == "gone/" {
					p.goneObserved(n, seen)
				}
			}
		}
	}
}
