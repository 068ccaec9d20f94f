package playbook

import (
	"strings"

	"github.com/replicante-io/playbooks/internal/yamltree"
)

// step reads a step of a stage. Names maps the names of the steps before it to their lines.
func (w *walk) step(v yamltree.Value, index int, names map[string]int, health *Health) Step {
	s := Step{}
	o, ok := w.Object(v, stepKeys)
	if !ok {
		return s
	}
	defer o.End()
	s.Name = w.name(o.Get("name"), names)
	s.Action = w.action(o.Get("action"))
	if v := o.Get("args"); v.Given() {
		s.Args = w.template(v, index)
	}
	s.When = w.expr(o.Get("when"), wantBool, index)
	s.Expect = w.expr(o.Get("expect"), wantExpect, index)
	s.Timeout = o.Duration("timeout")
	s.Retry = w.retry(o.Get("retry"))
	s.OnUnknown = choice[OnUnknown](o, "on_unknown")
	if s.OnUnknown == UnknownHealth && health == nil {
		w.Add(o.Get("on_unknown"), yamltree.CodeBadValue, "health requires a health check, but the stage has health: none")
	}
	return s
}

func (w *walk) action(v yamltree.Value) string {
	text, ok := w.String(v, maxLine)
	switch {
	case !ok:
	case strings.Contains(text, "${"):
		w.Add(v, yamltree.CodeBadValue, "cannot contain an expression; to choose between actions, write several steps with when")
	case !actionKind.MatchString(text):
		w.Add(v, yamltree.CodeBadValue, "%s is not a valid action; write for example external.agent.replicante.io/restart", yamltree.Quote(text))
	}
	return text
}

func (w *walk) retry(v yamltree.Value) Retry {
	o := w.defaults(retryKeys)
	if v.Given() {
		o, _ = w.Object(v, retryKeys)
		defer o.End()
	}
	retry := Retry{Attempts: o.Int("attempts"), Backoff: o.Duration("backoff"), MaxBackoff: o.Duration("max_backoff")}
	if !o.Given("max_backoff") {
		retry.MaxBackoff = max(retry.MaxBackoff, retry.Backoff)
	}
	if retry.MaxBackoff < retry.Backoff {
		w.Add(o.Key("max_backoff"), yamltree.CodeBadValue, "must be at least the backoff (%s)", yamltree.FormatDuration(retry.Backoff))
	}
	return retry
}
