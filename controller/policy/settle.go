package policy

import (
	"maps"

	"github.com/replicante-io/playbooks/record"
)

// settle records that an UNKNOWN action has ended: how, where its agent says so.
func (p *Plan) settle(n *node, a *record.Action, in Ended) {
	p.run.Unsettled--
	p.pending.run = true
	a.Unsettled = false
	p.mark(n)
	p.unlock(n)
	var reported *record.Error
	if in.State != record.ActionUnknown || in.Error != nil {
		p.recordEnd(n, a, in)
		reported = a.Error
		p.addLater(n, map[string]any{"state": string(a.State)}, reported)
	}
	p.event(record.EventActionSettled, n.rec.Node, a.Stage, a.Step,
		withCause(record.Document{"action": a.ID, "state": string(a.State)}, reported))
	e := n.batchEntry()
	if e == nil {
		return
	}
	p.touch(n)
	switch {
	case e.State != record.NodeStageSettling && e.State != record.NodeStageVerifying:
	case a.State == record.ActionDone:
		p.passStep(n, e)
	case e.State == record.NodeStageSettling:
		p.failedAttempt(n, e, a)
	}
}

// addLater adds to the error of an UNKNOWN node what became known of its action later.
func (p *Plan) addLater(n *node, later map[string]any, err *record.Error) {
	if n.rec.State != record.NodeUnknown || n.rec.Error == nil {
		return
	}
	if err != nil {
		later["error"] = asData(err)
	}
	n.rec.Error = withLater(n.rec.Error, later)
	p.mark(n)
}

// withLater is an error with what became known later.
func withLater(err *record.Error, later map[string]any) *record.Error {
	more := *err
	if more.Data = maps.Clone(err.Data); more.Data == nil {
		more.Data = record.Document{}
	}
	more.Data["later"] = later
	return &more
}
