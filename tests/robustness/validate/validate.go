// Package validate judges an installation by what it has left when nothing is in flight: its primary store, and what the
// commands of its agents have recorded about themselves. It shares no code with what it judges, and has no exceptions:
// what a crash may do to a run is part of the rules.
package validate

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Violation is one broken promise, with the evidence.
type Violation struct {
	Rule     string `json:"rule"`
	Run      string `json:"run,omitempty"`
	Node     string `json:"node,omitempty"`
	Action   string `json:"action,omitempty"`
	Evidence string `json:"evidence"`
}

func (v Violation) String() string {
	var text strings.Builder
	fmt.Fprintf(&text, "%s:", v.Rule)
	for _, part := range [][2]string{{"run", v.Run}, {"node", v.Node}, {"action", v.Action}} {
		if part[1] != "" {
			fmt.Fprintf(&text, " %s %s", part[0], part[1])
		}
	}
	fmt.Fprintf(&text, ": %s", v.Evidence)
	return text.String()
}

// rules are all rules, by name.
var rules = []struct {
	name  string
	check func(*history)
}{
	{"started once", (*history).startedOnce},
	{"saved before sent", (*history).savedBeforeSent},
	{"attempts", (*history).attempts},
	{"one execution per node", (*history).oneExecutionPerNode},
	{"batches", (*history).batches},
	{"stages in order", (*history).stagesInOrder},
	{"exclusive runs", (*history).exclusiveRuns},
	{"queue order", (*history).queueOrder},
	{"max_failures", (*history).maxFailures},
	{"paused runs", (*history).pausedRuns},
	{"requested once", (*history).requestedOnce},
	{"commands", (*history).commands},
	{"ended", (*history).ended},
	{"finished records", (*history).finishedRecords},
	{"events", (*history).events},
	{"terms", (*history).terms},
	{"states", (*history).states},
	{"results", (*history).results},
	{"hostile payloads", (*history).hostilePayloads},
	{"gentle faults", (*history).gentleFaults},
	{"timeouts", (*history).timeouts},
}

// Validate returns what is wrong.
func Validate(evidence Evidence) []Violation {
	h := newHistory(evidence)
	for _, rule := range rules {
		h.rule = rule.name
		rule.check(h)
	}
	return h.violations
}

// history is the evidence, indexed and in order of time.
type history struct {
	Evidence
	runs       map[string]*Run
	nodesOf    map[string][]*Node      // by run
	eventsOf   map[string][]*Event     // by run
	actions    map[string]*action      // by ID
	executions map[string][]*Execution // by action
	rule       string
	violations []Violation
}

// action is an action with the record that contains it, and what the events of its run say about it.
type action struct {
	*Action
	run  *Run
	node *Node
	// unknown is since when the run continued without knowing how the action ended; settled is until when it may have run.
	unknown, settled *time.Time
	retried          bool
}

func newHistory(evidence Evidence) *history {
	for i := range evidence.Events {
		evidence.Events[i].Says = evidence.Events[i].TS
	}
	evidence.translate()
	h := &history{
		Evidence: evidence, runs: map[string]*Run{}, nodesOf: map[string][]*Node{}, eventsOf: map[string][]*Event{},
		actions: map[string]*action{}, executions: map[string][]*Execution{},
	}
	for i := range h.Runs {
		h.runs[h.Runs[i].ID] = &h.Runs[i]
	}
	for i := range h.Nodes {
		n := &h.Nodes[i]
		h.nodesOf[n.RunID] = append(h.nodesOf[n.RunID], n)
		for j := range n.Actions {
			h.actions[n.Actions[j].ID] = &action{Action: &n.Actions[j], run: h.runs[n.RunID], node: n}
		}
	}
	for i := range h.Events {
		e := &h.Events[i]
		h.eventsOf[e.RunID] = append(h.eventsOf[e.RunID], e)
	}
	for _, events := range h.eventsOf {
		slices.SortStableFunc(events, func(a, b *Event) int { return int(a.Seq - b.Seq) })
		for _, e := range events {
			a := h.actions[e.Data.Action]
			if a == nil {
				continue
			}
			switch e.Type {
			case "action.unknown":
				a.unknown = &e.TS
			case "action.settled":
				a.settled = &e.TS
			case "action.retry":
				a.retried = true
			}
		}
	}
	slices.SortStableFunc(h.Executions, func(a, b Execution) int { return a.Start.Compare(b.Start) })
	for i := range h.Executions {
		x := &h.Executions[i]
		h.executions[x.Action] = append(h.executions[x.Action], x)
	}
	return h
}

func (h *history) report(v Violation, format string, args ...any) {
	v.Rule, v.Evidence = h.rule, fmt.Sprintf(format, args...)
	h.violations = append(h.violations, v)
}

func (a *action) violation() Violation {
	return Violation{Run: a.node.RunID, Node: a.node.Node, Action: a.ID}
}

func clock(t time.Time) string { return t.UTC().Format("15:04:05.000000") }

func clockOf(t *time.Time) string {
	if t == nil {
		return "never"
	}
	return clock(*t)
}

// Settled reports whether no run needs a leader: all are finished, and their records are stamped.
func (e *Evidence) Settled() bool {
	return !slices.ContainsFunc(e.Runs, func(r Run) bool { return r.FinishTS == nil || !r.Stamped })
}
