package policy

import (
	"errors"
	"time"

	"github.com/replicante-io/playbooks/playbook"
	"github.com/replicante-io/playbooks/record"
)

// gate decides about the nodes of a group's batch that passed all steps: all of them must be healthy at once, for as long
// as the stage's settle says; when the timeout is over, those that are not have failed. True means that it decided.
func (p *Plan) gate(g *group) bool {
	rec, members := p.groupRecord(g), p.members(g)
	if rec.State != record.GroupChecking || rec.Waiting == nil {
		p.openGate(g, members)
	}
	if !p.enterGate(members) {
		return false
	}
	if g.decided {
		reasons, _ := p.checkMembers(members, g.seen)
		return p.passMembers(g, members, reasons)
	}
	key := p.stageKey(ForGate, g)
	seen := p.gateFacts(g, key, members)
	if seen == nil {
		return false
	}
	p.spend(key)
	reasons, settled := p.checkMembers(members, seen)
	if !settled && p.now.Before(*rec.Waiting.Until) {
		wait := *rec.Waiting
		wait.Data = p.gateData(members, reasons, seen)
		p.replaceWait(&rec.Waiting, &wait)
		return false
	}
	p.cancelRequest(key)
	g.seen, g.decided = seen, true
	return p.passMembers(g, members, reasons)
}

// passMembers carries out what the gate has decided. It is false while there are more nodes than one commit should hold.
func (p *Plan) passMembers(g *group, members []*node, reasons map[*node]*unmet) bool {
	health, seen, left := p.stageSpec().Health, g.seen, maxExplainSteps
	for _, n := range members {
		if !p.room() {
			p.more = true
			return false
		}
		healthy := n.batchEntry().HealthyTS
		switch why := reasons[n]; {
		case why != nil:
			p.endNode(n, record.NodeFailed, &record.Error{Code: record.CodeHealthTimeout, Data: record.Document{
				"timeout": health.Timeout.String(), "why": asData(p.explain(why, n, seen, &left))}})
		case p.now.Sub(*healthy) < health.Settle:
			p.endNode(n, record.NodeFailed, &record.Error{Code: record.CodeHealthTimeout, Data: record.Document{
				"timeout": health.Timeout.String(), "settle": health.Settle.String()}})
		default:
			p.passGate(n)
		}
	}
	p.groupRecord(g).Waiting, g.decided = nil, false
	p.pending.run = true
	return true
}

func (p *Plan) openGate(g *group, members []*node) {
	rec, spec := p.groupRecord(g), p.stageSpec()
	rec.State = record.GroupChecking
	rec.Waiting = &record.Wait{For: record.WaitGate, Since: p.now, Until: later(p.now, spec.Health.Timeout), Stage: spec.Name}
	g.seen, g.decided = nil, false
	p.pending.run = true
	data := p.batchData(g)
	data["until"] = rec.Waiting.Until.Format(time.RFC3339Nano)
	p.event(record.EventBatchChecking, "", spec.Name, "", data)
	for _, n := range members {
		if e := n.batchEntry(); e.HealthyTS != nil {
			e.HealthyTS = nil
			p.mark(n)
		}
	}
}

// enterGate records that the members are at the gate. It is false while there are more than one commit should hold.
func (p *Plan) enterGate(members []*node) bool {
	for _, n := range members {
		if e := n.batchEntry(); e.State != record.NodeStageChecking {
			if !p.room() {
				p.more = true
				return false
			}
			p.setEntry(n, e, record.NodeStageChecking, nil)
		}
	}
	return true
}

// gateFacts are the facts on which the gate decides now; nil while it has to wait for some.
func (p *Plan) gateFacts(g *group, key FactKey, members []*node) *facts {
	health, until := p.stageSpec().Health, *p.groupRecord(g).Waiting.Until
	ask := make([]string, len(members))
	for i, n := range members {
		ask[i] = n.rec.Node
	}
	seen := p.request(key, health.Interval, health.Check.NeedsAllNodes(), ask...)
	switch {
	case seen != nil:
		g.seen = seen
		return seen
	case p.now.Before(until):
		return nil
	case g.seen != nil:
		return g.seen
	case p.now.Before(until.Add(gatePatience)):
		return nil
	}
	return &facts{}
}

// checkMembers says why nodes are not healthy, and whether all are, and have been for long enough.
func (p *Plan) checkMembers(members []*node, seen *facts) (reasons map[*node]*unmet, settled bool) {
	settle := p.stageSpec().Health.Settle
	reasons, settled = map[*node]*unmet{}, true
	for _, n := range members {
		e := n.batchEntry()
		if why := p.unhealthy(n, e, seen); why != nil {
			reasons[n], settled = why, false
		}
		p.noteHealth(n, e, reasons[n] == nil, settle > 0)
		settled = settled && p.now.Sub(*e.HealthyTS) >= settle
	}
	return reasons, settled
}

// noteHealth keeps since when a node has been healthy. It is stored only where that matters.
func (p *Plan) noteHealth(n *node, e *record.NodeStage, healthy, store bool) {
	switch {
	case !healthy && e.HealthyTS != nil:
		e.HealthyTS = nil
		p.mark(n)
	case healthy && e.HealthyTS == nil:
		since := p.now
		e.HealthyTS = &since
		if store {
			p.mark(n)
		}
	}
}

// passGate ends the node's part in the stage well. It is DONE when no later stage of the pass can be for it.
func (p *Plan) passGate(n *node) {
	p.setEntry(n, n.batchEntry(), record.NodeStageDone, nil)
	if n.rec.Before != nil {
		p.endPart(n, nil)
	} else if p.run.StageIndex == len(p.pass.stages)-1 {
		p.setNode(n, record.NodeDone, nil)
	} else {
		p.setNode(n, record.NodeWaiting, &record.Error{Code: record.CauseBetween, Data: record.Document{"after": p.stageSpec().Name}})
	}
	p.leaveBatch(n)
}

// unhealthy says why the node does not pass its health check on what was seen; nil when it does.
func (p *Plan) unhealthy(n *node, e *record.NodeStage, seen *facts) *unmet {
	fact := seen.of(n.rec.Node)
	if fact == nil {
		return &unmet{cause: &record.Error{Code: record.CauseNoAnswer}}
	}
	check := p.stageSpec().Health.Check
	if check == nil {
		if (e.WasHealthy == nil || *e.WasHealthy) && fact.Status != record.StatusHealthy {
			return &unmet{cause: statusCause(fact)}
		}
		return nil
	}
	u := p.unmetCheck(check, n, seen)
	if u != nil && errors.Is(u.err, playbook.ErrAbsent) && u.part.MentionsNode() && fact.Status == record.StatusUnreachable {
		return &unmet{cause: statusCause(fact)}
	}
	return u
}

// gateData says which nodes are not healthy and why, for at most three, and once what is the same for all; without any, that they have
// to stay so.
func (p *Plan) gateData(members []*node, reasons map[*node]*unmet, seen *facts) record.Document {
	data := record.Document{"nodes": int64(len(members)), "unhealthy": int64(len(reasons))}
	left, named := maxExplainSteps, []any{}
	ofCluster := map[*record.Error]map[string]any{}
	for _, n := range members {
		u := reasons[n]
		if u == nil || len(named) >= maxNamed && !u.ofCluster() {
			continue
		}
		why := p.explain(u, n, seen, &left)
		if one := ofCluster[why]; one != nil {
			one["nodes"] = one["nodes"].(int64) + 1
			continue
		}
		one := map[string]any{"error": asData(why)}
		if u.ofCluster() {
			one["nodes"], ofCluster[why] = int64(1), one
		} else {
			one["node"] = n.rec.Node
		}
		if len(named) < maxNamed {
			named = append(named, one)
		}
	}
	if len(named) > 0 {
		data["named"] = named
	}
	return data
}
