package check

import (
	"cmp"
	"slices"
	"time"
)

// neverStarted are the codes of actions whose commands cannot have run.
var neverStarted = []string{"never_started", "unreachable", "rejected"}

// neverStartedFree bounds how many attempts that an agent had only queued cost nothing.
const neverStartedFree = 13

// unknownAttempts is how often on_unknown: retry tries where a playbook names no number.
const unknownAttempts = 3

func (c *court) startedOnce() {
	for id, works := range c.work {
		for _, w := range works[1:] {
			c.find(Violation{Run: c.runOf(id), Node: w.Node, Action: id}, "it was started at %s on %s and again at %s on %s",
				clock(works[0].Start), works[0].Node, clock(w.Start), w.Node)
		}
	}
}

func (c *court) runOf(action string) string {
	if d := c.actions[action]; d != nil {
		return d.node.RunID
	}
	return ""
}

func (c *court) savedBeforeSent() {
	for i := range c.Work {
		w := &c.Work[i]
		d := c.actions[w.Action]
		switch {
		case d == nil:
			c.find(Violation{Node: w.Node, Action: w.Action}, "it was started at %s by a leader of term %d, and no record knows it", clock(w.Start), w.Term)
		case d.node.Node != w.Node:
			c.find(d.violation(), "it was started on %s", w.Node)
		case w.Start.Before(d.StartTS):
			c.find(d.violation(), "it was started at %s and decided on at %s", clock(w.Start), clock(d.StartTS))
		}
	}
}

// onceInAStep wants a recorded reason for every attempt but the first, and the one before to be over.
func (c *court) onceInAStep() {
	type place struct{ stage, step string }
	for i := range c.Nodes {
		n := &c.Nodes[i]
		attempts := map[place][]*deed{}
		for j := range n.Actions {
			at := place{n.Actions[j].Stage, n.Actions[j].Step}
			attempts[at] = append(attempts[at], c.actions[n.Actions[j].ID])
		}
		for at, deeds := range attempts {
			var step *StepSpec
			if run := c.runs[n.RunID]; run != nil {
				_, step = run.step(at.stage, at.step)
			}
			if step == nil {
				c.find(deeds[0].violation(), "the run's playbook has no step %s in a stage %s", at.step, at.stage)
				continue
			}
			c.attempts(deeds, step)
		}
	}
}

func (c *court) attempts(deeds []*deed, step *StepSpec) {
	slices.SortStableFunc(deeds, func(a, b *deed) int { return cmp.Compare(a.Attempt, b.Attempt) })
	counted, unknown, free := 0, 0, 0
	for i, d := range deeds {
		if d.Attempt != i+1 {
			c.find(d.violation(), "attempt %d of step %s is the record's number %d", d.Attempt, d.Step, i+1)
		}
		if i > 0 {
			c.again(deeds[i-1], d, step)
		}
		switch {
		case d.code() == "never_started":
			free++
		case d.State == "UNKNOWN":
			counted, unknown = counted+1, unknown+1
		default:
			counted++
		}
	}
	allowed := max(1, step.Retry.Attempts)
	if allowed == 1 && step.OnUnknown == "retry" {
		allowed = 1 + min(unknown, unknownAttempts-1)
	}
	if last := deeds[len(deeds)-1]; counted > allowed || free > neverStartedFree {
		c.find(last.violation(), "step %s was tried %d times of %d, besides %d that were only queued", last.Step, counted, allowed, free)
	}
}

// again looks at one attempt after another.
func (c *court) again(before, d *deed, step *StepSpec) {
	switch {
	case before.State != "FAILED" && before.State != "UNKNOWN" || before.code() == "":
		c.find(d.violation(), "step %s was tried again after attempt %d, which is %s without a reason", d.Step, before.Attempt, before.State)
	case !before.retried:
		c.find(d.violation(), "step %s was tried again, and no event says that attempt %d (%s) was to be", d.Step, before.Attempt, before.code())
	case before.State == "UNKNOWN" && step.OnUnknown != "retry":
		c.find(d.violation(), "step %s was tried again although nobody knows how attempt %d ended", d.Step, before.Attempt)
	case before.FinishTS == nil || before.FinishTS.After(d.StartTS):
		c.find(d.violation(), "step %s was tried again at %s; attempt %d ended at %s", d.Step, clock(d.StartTS), before.Attempt, clockOf(before.FinishTS))
	}
	for _, w := range c.work[d.ID] {
		for _, earlier := range c.work[before.ID] {
			if earlier.Start.After(w.Start) || earlier.End != nil && earlier.End.After(w.Start) {
				c.find(d.violation(), "it was started at %s; attempt %d ran from %s to %s", clock(w.Start), before.Attempt, clock(earlier.Start), clockOf(earlier.End))
			}
		}
	}
}

// oneCommandPerNode holds across runs, and also for what nobody waits for any more.
func (c *court) oneCommandPerNode() {
	last := map[string]*Work{}
	for i := range c.Work {
		w := &c.Work[i]
		before := last[w.Node]
		if before != nil && before.End != nil && before.End.After(w.Start) {
			c.find(Violation{Run: c.runOf(w.Action), Node: w.Node, Action: w.Action}, "it was started at %s; action %s of run %s was at work until %s",
				clock(w.Start), before.Action, c.runOf(before.Action), clock(*before.End))
		}
		if before == nil || before.End == nil || w.End != nil && w.End.After(*before.End) {
			last[w.Node] = w
		}
	}
	for _, d := range c.actions {
		if d.unknown == nil || d.settled == nil && !d.Unsettled {
			continue
		}
		for i := range c.Work {
			w := &c.Work[i]
			if w.Node == d.node.Node && w.Action != d.ID && w.Start.After(*d.unknown) && (d.settled == nil || w.Start.Before(*d.settled)) {
				c.find(Violation{Run: c.runOf(w.Action), Node: w.Node, Action: w.Action}, "it was started at %s, while action %s of run %s might still have run, from %s to %s",
					clock(w.Start), d.ID, d.node.RunID, clock(*d.unknown), clockOf(d.settled))
			}
		}
	}
}

// trueActions holds what records say of commands against what the commands say.
func (c *court) trueActions() {
	for _, d := range c.actions {
		works := c.work[d.ID]
		ended := func(well bool) bool {
			return slices.ContainsFunc(works, func(w *Work) bool { return w.End != nil && (w.Code == 0) == well })
		}
		switch {
		case d.State == "DONE" && !ended(true):
			c.find(d.violation(), "it is DONE, and its command did not end well: %s", told(works))
		case d.State == "FAILED" && d.code() == "exit" && !ended(false):
			c.find(d.violation(), "its command is recorded as failed, and did not: %s", told(works))
		case slices.Contains(neverStarted, d.code()) && len(works) > 0:
			c.find(d.violation(), "its end is recorded as %s, and it was started: %s", d.code(), told(works))
		}
	}
}

func told(works []*Work) string {
	if len(works) == 0 {
		return "it never ran"
	}
	w := works[0]
	if w.End == nil {
		return "it ran from " + clock(w.Start) + " and was killed"
	}
	return "it ran from " + clock(w.Start) + " for " + w.End.Sub(w.Start).Round(time.Millisecond).String()
}
