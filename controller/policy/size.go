package policy

import (
	"encoding/json"

	"github.com/replicante-io/playbooks/record"
)

const (
	// startReserve is what an action leaves of its node's record when it starts, endReserve when it ends: for what is recorded later
	// about the node, such as its error.
	startReserve = 64 << 10
	endReserve   = 48 << 10
	// roughEntry is more than an entry of a record takes beside its documents and texts; JSON writes a byte as at most six.
	roughEntry = 512
	escaped    = 6
)

// larger reports whether a record takes more bytes than that as JSON. Most records are so small that they need not be written for it.
func larger(rec *record.RunNode, most int) bool {
	rough := roughEntry * (1 + len(rec.Stages) + len(rec.Actions) + len(rec.History))
	for i := range rec.Actions {
		a := &rec.Actions[i]
		rough += len(a.AgentURL) + len(a.StdoutTail) + len(a.StderrTail) + record.Size(a.Args) + record.Size(a.Payload) + errorSize(a.Error)
	}
	for i := range rec.History {
		rough += errorSize(rec.History[i].Cause)
	}
	for i := range rec.Stages {
		rough += errorSize(rec.Stages[i].Cause)
	}
	if escaped*rough <= most {
		return false
	}
	raw, err := json.Marshal(rec)
	return err != nil || len(raw) > most
}

func errorSize(e *record.Error) int {
	if e == nil {
		return 0
	}
	return len(e.Message) + record.Size(e.Data)
}

// trim keeps of an earlier attempt its state, its error and its times.
func (p *Plan) trim(n *node, a *record.Action) {
	a.Args, a.Payload, a.StdoutTail, a.StderrTail = nil, nil, "", ""
	p.expression.addResult(n, a)
}

// boundEnd leaves out of an action that has ended what its node's record cannot hold, or what the store has refused. An action that
// was DONE is FAILED then: whoever needs its payload must not take it for one without.
func (p *Plan) boundEnd(n *node, a *record.Action) {
	reason := &record.Error{Code: record.CodeNotStorable, Data: record.Document{"step": a.Step, "error": n.refused}}
	if n.refused == "" {
		if !larger(&n.rec, record.MaxRecord-endReserve) {
			return
		}
		reason = tooLarge("the payload", a.Step)
	}
	a.Payload, a.StdoutTail, a.StderrTail = nil, "", ""
	if a.State == record.ActionDone {
		a.State, a.Error = record.ActionFailed, reason
	}
}

// tooLarge is why a step cannot be recorded.
func tooLarge(what, step string) *record.Error {
	return &record.Error{Code: record.CodeRecordTooLarge, Data: record.Document{"what": what, "step": step, "most": int64(record.MaxRecord)}}
}
