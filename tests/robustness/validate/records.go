package validate

import (
	"maps"
	"slices"
	"time"
)

// States that are not final. Every other state is, also one that this package does not know.
var (
	finalRuns   = []string{"DONE", "FAILED", "CANCELLED"}
	openNodes   = []string{"PENDING", "ADDED", "RUNNING", "WAITING"}
	openActions = []string{"SAVED", "RUNNING", "CANCELLING"}
)

// requestedOnce: every acknowledged run exists, and no request made two.
func (h *history) requestedOnce() {
	byReason, keys := map[string][]string{}, map[string]string{}
	for i := range h.Runs {
		r := &h.Runs[i]
		byReason[r.Reason] = append(byReason[r.Reason], r.ID)
		if other := keys[r.IdempotencyKey]; other != "" || r.IdempotencyKey == "" {
			h.report(Violation{Run: r.ID}, "its idempotency key %q is also that of run %q", r.IdempotencyKey, other)
		}
		keys[r.IdempotencyKey] = r.ID
	}
	for _, request := range h.Requests {
		ids := byReason[request.Reason]
		switch {
		case len(ids) > 1:
			h.report(Violation{Run: ids[0]}, "%q was requested once and is also run %s", request.Reason, ids[1])
		case request.RunID != "" && !slices.Contains(ids, request.RunID):
			h.report(Violation{Run: request.RunID}, "%q was acknowledged, and the run does not exist", request.Reason)
		}
		delete(byReason, request.Reason)
	}
	for reason, ids := range byReason {
		h.report(Violation{Run: ids[0]}, "%q was never requested", reason)
	}
}

// commands: an acknowledged command took effect, and each command at most once.
func (h *history) commands() {
	type command struct{ run, verb string }
	least, most := map[command]int{}, map[command]int{}
	for _, c := range h.Commands {
		key := command{c.RunID, c.Verb}
		most[key]++
		if c.Acknowledged {
			least[key]++
		}
	}
	types := map[string]string{"pause": "run.pausing", "resume": "run.resumed", "cancel": "run.cancelling"}
	for key := range most {
		n := 0
		for _, e := range h.eventsOf[key.run] {
			if e.Type == types[key.verb] && e.Actor != "" {
				n++
			}
		}
		if n < least[key] || n > most[key] {
			h.report(Violation{Run: key.run}, "%s was sent %d times and acknowledged %d times; it took effect %d times", key.verb, most[key], least[key], n)
		}
	}
}

// ended: every run and every action has an end, and a run is finished once nothing of it is unsettled.
func (h *history) ended() {
	for i := range h.Runs {
		r := &h.Runs[i]
		if !slices.Contains(finalRuns, r.State) || r.EndTS == nil {
			h.report(Violation{Run: r.ID}, "it does not end: %s, end_ts %s, waiting for %s", r.State, clockOf(r.EndTS), r.waitingFor())
		}
		switch {
		case r.Unsettled != 0 && r.FinishTS != nil:
			h.report(Violation{Run: r.ID}, "it finished at %s, and %d of its actions are unsettled", clockOf(r.FinishTS), r.Unsettled)
		case r.Unsettled != 0:
			h.report(Violation{Run: r.ID}, "%d of its actions are still unsettled", r.Unsettled)
		case r.FinishTS == nil || r.EndTS != nil && r.FinishTS.Before(*r.EndTS):
			h.report(Violation{Run: r.ID}, "it ended at %s and finished at %s", clockOf(r.EndTS), clockOf(r.FinishTS))
		}
		if len(h.nodesOf[r.ID]) == 0 {
			h.report(Violation{Run: r.ID}, "it has no node")
		}
	}
	for _, a := range h.actions {
		if slices.Contains(openActions, a.State) || a.FinishTS == nil || a.Unsettled {
			h.report(a.violation(), "it is %s, finish_ts %s, unsettled %t", a.State, clockOf(a.FinishTS), a.Unsettled)
		}
	}
}

func (r *Run) waitingFor() string {
	if r.Waiting == nil {
		return "nothing"
	}
	text := r.Waiting.For
	if r.Waiting.Stage != "" {
		text += " of stage " + r.Waiting.Stage
	}
	if r.Waiting.Node != "" {
		text += " of node " + r.Waiting.Node
	}
	return text
}

// finishedRecords: every record of a finished run is final and stamped, and so are its idempotency keys.
func (h *history) finishedRecords() {
	keys := map[string]string{}
	for _, k := range h.Keys {
		keys[k.Key] = k.RunID
		if k.RunID != "" && k.FinishTS == nil {
			h.report(Violation{Run: k.RunID}, "its idempotency key %s has no finish_ts", k.Key)
		}
	}
	for i := range h.Runs {
		r := &h.Runs[i]
		if !r.Stamped {
			h.report(Violation{Run: r.ID}, "it is not stamped")
		}
		if keys[r.IdempotencyKey] != r.ID {
			h.report(Violation{Run: r.ID}, "its idempotency key %s is kept for run %q", r.IdempotencyKey, keys[r.IdempotencyKey])
		}
	}
	for i := range h.Nodes {
		n := &h.Nodes[i]
		if slices.Contains(openNodes, n.State) || n.FinishTS == nil {
			h.report(Violation{Run: n.RunID, Node: n.Node}, "its record is %s, finish_ts %s", n.State, clockOf(n.FinishTS))
		}
		if h.runs[n.RunID] == nil {
			h.report(Violation{Run: n.RunID, Node: n.Node}, "its record belongs to no run")
		}
	}
	for run, events := range h.eventsOf {
		for _, e := range events {
			if e.FinishTS == nil {
				h.report(Violation{Run: run}, "its event %d has no finish_ts", e.Seq)
				break
			}
		}
	}
}

// events: they are numbered without gaps, in order of time, and agree with their run about its start and end.
func (h *history) events() {
	for i := range h.Runs {
		r := &h.Runs[i]
		events := h.eventsOf[r.ID]
		var last time.Time
		started, finished := 0, 0
		for j, e := range events {
			if e.Seq != int64(j+1) {
				h.report(Violation{Run: r.ID}, "event %d is number %d of its events", e.Seq, j+1)
				break
			}
			if e.Says.Before(last) {
				h.report(Violation{Run: r.ID}, "event %d (%s) says that it happened at %s, before the one before at %s", e.Seq, e.Type, clock(e.Says), clock(last))
			}
			last = e.Says
			switch e.Type {
			case "run.started":
				started++
			case "run.finished":
				finished++
				if e.Data.State != r.State {
					h.report(Violation{Run: r.ID}, "it is %s, and its events say that it ended %s", r.State, e.Data.State)
				}
			case "action.settled", "run.claimed", "run.waiting":
			default:
				if finished > 0 {
					h.report(Violation{Run: r.ID}, "event %d (%s) happened after its end", e.Seq, e.Type)
				}
			}
		}
		if int64(len(events)) != r.Seq {
			h.report(Violation{Run: r.ID}, "it has %d events, and its record says %d", len(events), r.Seq)
		}
		if len(events) > 0 && events[0].Type != "run.created" {
			h.report(Violation{Run: r.ID}, "its first event is %s", events[0].Type)
		}
		if started > 1 || finished > 1 || r.EndTS != nil && finished == 0 {
			h.report(Violation{Run: r.ID}, "its events say %d times that it started and %d times that it ended", started, finished)
		}
	}
}

// terms never go back: in the claims of a run, in the actions of a node, on an agent, and against the terms record.
func (h *history) terms() {
	for i := range h.Runs {
		r := &h.Runs[i]
		var last int64
		for _, e := range h.eventsOf[r.ID] {
			if e.Type != "run.claimed" {
				continue
			}
			if e.Data.Term <= last {
				h.report(Violation{Run: r.ID}, "event %d: it was claimed in term %d after term %d", e.Seq, e.Data.Term, last)
			}
			last = e.Data.Term
		}
		if r.Term < last || r.Term > h.Term {
			h.report(Violation{Run: r.ID}, "its term is %d; it was claimed in %d, and the terms record says %d", r.Term, last, h.Term)
		}
	}
	for i := range h.Nodes {
		n := &h.Nodes[i]
		var last int64
		for j := range n.Actions {
			a := &n.Actions[j]
			if a.Term < last {
				h.report(h.actions[a.ID].violation(), "it was saved in term %d, after one of term %d", a.Term, last)
			}
			last = a.Term
		}
	}
	latest := map[string]*Execution{} // by node
	for i := range h.Executions {
		x := &h.Executions[i]
		if a := h.actions[x.Action]; a != nil && x.Term < a.Term {
			h.report(a.violation(), "a leader of term %d sent it, and one of term %d saved it", x.Term, a.Term)
		}
		if before := latest[x.Node]; before != nil && x.Term < before.Term {
			h.report(Violation{Run: h.runOf(x.Action), Node: x.Node, Action: x.Action}, "a leader of term %d had it started at %s, after one of term %d had one started at %s",
				x.Term, clock(x.Start), before.Term, clock(before.Start))
		}
		latest[x.Node] = x
	}
}

// states: what a run says about itself agrees with its nodes, and what a node says with its actions.
func (h *history) states() {
	for i := range h.Runs {
		r := &h.Runs[i]
		counts := map[string]int{}
		for _, n := range h.nodesOf[r.ID] {
			counts[n.State]++
			h.nodeState(r, n)
		}
		states := map[string]bool{}
		for state := range counts {
			states[state] = true
		}
		for state := range r.Counts {
			states[state] = true
		}
		for _, state := range slices.Sorted(maps.Keys(states)) {
			if counts[state] != r.Counts[state] {
				h.report(Violation{Run: r.ID}, "it counts %d nodes as %s, and %d are", r.Counts[state], state, counts[state])
			}
		}
		bad := counts["FAILED"] + counts["UNKNOWN"]
		left := counts["NOT_REACHED"] + counts["INCOMPLETE"] + counts["CANCELLED"]
		switch {
		case r.State == "DONE" && bad+left > 0:
			h.report(Violation{Run: r.ID}, "it is DONE with nodes %v", counts)
		case r.State == "FAILED" && bad == 0 && (r.Error == nil || r.Error.Code == "max_failures" || r.Error.Code == "nodes_failed"):
			h.report(Violation{Run: r.ID}, "it is FAILED because of failures, with nodes %v", counts)
		}
	}
}

func (h *history) nodeState(r *Run, n *Node) {
	switch n.State {
	case "DONE":
		h.nodeDone(r, n)
	case "NOT_REACHED":
		for i := range n.Actions {
			if executions := h.executions[n.Actions[i].ID]; len(executions) > 0 {
				h.report(h.actions[n.Actions[i].ID].violation(), "its node is NOT_REACHED, and %s", describe(executions))
			}
		}
	}
}

// nodeDone: a node is DONE that is DONE in every stage, with every step.
func (h *history) nodeDone(r *Run, n *Node) {
	last := map[[2]string]*Action{}
	for i := range n.Actions {
		last[[2]string{n.Actions[i].Stage, n.Actions[i].Step}] = &n.Actions[i]
	}
	for i := range r.Playbook.Spec.Stages {
		st := &r.Playbook.Spec.Stages[i]
		if !slices.ContainsFunc(n.Stages, func(e NodeStage) bool { return e.Name == st.Name && e.State == "DONE" }) {
			h.report(Violation{Run: r.ID, Node: n.Node}, "it is DONE, and not in stage %s", st.Name)
			continue
		}
		for _, step := range st.Steps {
			if a := last[[2]string{st.Name, step.Name}]; a == nil || a.State != "DONE" {
				h.report(Violation{Run: r.ID, Node: n.Node}, "it is DONE, and step %s of stage %s is not", step.Name, st.Name)
			}
		}
	}
}
