package api

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/replicante-io/playbooks/record"
)

// withText is an error with its text. Records that are read may be shared: they are not changed.
func withText(e *record.Error) *record.Error {
	if e == nil || e.Message != "" {
		return e
	}
	text := *e
	text.Message = nodeErrorText(e)
	return &text
}

func waitWithText(w *record.Wait) *record.Wait {
	if w == nil || w.Message != "" {
		return w
	}
	text := *w
	text.Message = waitText(w)
	if w.For == record.WaitGate {
		text.Data = namedWithTexts(w.Data)
	}
	return &text
}

// namedWithTexts is the data of a health gate where each node that is named has the text of why it is not healthy, as message.
func namedWithTexts(data record.Document) record.Document {
	named, _ := data["named"].([]any)
	if len(named) == 0 {
		return data
	}
	texts := make([]any, len(named))
	for i, item := range named {
		one, _ := item.(map[string]any)
		text := maps.Clone(one)
		if why := values(one).nested("error"); why != "" {
			text["message"] = why
		}
		texts[i] = text
	}
	data = maps.Clone(data)
	data["named"] = texts
	return data
}

// runWithTexts is a run with the texts for people.
func runWithTexts(run record.Run) record.Run {
	run.Error, run.Waiting = withText(run.Error), waitWithText(run.Waiting)
	run.Stages = slices.Clone(run.Stages)
	for i := range run.Stages {
		st := &run.Stages[i]
		st.Error, st.Waiting = withText(st.Error), waitWithText(st.Waiting)
		st.Groups = slices.Clone(st.Groups)
		for j := range st.Groups {
			st.Groups[j].Waiting = waitWithText(st.Groups[j].Waiting)
		}
	}
	return run
}

// planWithTexts is a plan with the texts for people.
func planWithTexts(plan record.Plan) record.Plan {
	plan.Error = withText(plan.Error)
	plan.Stages = slices.Clone(plan.Stages)
	for i := range plan.Stages {
		st := &plan.Stages[i]
		st.Error = withText(st.Error)
		if st.Guard != nil && st.Guard.Error != nil {
			guard := *st.Guard
			guard.Error = withText(guard.Error)
			st.Guard = &guard
		}
	}
	plan.Undecided = slices.Clone(plan.Undecided)
	for i := range plan.Undecided {
		plan.Undecided[i].Error = withText(plan.Undecided[i].Error)
	}
	return plan
}

// nodeWithTexts is a node record with the texts for people.
func nodeWithTexts(n record.RunNode) record.RunNode {
	n.Error = withText(n.Error)
	n.Stages = slices.Clone(n.Stages)
	for i := range n.Stages {
		n.Stages[i].Reason, n.Stages[i].Waiting = nodeErrorText(n.Stages[i].Cause), waitWithText(n.Stages[i].Waiting)
	}
	n.Actions = slices.Clone(n.Actions)
	for i := range n.Actions {
		if e := n.Actions[i].Error; e != nil {
			n.Actions[i].Error = &record.Error{Code: e.Code, Message: errorText(e), Data: e.Data}
		}
	}
	if n.Before != nil {
		before := *n.Before
		before.Reason = nodeErrorText(before.Cause)
		n.Before = &before
	}
	n.History = slices.Clone(n.History)
	for i := range n.History {
		n.History[i].Reason = nodeErrorText(n.History[i].Cause)
	}
	return n
}

// eventWithText is an event whose data has the text for people, as message.
func eventWithText(e record.Event) record.Event {
	v := values(e.Data)
	about, _ := v["about"].(map[string]any)
	message := ""
	switch {
	case v.text("message") != "":
		return e
	case e.Type == record.EventRunWaiting && v.text("for") != "":
		wait := &record.Wait{For: record.WaitReason(v.text("for")), Stage: e.Stage, Node: e.Node, Data: about}
		wait.Since, _ = time.Parse(time.RFC3339Nano, v.text("since"))
		if until, err := time.Parse(time.RFC3339Nano, v.text("until")); err == nil {
			wait.Until = &until
		}
		message = waitText(wait)
	case e.Type == record.EventRunRollbackFailed:
		message = rollbackText(v)
	case v.text("code") != "":
		failure := &record.Error{Code: v.text("code"), Data: about}
		if message = nodeErrorText(failure); e.Step != "" { // it is named beside the text
			message = errorText(failure)
		}
	default:
		return e
	}
	data := make(record.Document, len(e.Data)+1)
	for key, value := range e.Data {
		data[key] = value
	}
	data["message"] = message
	e.Data = data
	return e
}

// withTexts are items with the texts for people.
func withTexts[T any](items []T, text func(T) T) []T {
	out := make([]T, len(items))
	for i := range items {
		out[i] = text(items[i])
	}
	return out
}

// rollbackText says which nodes could not be rolled back, and why, of the first ones.
func rollbackText(v values) string {
	named, _ := v["named"].([]any)
	var reasons []string
	for _, item := range named {
		one, _ := item.(map[string]any)
		reasons = append(reasons, values(one).text("node")+" ("+values(one).nested("error")+")")
	}
	if more := v.number("failed") - int64(len(named)); more > 0 {
		reasons = append(reasons, plural(more, "more node"))
	}
	return strings.Join(reasons, ", ")
}
