package playbook

import (
	"regexp"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/replicante-io/playbooks/internal/yamltree"
)

// The defaults of a stage and its steps.
const (
	defaultTimeout        = 10 * time.Minute
	defaultBackoff        = 5 * time.Second
	defaultMaxBackoff     = time.Minute
	defaultHealthTimeout  = 2 * time.Minute
	defaultHealthInterval = 2 * time.Second

	minDuration = time.Millisecond // the precision of stored times
	maxAttempts = 100
)

// stage reads a stage. Names maps the names of the stages before it to their lines.
func (w *walk) stage(n *yaml.Node, path string, index int, names map[string]int) Stage {
	s := Stage{Batch: []Amount{{Count: 1}}, OnFailure: FailureAbort, Approval: ApprovalNone}
	o, ok := w.Object(n, path)
	if !ok {
		return s
	}
	defer o.End(renamed)
	s.Name = w.name(o.Need("name", "a stage needs a name"), o.At("name"), names)
	s.Targets = w.expr(o.Get("targets"), o.At("targets"), wantBool, index)
	s.OrderBy = w.expr(o.Get("order_by"), o.At("order_by"), wantComparable, index)
	if n := o.Get("groups"); n != nil {
		s.Groups = w.groups(n, o.At("groups"), index)
		w.unsupportedKey(o, "groups")
	}
	if n := o.Get("pick"); n != nil {
		s.Pick, _ = w.Int(n, o.At("pick"), 1, maxCount)
		w.unsupportedKey(o, "pick")
	}
	if s.AllowEmpty, _ = w.Bool(o.Get("allow_empty"), o.At("allow_empty")); s.AllowEmpty {
		w.unsupportedKey(o, "allow_empty")
	}
	if n := o.Get("batch"); n != nil {
		s.Batch = w.batch(n, o.At("batch"))
	}
	if n := o.Get("max_failures"); n != nil {
		s.MaxFailures, _ = w.amount(n, o.At("max_failures"), 0)
	}
	if n := o.Get("max_unavailable"); n != nil {
		if limit, ok := w.amount(n, o.At("max_unavailable"), 0); ok {
			s.MaxUnavailable = &limit
		}
		w.unsupportedKey(o, "max_unavailable")
	}
	if n := o.Get("guard"); n != nil {
		s.Guard = w.expr(n, o.At("guard"), wantGuard, index)
		w.unsupportedKey(o, "guard")
	}
	s.Approval = w.approval(o)
	s.Health = w.health(o.Get("health"), o.At("health"), index)
	steps := map[string]int{}
	w.List(o.Need("steps", "a stage needs at least one step"), o.At("steps"), maxSteps, "steps",
		func(_ int, n *yaml.Node, path string) {
			s.Steps = append(s.Steps, w.step(n, path, index, steps, s.Health))
		})
	s.BatchPause = w.duration(o.Get("batch_pause"), o.At("batch_pause"), 0, 0)
	rollback := o.Get("rollback")
	if rollback != nil {
		w.List(rollback, o.At("rollback"), maxSteps, "steps", func(_ int, n *yaml.Node, path string) {
			s.Rollback = append(s.Rollback, w.step(n, path, index, steps, s.Health))
		})
		w.unsupportedKey(o, "rollback")
	}
	if n := o.Get("on_failure"); n != nil {
		s.OnFailure, _ = yamltree.Choice(w.Reader, n, o.At("on_failure"), FailureAbort, FailureContinue, FailurePause, FailureRollback)
		if s.OnFailure == FailureRollback {
			w.unsupportedKey(o, "on_failure")
			if rollback == nil {
				w.Add(n, o.At("on_failure"), yamltree.CodeMissing, "rollback requires rollback steps; add a rollback list to the stage")
			}
		}
	}
	return s
}

// groups reads how the nodes of a stage are grouped.
func (w *walk) groups(n *yaml.Node, path string, index int) *Groups {
	g := &Groups{AtOnce: Amount{Count: 1}}
	o, ok := w.Object(n, path)
	if !ok {
		return g
	}
	defer o.End(renamed)
	g.By = w.expr(o.Need("by", "an expression such as node.attributes.zone"), o.At("by"), wantGroup, index)
	if n := o.Get("at_once"); n != nil {
		g.AtOnce, _ = w.amount(n, o.At("at_once"), 1)
	}
	return g
}

// batch reads a batch size, or a list of them.
func (w *walk) batch(n *yaml.Node, path string) []Amount {
	if n.Kind != yaml.SequenceNode {
		size, _ := w.amount(n, path, 1)
		return []Amount{size}
	}
	var sizes []Amount
	w.List(n, path, maxBatch, "sizes", func(_ int, n *yaml.Node, path string) {
		size, _ := w.amount(n, path, 1)
		sizes = append(sizes, size)
	})
	return sizes
}

// health reads the health check of a stage, which is nil for none.
func (w *walk) health(n *yaml.Node, path string, index int) *Health {
	h := &Health{Timeout: defaultHealthTimeout, Interval: defaultHealthInterval}
	if n == nil {
		return h
	}
	if yamltree.IsString(n) && n.Value == "none" {
		return nil
	}
	if n.Kind != yaml.MappingNode {
		w.WrongType(n, path, "none or a mapping such as {timeout: 2m}")
		return h
	}
	o, _ := w.Object(n, path)
	h.Check = w.expr(o.Get("check"), o.At("check"), wantBool, index)
	h.Timeout = w.duration(o.Get("timeout"), o.At("timeout"), minDuration, defaultHealthTimeout)
	h.Interval = w.duration(o.Get("interval"), o.At("interval"), minDuration, defaultHealthInterval)
	h.Settle = w.duration(o.Get("settle"), o.At("settle"), 0, 0)
	if h.Settle >= h.Timeout {
		w.Add(o.Key("settle"), o.At("settle"), yamltree.CodeBadValue, "must be shorter than the timeout (%s), or the check can never pass; increase timeout",
			yamltree.FormatDuration(h.Timeout))
	}
	o.End(renamed)
	return h
}

// actionKind is what an action may be called. It is wide because agents written by others choose their own names.
var actionKind = regexp.MustCompile(`^[!-~]+$`)

func (w *walk) step(n *yaml.Node, path string, index int, names map[string]int, health *Health) Step {
	s := Step{
		Timeout:   defaultTimeout,
		Retry:     Retry{Attempts: 1, Backoff: defaultBackoff, MaxBackoff: defaultMaxBackoff},
		OnUnknown: UnknownFail,
	}
	o, ok := w.Object(n, path)
	if !ok {
		return s
	}
	defer o.End(renamed)
	s.Name = w.name(o.Need("name", "a step needs a name"), o.At("name"), names)
	action := o.Need("action", "a step needs an action")
	if text, ok := w.String(action, o.At("action"), maxLine); ok {
		switch {
		case strings.Contains(text, "${"):
			w.Add(action, o.At("action"), yamltree.CodeBadValue, "cannot contain an expression; to choose between actions, write several steps with when")
		case !actionKind.MatchString(text):
			w.Add(action, o.At("action"), yamltree.CodeBadValue,
				"%s is not a valid action; write for example external.agent.replicante.io/restart", yamltree.Quote(text))
		}
		s.Action = text
	}
	if n := o.Get("args"); n != nil {
		s.Args = w.template(n, o.At("args"), index)
	}
	s.When = w.expr(o.Get("when"), o.At("when"), wantBool, index)
	s.Timeout = w.duration(o.Get("timeout"), o.At("timeout"), minDuration, defaultTimeout)
	if n := o.Get("retry"); n != nil {
		if r, ok := w.Object(n, o.At("retry")); ok {
			if n := r.Get("attempts"); n != nil {
				s.Retry.Attempts, _ = w.Int(n, r.At("attempts"), 1, maxAttempts)
			}
			s.Retry.Backoff = w.duration(r.Get("backoff"), r.At("backoff"), 0, defaultBackoff)
			s.Retry.MaxBackoff = w.duration(r.Get("max_backoff"), r.At("max_backoff"), 0, max(defaultMaxBackoff, s.Retry.Backoff))
			if s.Retry.MaxBackoff < s.Retry.Backoff {
				w.Add(r.Key("max_backoff"), r.At("max_backoff"), yamltree.CodeBadValue, "must be at least the backoff (%s)",
					yamltree.FormatDuration(s.Retry.Backoff))
			}
			r.End(renamed)
		}
	}
	if n := o.Get("on_unknown"); n != nil {
		s.OnUnknown, _ = yamltree.Choice(w.Reader, n, o.At("on_unknown"), UnknownFail, UnknownRetry, UnknownHealth)
		if s.OnUnknown == UnknownHealth && health == nil {
			w.Add(n, o.At("on_unknown"), yamltree.CodeBadValue, "health requires a health check, but the stage has health: none")
		}
	}
	return s
}
