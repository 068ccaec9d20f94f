// Package check judges an installation by what it has left behind when it has come to rest: its primary store, and the
// histories that the agents' commands have written. It shares no code with what it judges, and excuses nothing: what a
// crash may do to a run is in the rules.
package check

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Violation is one broken promise, with what shows it.
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

// rules are all rules by name.
var rules = []struct {
	name  string
	check func(*court)
}{
	{"started once", (*court).startedOnce},
	{"saved before sent", (*court).savedBeforeSent},
	{"once in a step", (*court).onceInAStep},
	{"one command per node", (*court).oneCommandPerNode},
	{"batch", (*court).batch},
	{"stages in order", (*court).stagesInOrder},
	{"exclusive", (*court).exclusive},
	{"max_failures", (*court).maxFailures},
	{"paused", (*court).paused},
	{"asked once", (*court).askedOnce},
	{"told", (*court).told},
	{"ended", (*court).ended},
	{"finished", (*court).finished},
	{"events", (*court).events},
	{"terms", (*court).terms},
	{"true states", (*court).trueStates},
	{"true actions", (*court).trueActions},
}

// Check finds what is wrong.
func Check(evidence Evidence) []Violation {
	c := open(evidence)
	for _, rule := range rules {
		c.rule = rule.name
		rule.check(c)
	}
	return c.found
}

// court is the evidence, in order.
type court struct {
	Evidence
	runs    map[string]*Run
	nodes   map[string][]*Node // by run
	happens map[string][]*Event
	actions map[string]*deed // by action
	work    map[string][]*Work
	rule    string
	found   []Violation
}

// deed is an action with the record that it is in, and what its run's events say of it.
type deed struct {
	*Action
	run  *Run
	node *Node
	// unknown is since when the run went on without knowing how it ended, and settled until when it might still run.
	unknown, settled *time.Time
	retried          bool
}

func open(evidence Evidence) *court {
	c := &court{
		Evidence: evidence, runs: map[string]*Run{}, nodes: map[string][]*Node{}, happens: map[string][]*Event{},
		actions: map[string]*deed{}, work: map[string][]*Work{},
	}
	for i := range c.Runs {
		c.runs[c.Runs[i].ID] = &c.Runs[i]
	}
	for i := range c.Nodes {
		n := &c.Nodes[i]
		c.nodes[n.RunID] = append(c.nodes[n.RunID], n)
		for j := range n.Actions {
			c.actions[n.Actions[j].ID] = &deed{Action: &n.Actions[j], run: c.runs[n.RunID], node: n}
		}
	}
	for i := range c.Events {
		e := &c.Events[i]
		c.happens[e.RunID] = append(c.happens[e.RunID], e)
	}
	for run, events := range c.happens {
		slices.SortStableFunc(events, func(a, b *Event) int { return int(a.Seq - b.Seq) })
		c.happens[run] = events
		for _, e := range events {
			d := c.actions[e.Data.Action]
			if d == nil {
				continue
			}
			switch e.Type {
			case "action.unknown":
				d.unknown = &e.TS
			case "action.settled":
				d.settled = &e.TS
			case "action.retry":
				d.retried = true
			}
		}
	}
	slices.SortStableFunc(c.Work, func(a, b Work) int { return a.Start.Compare(b.Start) })
	for i := range c.Work {
		w := &c.Work[i]
		c.work[w.Action] = append(c.work[w.Action], w)
	}
	return c
}

func (c *court) find(v Violation, format string, args ...any) {
	v.Rule, v.Evidence = c.rule, fmt.Sprintf(format, args...)
	c.found = append(c.found, v)
}

func (d *deed) violation() Violation {
	return Violation{Run: d.node.RunID, Node: d.node.Node, Action: d.ID}
}

func clock(t time.Time) string { return t.UTC().Format("15:04:05.000000") }

func clockOf(t *time.Time) string {
	if t == nil {
		return "never"
	}
	return clock(*t)
}

// Rests tells whether nothing is left to be done for any run.
func (e *Evidence) Rests() bool {
	return !slices.ContainsFunc(e.Runs, func(r Run) bool { return r.FinishTS == nil || !r.Stamped || r.Unsettled > 0 })
}
