package playbook

import (
	"regexp"
	"time"

	"github.com/replicante-io/playbooks/internal/yamltree"
)

const (
	defaultHealthTimeout  = 2 * time.Minute
	defaultHealthInterval = 2 * time.Second
	defaultGuardTimeout   = time.Hour

	minDuration = time.Millisecond // the precision of stored times
)

// stage reads a stage. Names maps the names of the stages before it to their lines.
func (w *walk) stage(v yamltree.Value, index int, names map[string]int) Stage {
	s := Stage{Batch: []Amount{{Count: 1}}, OnFailure: FailureAbort}
	o, ok := w.Object(v)
	if !ok {
		return s
	}
	defer o.End(renamed)
	s.Name = w.name(o.Need("name", "a stage needs a name"), names)
	s.Targets = w.expr(o.Get("targets"), wantBool, index)
	s.OrderBy = w.expr(o.Get("order_by"), wantComparable, index)
	if v := o.Get("groups"); v.Given() {
		s.Groups = w.groups(v, index)
	}
	if v := o.Get("pick"); v.Given() {
		s.Pick, _ = w.Int(v, 1, maxCount)
		w.unsupportedKey(o, "pick")
	}
	s.AllowEmpty, _ = w.Bool(o.Get("allow_empty"))
	if v := o.Get("batch"); v.Given() {
		s.Batch = w.batch(v)
	}
	if v := o.Get("max_failures"); v.Given() {
		s.MaxFailures, _ = w.amount(v, 0)
	}
	if v := o.Get("max_unavailable"); v.Given() {
		if limit, ok := w.amount(v, 0); ok {
			s.MaxUnavailable = &limit
		}
		w.unsupportedKey(o, "max_unavailable")
	}
	if v := o.Get("guard"); v.Given() {
		s.Guard = w.guard(v, index)
	}
	s.Approval = w.approval(o, index)
	s.Health = w.health(o.Get("health"), index)
	names = map[string]int{} // of steps
	steps := func(v yamltree.Value) (steps []Step) {
		w.List(v, maxSteps, "steps", func(_ int, v yamltree.Value) {
			steps = append(steps, w.step(v, index, names, s.Health))
		})
		return steps
	}
	s.Steps = steps(o.Need("steps", "a stage needs at least one step"))
	s.BatchPause = w.duration(o.Get("batch_pause"), 0, 0)
	rollback := o.Get("rollback")
	if s.Rollback = steps(rollback); rollback.Given() {
		w.unsupportedKey(o, "rollback")
	}
	if v := o.Get("on_failure"); v.Given() {
		s.OnFailure = w.onFailure(o, v, rollback.Given())
	}
	return s
}

func (w *walk) onFailure(stage *yamltree.Object, v yamltree.Value, hasRollback bool) OnFailure {
	policy, _ := yamltree.Choice(w.Reader, v, FailureAbort, FailureContinue, FailurePause, FailureRollback)
	if policy == FailureRollback {
		w.unsupportedKey(stage, "on_failure")
		if !hasRollback {
			w.Add(v, yamltree.CodeMissing, "rollback requires rollback steps; add a rollback list to the stage")
		}
	}
	return policy
}

// groups reads how the nodes of a stage are grouped.
func (w *walk) groups(v yamltree.Value, index int) *Groups {
	g := &Groups{AtOnce: Amount{Count: 1}}
	o, ok := w.Object(v)
	if !ok {
		return g
	}
	defer o.End(renamed)
	g.By = w.expr(o.Need("by", "an expression such as node.attributes.zone"), wantGroup, index)
	if v := o.Get("at_once"); v.Given() {
		g.AtOnce, _ = w.amount(v, 1)
	}
	return g
}

// batch reads a batch size, or a list of them.
func (w *walk) batch(v yamltree.Value) []Amount {
	if !v.IsList() {
		size, _ := w.amount(v, 1)
		return []Amount{size}
	}
	var sizes []Amount
	w.List(v, maxBatch, "sizes", func(_ int, v yamltree.Value) {
		size, _ := w.amount(v, 1)
		sizes = append(sizes, size)
	})
	return sizes
}

// guard reads a guard. A text alone is its check.
func (w *walk) guard(v yamltree.Value, index int) *Guard {
	g := &Guard{Timeout: defaultGuardTimeout, OnTimeout: TimeoutPause}
	if !v.IsMapping() {
		g.Check = w.check(v, wantGuard, index)
		return g
	}
	o, _ := w.Object(v)
	defer o.End(renamed)
	g.Check = w.check(o.Need("check", "it must hold before a batch opens"), wantGuard, index)
	g.Timeout = w.duration(o.Get("timeout"), minDuration, defaultGuardTimeout)
	if v := o.Get("on_timeout"); v.Given() {
		g.OnTimeout, _ = yamltree.Choice(w.Reader, v, TimeoutPause, TimeoutFail)
	}
	return g
}

// plainWord is a text that cannot be a check.
var plainWord = regexp.MustCompile(`^\w*$`)

// health reads the health check of a stage, which is nil for none. A text alone is its check.
func (w *walk) health(v yamltree.Value, index int) *Health {
	h := &Health{Timeout: defaultHealthTimeout, Interval: defaultHealthInterval}
	switch {
	case !v.Given():
		return h
	case v.IsString() && v.Text() == "none":
		return nil
	case v.IsString() && !plainWord.MatchString(v.Text()):
		h.Check = w.check(v, wantBool, index)
		return h
	case !v.IsMapping():
		w.WrongType(v, "none, a check such as 'node.status == \"HEALTHY\"', or a mapping such as {timeout: 2m}")
		return h
	}
	o, _ := w.Object(v)
	h.Check = w.check(o.Get("check"), wantBool, index)
	h.Timeout = w.duration(o.Get("timeout"), minDuration, defaultHealthTimeout)
	h.Interval = w.duration(o.Get("interval"), minDuration, defaultHealthInterval)
	h.Settle = w.duration(o.Get("settle"), 0, 0)
	if h.Settle >= h.Timeout {
		w.Add(o.Key("settle"), yamltree.CodeBadValue, "must be shorter than the timeout (%s), or the check can never pass; increase timeout",
			yamltree.FormatDuration(h.Timeout))
	}
	o.End(renamed)
	return h
}
