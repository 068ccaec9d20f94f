package playbook

import (
	"regexp"
	"strings"
	"time"

	"gopkg.in/yaml.v3"
)

// The defaults of a stage and its steps.
const (
	defaultTimeout        = 10 * time.Minute
	defaultBackoff        = 5 * time.Second
	defaultMaxBackoff     = time.Minute
	defaultHealthTimeout  = 2 * time.Minute
	defaultHealthInterval = 2 * time.Second

	minDuration = time.Millisecond // records hold no less
	maxAttempts = 100
)

// stage reads the stage with an index. Names are those of the stages before it.
func (w *walk) stage(n *yaml.Node, path string, index int, names map[string]int) Stage {
	s := Stage{Batch: []Amount{{Count: 1}}, OnFailure: FailureAbort, Approval: ApprovalNone}
	o, ok := w.object(n, path)
	if !ok {
		return s
	}
	defer o.end()
	s.Name = w.name(o.need("name", "a stage needs a name"), o.at("name"), names)
	s.Targets = w.expr(o.get("targets"), o.at("targets"), wantBool, index)
	s.OrderBy = w.expr(o.get("order_by"), o.at("order_by"), wantComparable, index)
	if n := o.get("groups"); n != nil {
		s.Groups = w.groups(n, o.at("groups"), index)
		o.unsupportedKey("groups")
	}
	if n := o.get("pick"); n != nil {
		s.Pick, _ = w.integer(n, o.at("pick"), 1, maxCount)
		o.unsupportedKey("pick")
	}
	if s.AllowEmpty = w.truth(o.get("allow_empty"), o.at("allow_empty")); s.AllowEmpty {
		o.unsupportedKey("allow_empty")
	}
	if n := o.get("batch"); n != nil {
		s.Batch = w.batch(n, o.at("batch"))
	}
	if n := o.get("max_failures"); n != nil {
		s.MaxFailures, _ = w.amount(n, o.at("max_failures"), 0)
	}
	if n := o.get("max_unavailable"); n != nil {
		if limit, ok := w.amount(n, o.at("max_unavailable"), 0); ok {
			s.MaxUnavailable = &limit
		}
		o.unsupportedKey("max_unavailable")
	}
	if n := o.get("guard"); n != nil {
		s.Guard = w.expr(n, o.at("guard"), wantGuard, index)
		o.unsupportedKey("guard")
	}
	s.Approval = o.approval()
	s.Health = w.health(o.get("health"), o.at("health"), index)
	steps := map[string]int{}
	w.list(o.need("steps", "a stage needs at least one step"), o.at("steps"), maxSteps, "steps",
		func(_ int, n *yaml.Node, path string) {
			s.Steps = append(s.Steps, w.step(n, path, index, steps, s.Health))
		})
	s.BatchPause = w.duration(o.get("batch_pause"), o.at("batch_pause"), 0, 0)
	rollback := o.get("rollback")
	if rollback != nil {
		w.list(rollback, o.at("rollback"), maxSteps, "steps", func(_ int, n *yaml.Node, path string) {
			s.Rollback = append(s.Rollback, w.step(n, path, index, steps, s.Health))
		})
		o.unsupportedKey("rollback")
	}
	if n := o.get("on_failure"); n != nil {
		s.OnFailure = choice(w, n, o.at("on_failure"), FailureAbort, FailureContinue, FailurePause, FailureRollback)
		if s.OnFailure == FailureRollback {
			o.unsupportedKey("on_failure")
			if rollback == nil {
				w.add(n, o.at("on_failure"), codeMissing, "rollback needs steps; give the stage a rollback list")
			}
		}
	}
	return s
}

// groups reads how the nodes of a stage are grouped.
func (w *walk) groups(n *yaml.Node, path string, index int) *Groups {
	g := &Groups{AtOnce: Amount{Count: 1}}
	o, ok := w.object(n, path)
	if !ok {
		return g
	}
	defer o.end()
	g.By = w.expr(o.need("by", "an expression such as node.attributes.zone"), o.at("by"), wantGroup, index)
	if n := o.get("at_once"); n != nil {
		g.AtOnce, _ = w.amount(n, o.at("at_once"), 1)
	}
	return g
}

// batch reads a size, or a list of sizes.
func (w *walk) batch(n *yaml.Node, path string) []Amount {
	if n.Kind != yaml.SequenceNode {
		size, _ := w.amount(n, path, 1)
		return []Amount{size}
	}
	var sizes []Amount
	w.list(n, path, maxBatch, "sizes", func(_ int, n *yaml.Node, path string) {
		size, _ := w.amount(n, path, 1)
		sizes = append(sizes, size)
	})
	return sizes
}

// health reads the gate of a stage, which is nil for none.
func (w *walk) health(n *yaml.Node, path string, index int) *Health {
	h := &Health{Timeout: defaultHealthTimeout, Interval: defaultHealthInterval}
	if n == nil {
		return h
	}
	if n.Kind == yaml.ScalarNode && isText(n) && n.Value == "none" {
		return nil
	}
	if n.Kind != yaml.MappingNode {
		w.wrongType(n, path, "none, or a mapping such as {timeout: 2m}")
		return h
	}
	o, _ := w.object(n, path)
	h.Check = w.expr(o.get("check"), o.at("check"), wantBool, index)
	h.Timeout = w.duration(o.get("timeout"), o.at("timeout"), minDuration, defaultHealthTimeout)
	h.Interval = w.duration(o.get("interval"), o.at("interval"), minDuration, defaultHealthInterval)
	h.Settle = w.duration(o.get("settle"), o.at("settle"), 0, 0)
	if h.Settle >= h.Timeout {
		w.add(o.key("settle"), o.at("settle"), codeBadValue, "must be shorter than the timeout (%s), or the gate can never pass; raise timeout",
			formatDuration(h.Timeout))
	}
	o.end()
	return h
}

// actionKind is what an action may be called: agents that others wrote have their own habits.
var actionKind = regexp.MustCompile(`^[!-~]+$`)

func (w *walk) step(n *yaml.Node, path string, index int, names map[string]int, health *Health) Step {
	s := Step{
		Timeout:   defaultTimeout,
		Retry:     Retry{Attempts: 1, Backoff: defaultBackoff, MaxBackoff: defaultMaxBackoff},
		OnUnknown: UnknownFail,
	}
	o, ok := w.object(n, path)
	if !ok {
		return s
	}
	defer o.end()
	s.Name = w.name(o.need("name", "a step needs a name"), o.at("name"), names)
	action := o.need("action", "a step needs an action of the agent")
	if text, ok := w.textOf(action, o.at("action"), maxLine); ok {
		switch {
		case strings.Contains(text, "${"):
			w.add(action, o.at("action"), codeBadValue, "cannot hold an expression; use steps with when to choose between actions")
		case !actionKind.MatchString(text):
			w.add(action, o.at("action"), codeBadValue,
				"must be the kind of an action, such as external.agent.replicante.io/restart, not %s", quote(text))
		}
		s.Action = text
	}
	if n := o.get("args"); n != nil {
		s.Args = w.template(n, o.at("args"), index)
	}
	s.When = w.expr(o.get("when"), o.at("when"), wantBool, index)
	s.Timeout = w.duration(o.get("timeout"), o.at("timeout"), minDuration, defaultTimeout)
	if n := o.get("retry"); n != nil {
		if r, ok := w.object(n, o.at("retry")); ok {
			if n := r.get("attempts"); n != nil {
				s.Retry.Attempts, _ = w.integer(n, r.at("attempts"), 1, maxAttempts)
			}
			s.Retry.Backoff = w.duration(r.get("backoff"), r.at("backoff"), 0, defaultBackoff)
			s.Retry.MaxBackoff = w.duration(r.get("max_backoff"), r.at("max_backoff"), 0, max(defaultMaxBackoff, s.Retry.Backoff))
			if s.Retry.MaxBackoff < s.Retry.Backoff {
				w.add(r.key("max_backoff"), r.at("max_backoff"), codeBadValue, "must be at least the backoff (%s)",
					formatDuration(s.Retry.Backoff))
			}
			r.end()
		}
	}
	if n := o.get("on_unknown"); n != nil {
		s.OnUnknown = choice(w, n, o.at("on_unknown"), UnknownFail, UnknownRetry, UnknownHealth)
		if s.OnUnknown == UnknownHealth && health == nil {
			w.add(n, o.at("on_unknown"), codeBadValue, "health decides about the step, but the stage has health: none; give it a gate")
		}
	}
	return s
}
