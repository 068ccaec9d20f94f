package playbook

import (
	"regexp"
	"strings"
	"time"

	"github.com/replicante-io/playbooks/internal/yamltree"
)

const (
	defaultTimeout = 10 * time.Minute
	maxAttempts    = 100
)

var defaultRetry = Retry{Attempts: 1, Backoff: 5 * time.Second, MaxBackoff: time.Minute}

// step reads a step of a stage. Names maps the names of the steps before it to their lines.
func (w *walk) step(v yamltree.Value, index int, names map[string]int, health *Health) Step {
	s := Step{Timeout: defaultTimeout, Retry: defaultRetry, OnUnknown: UnknownFail}
	o, ok := w.Object(v)
	if !ok {
		return s
	}
	defer o.End(renamed)
	s.Name = w.name(o.Need("name", "a step needs a name"), names)
	s.Action = w.action(o.Need("action", "a step needs an action"))
	if v := o.Get("args"); v.Given() {
		s.Args = w.template(v, index)
	}
	s.When = w.expr(o.Get("when"), wantBool, index)
	s.Expect = w.expr(o.Get("expect"), wantExpect, index)
	s.Timeout = w.duration(o.Get("timeout"), minDuration, defaultTimeout)
	if v := o.Get("retry"); v.Given() {
		s.Retry = w.retry(v)
	}
	if v := o.Get("on_unknown"); v.Given() {
		s.OnUnknown, _ = yamltree.Choice(w.Reader, v, UnknownFail, UnknownRetry, UnknownHealth)
		if s.OnUnknown == UnknownHealth && health == nil {
			w.Add(v, yamltree.CodeBadValue, "health requires a health check, but the stage has health: none")
		}
	}
	return s
}

// actionKind is what an action may be called. It is wide because agents written by others choose their own names.
var actionKind = regexp.MustCompile(`^[!-~]+$`)

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
	retry := defaultRetry
	o, ok := w.Object(v)
	if !ok {
		return retry
	}
	defer o.End(renamed)
	if v := o.Get("attempts"); v.Given() {
		retry.Attempts, _ = w.Int(v, 1, maxAttempts)
	}
	retry.Backoff = w.duration(o.Get("backoff"), 0, defaultRetry.Backoff)
	retry.MaxBackoff = w.duration(o.Get("max_backoff"), 0, max(defaultRetry.MaxBackoff, retry.Backoff))
	if retry.MaxBackoff < retry.Backoff {
		w.Add(o.Key("max_backoff"), yamltree.CodeBadValue, "must be at least the backoff (%s)", yamltree.FormatDuration(retry.Backoff))
	}
	return retry
}
