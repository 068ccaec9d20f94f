package policy

import (
	"errors"
	"strings"

	"github.com/replicante-io/playbooks/playbook"
	"github.com/replicante-io/playbooks/record"
)

const (
	// maxExplainSteps bounds what is spent on explaining why the nodes of one gate are not healthy, in steps of expressions.
	maxExplainSteps = 2_000_000
	// maxReasonText bounds a status_reason in the data of an error, in bytes.
	maxReasonText = 300
)

// unmet is why a node does not count as healthy.
type unmet struct {
	cause *record.Error // where no part of a check is concerned

	part *playbook.CheckPart // the first that is false or, where none is, that cannot be decided
	also []string            // the names of the others that are false
	err  error               // why part cannot be decided; nil: it is false
}

// verdict is what a part of a check came to, on facts.
type verdict struct {
	holds bool
	err   error
}

// ofCluster reports whether it is the same for every node.
func (u *unmet) ofCluster() bool { return u.part != nil && !u.part.MentionsNode() }

// unmetCheck is why the check does not hold for n on what was seen; nil when it does. A part that is false comes before one that cannot
// be decided, as in &&.
func (p *Plan) unmetCheck(check *playbook.Check, n *node, seen *facts) *unmet {
	vars := p.vars(n, seen)
	var u *unmet
	for i := range check.Parts {
		part := &check.Parts[i]
		v := seen.verdict(part, vars)
		switch {
		case v.err != nil && u == nil:
			u = &unmet{part: part, err: v.err}
		case v.err != nil || v.holds:
		case u == nil || u.err != nil:
			u = &unmet{part: part}
		default:
			u.also = append(u.also, part.Name)
		}
	}
	return u
}

// verdict evaluates a part of a check. One that is the same for every node is evaluated once.
func (f *facts) verdict(part *playbook.CheckPart, vars playbook.Vars) verdict {
	if known, ok := f.verdicts[part]; ok {
		return known
	}
	v := verdict{}
	v.holds, v.err = part.Bool(vars)
	if !part.MentionsNode() {
		if f.verdicts == nil {
			f.verdicts = map[*playbook.CheckPart]verdict{}
		}
		f.verdicts[part] = v
	}
	return v
}

// explain is the error of a node that does not count as healthy. It names the node only where the node's own facts are why: a check
// that is false because of other nodes names those. Left bounds the steps of all explanations that share it.
func (p *Plan) explain(u *unmet, n *node, seen *facts, left *int) *record.Error {
	if u.cause != nil {
		return u.cause
	}
	key := explained{u.part, strings.Join(u.also, " ")}
	if known := seen.explained[key]; known != nil && u.ofCluster() {
		return known
	}
	data := record.Document{"check": u.part.String()}
	if u.part.Name != "" {
		data["part"] = u.part.Name
	}
	if len(u.also) > 0 {
		also := make([]any, len(u.also))
		for i, name := range u.also {
			also[i] = name
		}
		data["also_false"] = also
	}
	why := u.part.Explain(p.vars(n, seen), left)
	if values := readings(why.Readings); len(values) > 0 {
		data["values"] = values
	}
	code, nodes := record.CauseCheckFalse, "false_for"
	if u.err != nil {
		data["what"], data["error"] = "check", u.err.Error()
		if code, nodes = record.CodeExpression, "undecided_for"; errors.Is(u.err, playbook.ErrAbsent) {
			code = record.CodeFactsAbsent
		}
	}
	if len(why.Nodes) > 0 {
		data[nodes], data[nodes+"_total"] = concerned(why.Nodes, seen), int64(why.NodeCount)
	} else if u.part.MentionsNode() {
		data["node"] = n.rec.Node
		addStatus(data, seen.of(n.rec.Node))
	}
	err := &record.Error{Code: code, Data: data}
	if u.ofCluster() {
		if seen.explained == nil {
			seen.explained = map[explained]*record.Error{}
		}
		seen.explained[key] = err
	}
	return err
}

// explained is what the error of a part is made of that is the same for every node.
type explained struct {
	part *playbook.CheckPart
	also string
}

// readings are values that an expression read, as data.
func readings(list []playbook.Reading) []any {
	values := make([]any, len(list))
	for i, r := range list {
		values[i] = map[string]any{"name": r.Name, "value": r.Value}
	}
	return values
}

// concerned are the nodes that decided a check over nodes, as data.
func concerned(nodes []playbook.NodeReadings, seen *facts) []any {
	list := make([]any, len(nodes))
	for i, n := range nodes {
		one := record.Document{"node": n.Node, "values": readings(n.Readings)}
		addStatus(one, seen.of(n.Node))
		list[i] = map[string]any(one)
	}
	return list
}

// addStatus adds to data how a node is, with the reason that its agent gave.
func addStatus(data record.Document, fact *record.Node) {
	if fact == nil || fact.Status == "" {
		return
	}
	data["status"] = string(fact.Status)
	if fact.StatusReason != "" {
		data["status_reason"] = record.CleanText(fact.StatusReason, maxReasonText)
	}
}

// statusCause says that a node is as it is.
func statusCause(fact *record.Node) *record.Error {
	data := record.Document{}
	addStatus(data, fact)
	return &record.Error{Code: record.CauseStatus, Data: data}
}
