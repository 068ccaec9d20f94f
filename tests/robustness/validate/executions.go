package validate

import (
	"cmp"
	"slices"
	"time"
)

// neverStarted are the codes of actions whose commands cannot have been executed.
var neverStarted = []string{"never_started", "unreachable", "rejected"}

// maxNeverStarted bounds the attempts that an agent had only queued, which cost nothing.
const maxNeverStarted = 13

// unknownAttempts bounds on_unknown: retry where a playbook has no attempts.
const unknownAttempts = 3

func (h *history) startedOnce() {
	for id, executions := range h.executions {
		for _, x := range executions[1:] {
			h.report(Violation{Run: h.runOf(id), Node: x.Node, Action: id}, "it was started at %s on %s and again at %s on %s",
				clock(executions[0].Start), executions[0].Node, clock(x.Start), x.Node)
		}
	}
}

func (h *history) runOf(id string) string {
	if a := h.actions[id]; a != nil {
		return a.node.RunID
	}
	return ""
}

func (h *history) savedBeforeSent() {
	for i := range h.Executions {
		x := &h.Executions[i]
		a := h.actions[x.Action]
		switch {
		case a == nil:
			h.report(Violation{Node: x.Node, Action: x.Action}, "it was started at %s by a leader of term %d, and no record contains it", clock(x.Start), x.Term)
		case a.node.Node != x.Node:
			h.report(a.violation(), "it was started on %s", x.Node)
		case x.Start.Before(a.StartTS):
			h.report(a.violation(), "it was started at %s and saved at %s", clock(x.Start), clock(a.StartTS))
		}
	}
}

// attempts: every attempt but the first has a recorded reason, and the one before it has ended.
func (h *history) attempts() {
	type place struct{ stage, step string }
	for i := range h.Nodes {
		n := &h.Nodes[i]
		attempts := map[place][]*action{}
		for j := range n.Actions {
			at := place{n.Actions[j].Stage, n.Actions[j].Step}
			attempts[at] = append(attempts[at], h.actions[n.Actions[j].ID])
		}
		for at, actions := range attempts {
			var step *StepSpec
			if run := h.runs[n.RunID]; run != nil {
				_, step = run.step(at.stage, at.step)
			}
			if step == nil {
				h.report(actions[0].violation(), "the run's playbook has no step %s in a stage %s", at.step, at.stage)
				continue
			}
			h.attemptsOf(actions, step)
		}
	}
}

func (h *history) attemptsOf(actions []*action, step *StepSpec) {
	slices.SortStableFunc(actions, func(a, b *action) int { return cmp.Compare(a.Attempt, b.Attempt) })
	counted, unknown, queued := 0, 0, 0
	for i, a := range actions {
		if a.Attempt != i+1 {
			h.report(a.violation(), "attempt %d of step %s is number %d in the record", a.Attempt, a.Step, i+1)
		}
		if i > 0 {
			h.nextAttempt(actions[i-1], a, step)
		}
		switch {
		case a.code() == "never_started":
			queued++
		case a.State == "UNKNOWN":
			counted, unknown = counted+1, unknown+1
		default:
			counted++
		}
	}
	allowed := max(1, step.Retry.Attempts)
	if allowed == 1 && step.OnUnknown == "retry" {
		allowed = 1 + min(unknown, unknownAttempts-1)
	}
	if last := actions[len(actions)-1]; counted > allowed || queued > maxNeverStarted {
		h.report(last.violation(), "step %s had %d attempts of %d, and %d that were only queued", last.Step, counted, allowed, queued)
	}
}

// nextAttempt judges an attempt by the one before it.
func (h *history) nextAttempt(before, a *action, step *StepSpec) {
	switch {
	case before.State != "FAILED" && before.State != "UNKNOWN" || before.code() == "":
		h.report(a.violation(), "step %s was tried again after attempt %d, which is %s without a reason", a.Step, before.Attempt, before.State)
	case !before.retried:
		h.report(a.violation(), "step %s was tried again, and no event announces it for attempt %d (%s)", a.Step, before.Attempt, before.code())
	case before.State == "UNKNOWN" && step.OnUnknown != "retry":
		h.report(a.violation(), "step %s was tried again although it is not known how attempt %d ended", a.Step, before.Attempt)
	case before.FinishTS == nil || before.FinishTS.After(a.StartTS):
		h.report(a.violation(), "step %s was tried again at %s; attempt %d ended at %s", a.Step, clock(a.StartTS), before.Attempt, clockOf(before.FinishTS))
	}
	for _, x := range h.executions[a.ID] {
		for _, earlier := range h.executions[before.ID] {
			if earlier.Start.After(x.Start) || earlier.End != nil && earlier.End.After(x.Start) {
				h.report(a.violation(), "it was started at %s; attempt %d ran from %s to %s", clock(x.Start), before.Attempt, clock(earlier.Start), clockOf(earlier.End))
			}
		}
	}
}

// oneExecutionPerNode holds across runs, and for actions that their run no longer waits for.
func (h *history) oneExecutionPerNode() {
	last := map[string]*Execution{}
	for i := range h.Executions {
		x := &h.Executions[i]
		before := last[x.Node]
		if before != nil && before.End != nil && before.End.After(x.Start) {
			h.report(Violation{Run: h.runOf(x.Action), Node: x.Node, Action: x.Action}, "it was started at %s; action %s of run %s ran until %s",
				clock(x.Start), before.Action, h.runOf(before.Action), clock(*before.End))
		}
		if before == nil || before.End == nil || x.End != nil && x.End.After(*before.End) {
			last[x.Node] = x
		}
	}
	for _, a := range h.actions {
		if a.unknown == nil || a.settled == nil && !a.Unsettled {
			continue
		}
		for i := range h.Executions {
			x := &h.Executions[i]
			if x.Node == a.node.Node && x.Action != a.ID && x.Start.After(*a.unknown) && (a.settled == nil || x.Start.Before(*a.settled)) {
				h.report(Violation{Run: h.runOf(x.Action), Node: x.Node, Action: x.Action}, "it was started at %s, while action %s of run %s may have been running, from %s to %s",
					clock(x.Start), a.ID, a.node.RunID, clock(*a.unknown), clockOf(a.settled))
			}
		}
	}
}

// results: what records say about the end of commands is what the commands recorded.
func (h *history) results() {
	for _, a := range h.actions {
		executions := h.executions[a.ID]
		ended := func(success bool) bool {
			return slices.ContainsFunc(executions, func(x *Execution) bool { return x.End != nil && (x.Code == 0) == success })
		}
		switch {
		case a.State == "DONE" && !ended(true):
			h.report(a.violation(), "it is DONE, and its command did not succeed: %s", describe(executions))
		case a.State == "FAILED" && a.code() == "exit" && !ended(false):
			h.report(a.violation(), "its command is recorded as failed, and did not fail: %s", describe(executions))
		case slices.Contains(neverStarted, a.code()) && len(executions) > 0:
			h.report(a.violation(), "its end is recorded as %s, and it was started: %s", a.code(), describe(executions))
		}
	}
}

func describe(executions []*Execution) string {
	if len(executions) == 0 {
		return "it never ran"
	}
	x := executions[0]
	if x.End == nil {
		return "it ran from " + clock(x.Start) + " and was killed"
	}
	return "it ran from " + clock(x.Start) + " for " + x.End.Sub(x.Start).Round(time.Millisecond).String()
}
