package playbook

import (
	"slices"
	"strings"
	"time"

	"cel.dev/cel-go/common/ast"

	"github.com/replicante-io/playbooks/internal/yamltree"
)

// Approval says that an operator must approve first.
type Approval struct {
	Message   *Message      // nil: none
	Timeout   time.Duration // 0: it is waited for without end
	OnTimeout ApprovalTimeout
}

// The kinds of approval that are written as one word.
const (
	approvalNone     = "none"
	approvalRequired = "required"
)

// ApprovalTimeout says what happens when nobody approves or rejects in time.
type ApprovalTimeout string

// What may happen then.
const (
	TimeoutReject  ApprovalTimeout = "reject"
	TimeoutApprove ApprovalTimeout = "approve"
)

// Message is a text for people that may contain ${expressions} over params and run.
type Message struct {
	source string
	parts  part
}

// Text is the message. One whose expressions cannot be evaluated is as it was written.
func (m *Message) Text(v Vars) string {
	if m == nil {
		return ""
	}
	left := maxValue
	resolved, err := m.parts.resolve(v, &left)
	if err != nil {
		return m.source
	}
	text, ok := resolved.(string)
	if !ok {
		if text, err = encode(resolved); err != nil {
			return m.source
		}
	}
	if runes := []rune(text); len(runes) > maxDescription {
		text = string(runes[:maxDescription-1]) + "…"
	}
	return text
}

// approval reads an approval: none, required, or a mapping. Nil is none. Stage is the index of the stage, -1 for the run's.
func (w *walk) approval(o *object, stage int) *Approval {
	v := o.Get("approval")
	switch {
	case !v.Given():
		return nil
	case !v.IsMapping():
		if v.IsString() && !slices.Contains([]string{approvalNone, approvalRequired}, v.Text()) && strings.ContainsAny(v.Text(), " $") {
			w.Add(v, yamltree.CodeBadValue, "must be none, required, or a mapping; for a message write {message: …}")
			return nil
		}
		if choice[string](o, "approval") != approvalRequired {
			return nil
		}
		return &Approval{OnTimeout: TimeoutReject}
	}
	m, _ := w.Object(v, approvalKeys)
	defer m.End()
	a := &Approval{Timeout: m.Duration("timeout"), OnTimeout: choice[ApprovalTimeout](m, "on_timeout")}
	if v := m.Get("message"); v.Given() {
		a.Message = w.message(v, stage)
	}
	if v := m.Get("on_timeout"); v.Given() && !m.Given("timeout") {
		w.Add(v, yamltree.CodeBadValue, "has no effect without a timeout; add one, such as timeout: 1h")
	}
	return a
}

func (w *walk) message(v yamltree.Value, stage int) *Message {
	text, ok := w.String(v, maxDescription)
	if !ok {
		return nil
	}
	if !strings.Contains(text, "${") {
		return &Message{text, literal{text}}
	}
	return &Message{text, w.textPart(v, stage, &Template{kind: wantMessage})}
}

// beyondMessage finds what an expression of a message mentions and does not see: facts would be others when a person reads it.
func beyondMessage(text string, checked *ast.AST) []issue {
	var issues []issue
	ast.PostOrderVisit(checked.Expr(), ast.NewExprVisitor(func(x ast.Expr) {
		if x.Kind() == ast.IdentKind && (x.AsIdent() == "nodes" || x.AsIdent() == "results") {
			place := checked.SourceInfo().GetStartLocation(x.ID())
			issues = append(issues, issue{character(text, place), codeBadExpression, "the message of an approval sees params and run only, not " + x.AsIdent()})
		}
	}))
	return issues
}
