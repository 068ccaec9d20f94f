package check

import (
	"slices"
	"time"
)

var (
	finalRuns   = []string{"DONE", "FAILED", "CANCELLED"}
	openNodes   = []string{"PENDING", "ADDED", "RUNNING"}
	openActions = []string{"SAVED", "RUNNING", "CANCELLING"}
)

// askedOnce: every acknowledged run exists, none exists twice, and none that nobody asked for.
func (c *court) askedOnce() {
	by, keys := map[string][]string{}, map[string]string{}
	for i := range c.Runs {
		r := &c.Runs[i]
		by[r.Reason] = append(by[r.Reason], r.ID)
		if other := keys[r.IdempotencyKey]; other != "" || r.IdempotencyKey == "" {
			c.find(Violation{Run: r.ID}, "its idempotency key %q is also that of run %q", r.IdempotencyKey, other)
		}
		keys[r.IdempotencyKey] = r.ID
	}
	for _, a := range c.Asked {
		ids := by[a.Reason]
		switch {
		case len(ids) > 1:
			c.find(Violation{Run: ids[0]}, "%q was asked for once and is also run %s", a.Reason, ids[1])
		case a.RunID != "" && !slices.Contains(ids, a.RunID):
			c.find(Violation{Run: a.RunID}, "%q was acknowledged, and there is no such run", a.Reason)
		}
		delete(by, a.Reason)
	}
	for reason, ids := range by {
		c.find(Violation{Run: ids[0]}, "nobody asked for %q", reason)
	}
}

// told: an acknowledged command took effect, and each command at most once.
func (c *court) told() {
	type word struct{ run, verb string }
	least, most := map[word]int{}, map[word]int{}
	for _, t := range c.Told {
		w := word{t.RunID, t.Verb}
		most[w]++
		if t.Acknowledged {
			least[w]++
		}
	}
	types := map[string]string{"pause": "run.pausing", "resume": "run.resumed", "cancel": "run.cancelling"}
	for w := range most {
		n := 0
		for _, e := range c.happens[w.run] {
			if e.Type == types[w.verb] && e.Actor != "" {
				n++
			}
		}
		if n < least[w] || n > most[w] {
			c.find(Violation{Run: w.run}, "%s was asked for %d times and acknowledged %d times; it took effect %d times", w.verb, most[w], least[w], n)
		}
	}
}

func (c *court) ended() {
	for i := range c.Runs {
		r := &c.Runs[i]
		if !slices.Contains(finalRuns, r.State) || r.FinishTS == nil {
			c.find(Violation{Run: r.ID}, "it is stuck: %s, finish_ts %s, waits for %q", r.State, clockOf(r.FinishTS), r.WaitsFor)
		}
		if r.Unsettled != 0 {
			c.find(Violation{Run: r.ID}, "%d of its actions are still unsettled", r.Unsettled)
		}
		if len(c.nodes[r.ID]) == 0 {
			c.find(Violation{Run: r.ID}, "it has no node")
		}
	}
	for _, d := range c.actions {
		if slices.Contains(openActions, d.State) || d.FinishTS == nil || d.Unsettled {
			c.find(d.violation(), "it is %s, finish_ts %s, unsettled %t", d.State, clockOf(d.FinishTS), d.Unsettled)
		}
	}
}

// finished: every record of a run that has ended is final and stamped, and so are its idempotency keys.
func (c *court) finished() {
	keys := map[string]string{}
	for _, k := range c.Keys {
		keys[k.Key] = k.RunID
		if k.RunID != "" && k.FinishTS == nil {
			c.find(Violation{Run: k.RunID}, "its idempotency key %s has no finish_ts", k.Key)
		}
	}
	for i := range c.Runs {
		r := &c.Runs[i]
		if !r.Stamped {
			c.find(Violation{Run: r.ID}, "it is not stamped")
		}
		if keys[r.IdempotencyKey] != r.ID {
			c.find(Violation{Run: r.ID}, "its idempotency key %s is kept for run %q", r.IdempotencyKey, keys[r.IdempotencyKey])
		}
	}
	for i := range c.Nodes {
		n := &c.Nodes[i]
		if slices.Contains(openNodes, n.State) || n.FinishTS == nil {
			c.find(Violation{Run: n.RunID, Node: n.Node}, "its record is %s, finish_ts %s", n.State, clockOf(n.FinishTS))
		}
		if c.runs[n.RunID] == nil {
			c.find(Violation{Run: n.RunID, Node: n.Node}, "its record belongs to no run")
		}
	}
	for run, events := range c.happens {
		for _, e := range events {
			if e.FinishTS == nil {
				c.find(Violation{Run: run}, "its event %d has no finish_ts", e.Seq)
				break
			}
		}
	}
}

func (c *court) events() {
	for i := range c.Runs {
		r := &c.Runs[i]
		events := c.happens[r.ID]
		var last time.Time
		started, finished := 0, 0
		for j, e := range events {
			if e.Seq != int64(j+1) {
				c.find(Violation{Run: r.ID}, "event %d is number %d of its events", e.Seq, j+1)
				break
			}
			if e.TS.Before(last) {
				c.find(Violation{Run: r.ID}, "event %d (%s) happened at %s, before the one before at %s", e.Seq, e.Type, clock(e.TS), clock(last))
			}
			last = e.TS
			switch e.Type {
			case "run.started":
				started++
			case "run.finished":
				finished++
				if e.Data.State != r.State {
					c.find(Violation{Run: r.ID}, "it is %s, and its events say that it ended %s", r.State, e.Data.State)
				}
			case "action.settled", "run.claimed":
			default:
				if finished > 0 {
					c.find(Violation{Run: r.ID}, "event %d (%s) happened after its end", e.Seq, e.Type)
				}
			}
		}
		if int64(len(events)) != r.Seq {
			c.find(Violation{Run: r.ID}, "it has %d events, and says that there are %d", len(events), r.Seq)
		}
		if len(events) > 0 && events[0].Type != "run.created" {
			c.find(Violation{Run: r.ID}, "its first event is %s", events[0].Type)
		}
		if started > 1 || finished > 1 || r.FinishTS != nil && finished == 0 {
			c.find(Violation{Run: r.ID}, "its events say %d times that it started and %d times that it ended", started, finished)
		}
	}
}

// terms never go back: in what runs say, on a node, and against the terms record.
func (c *court) terms() {
	for i := range c.Runs {
		r := &c.Runs[i]
		var last int64
		for _, e := range c.happens[r.ID] {
			if e.Type != "run.claimed" {
				continue
			}
			if e.Data.Term <= last {
				c.find(Violation{Run: r.ID}, "event %d: it was claimed in term %d after term %d", e.Seq, e.Data.Term, last)
			}
			last = e.Data.Term
		}
		if r.Term < last || r.Term > c.Term {
			c.find(Violation{Run: r.ID}, "its term is %d; it was claimed in %d, and the terms record says %d", r.Term, last, c.Term)
		}
	}
	for i := range c.Nodes {
		n := &c.Nodes[i]
		var last int64
		for j := range n.Actions {
			a := &n.Actions[j]
			if a.Term < last {
				c.find(c.actions[a.ID].violation(), "it was saved in term %d, after one of term %d", a.Term, last)
			}
			last = a.Term
		}
	}
	of := map[string]*Work{}
	for i := range c.Work {
		w := &c.Work[i]
		if d := c.actions[w.Action]; d != nil && w.Term < d.Term {
			c.find(d.violation(), "a leader of term %d sent it, and one of term %d saved it", w.Term, d.Term)
		}
		if before := of[w.Node]; before != nil && w.Term < before.Term {
			c.find(Violation{Run: c.runOf(w.Action), Node: w.Node, Action: w.Action}, "a leader of term %d had it started at %s, after term %d had been there at %s",
				w.Term, clock(w.Start), before.Term, clock(before.Start))
		}
		of[w.Node] = w
	}
}

// trueStates: what a run says of itself agrees with its nodes, and what a node says with its actions.
func (c *court) trueStates() {
	for i := range c.Runs {
		r := &c.Runs[i]
		counts := map[string]int{}
		for _, n := range c.nodes[r.ID] {
			counts[n.State]++
			c.trueNode(r, n)
		}
		for _, state := range slices.Concat(finalRuns, openNodes, []string{"UNKNOWN", "SKIPPED", "NOT_REACHED", "REMOVED"}) {
			if counts[state] != r.Counts[state] {
				c.find(Violation{Run: r.ID}, "it counts %d nodes as %s, and %d are", r.Counts[state], state, counts[state])
			}
		}
		bad := counts["FAILED"] + counts["UNKNOWN"]
		left := counts["NOT_REACHED"] + counts["CANCELLED"]
		switch {
		case r.State == "DONE" && bad+left > 0:
			c.find(Violation{Run: r.ID}, "it is DONE with nodes %v", counts)
		case r.State == "FAILED" && bad == 0 && (r.Error == nil || r.Error.Code == "max_failures" || r.Error.Code == "nodes_failed"):
			c.find(Violation{Run: r.ID}, "it is FAILED because of failures, with nodes %v", counts)
		}
	}
}

func (c *court) trueNode(r *Run, n *Node) {
	if n.State != "DONE" {
		return
	}
	last := map[[2]string]*Action{}
	for i := range n.Actions {
		last[[2]string{n.Actions[i].Stage, n.Actions[i].Step}] = &n.Actions[i]
	}
	for i := range r.Playbook.Spec.Stages {
		st := &r.Playbook.Spec.Stages[i]
		if !slices.ContainsFunc(n.Stages, func(e NodeStage) bool { return e.Name == st.Name && e.State == "DONE" }) {
			c.find(Violation{Run: r.ID, Node: n.Node}, "it is DONE, and not in stage %s", st.Name)
			continue
		}
		for _, step := range st.Steps {
			if a := last[[2]string{st.Name, step.Name}]; a == nil || a.State != "DONE" {
				c.find(Violation{Run: r.ID, Node: n.Node}, "it is DONE, and step %s of stage %s is not", step.Name, st.Name)
			}
		}
	}
}
