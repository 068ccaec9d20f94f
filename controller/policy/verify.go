package policy

import (
	"time"

	"github.com/replicante-io/playbooks/record"
)

// startVerifying lets the health of a node decide about its UNKNOWN step (on_unknown: health).
func (p *Plan) startVerifying(n *node, e *record.NodeStage) {
	p.setEntry(n, e, record.NodeStageVerifying, nil)
	e.HealthyTS, n.unwell = nil, nil
	p.setWait(n, e, &record.Wait{For: record.WaitGate, Since: p.now, Until: later(p.now, p.stageSpec().Health.Timeout), Stage: e.Name,
		Node: n.rec.Node, Data: record.Document{"step": p.stageSpec().steps[e.Step].Name}})
	p.touch(n)
}

// verify lets a node past its UNKNOWN step once it is healthy and its agent has said that the action has ended.
func (p *Plan) verify(n *node, e *record.NodeStage) {
	if !p.mayAct() {
		return
	}
	health, key := p.stageSpec().Health, nodeKey(ForVerifying, n)
	if seen := p.request(key, health.Interval, health.Check.NeedsAllNodes(), n.rec.Node); seen != nil {
		p.spend(key)
		why := p.unwell(n, e, seen)
		p.noteHealth(n, e, why == nil, true)
		if n.unwell = why; why == nil {
			n.unwell = &record.Error{Code: record.CauseNotSettled}
		}
		if e.HealthyTS != nil && p.now.Sub(*e.HealthyTS) >= health.Settle {
			p.passStep(n, e)
			return
		}
	}
	until, why := *e.Waiting.Until, n.unwell
	if why == nil { // there is no answer yet, maybe because this leader is new
		until, why = until.Add(gatePatience), &record.Error{Code: record.CauseNoAnswer}
	}
	if p.now.Before(until) {
		p.waitForHealth(n, e)
		return
	}
	p.endNode(n, record.NodeUnknown, &record.Error{Code: record.CodeHealthTimeout, Data: record.Document{
		"step": n.lastAction().Step, "timeout": health.Timeout.Round(time.Second).String(), "why": asData(why)}})
}

// unwell is why the health of a node does not settle its UNKNOWN step on what was seen; nil when it does.
func (p *Plan) unwell(n *node, e *record.NodeStage, seen *facts) *record.Error {
	if u := p.unhealthy(n, e, seen); u != nil {
		left := maxExplainSteps
		return p.explain(u, n, seen, &left)
	}
	if n.rec.Unsettled() {
		return &record.Error{Code: record.CauseNotEnded}
	}
	return nil
}

// waitForHealth records why the health of the node has not settled its step yet.
func (p *Plan) waitForHealth(n *node, e *record.NodeStage) {
	if n.unwell == nil {
		return
	}
	wait := *e.Waiting
	wait.Data = record.Document{"step": p.stageSpec().steps[e.Step].Name, "error": asData(n.unwell)}
	if !sameData(wait.Data, e.Waiting.Data) {
		p.setWait(n, e, &wait)
	}
}
