package playbook

import (
	"github.com/replicante-io/playbooks/internal/yamltree"
)

// stage reads a stage. Names maps the names of the stages before it to their lines.
func (w *walk) stage(v yamltree.Value, index int, names map[string]int) Stage {
	s := Stage{Batch: []Amount{{Count: 1}}, OnFailure: FailureAbort}
	o, ok := w.Object(v, stageKeys)
	if !ok {
		return s
	}
	defer o.End()
	s.Name = w.name(o.Get("name"), names)
	s.Targets = w.expr(o.Get("targets"), wantBool, index)
	s.OrderBy = w.expr(o.Get("order_by"), wantComparable, index)
	if v := o.Get("groups"); v.Given() {
		s.Groups = w.groups(v, index)
	}
	if o.Given("pick") {
		s.Pick = w.pick(o)
	}
	s.AllowEmpty = o.Bool("allow_empty")
	s.Batch = w.batch(o)
	s.MaxFailures = o.Amount("max_failures")
	if o.Given("max_unavailable") {
		limit := o.Amount("max_unavailable")
		s.MaxUnavailable = &limit
	}
	if v := o.Get("guard"); v.Given() {
		s.Guard = w.guard(v, index)
	}
	s.Approval = w.approval(o, index)
	s.Health = w.health(o.Get("health"), index)
	names = map[string]int{} // of steps
	steps := func(key string) (steps []Step) {
		o.List(key, func(_ int, v yamltree.Value) {
			steps = append(steps, w.step(v, index, names, s.Health))
		})
		return steps
	}
	s.Steps = steps("steps")
	s.BatchPause = o.Duration("batch_pause")
	s.Rollback = steps("rollback")
	w.rollback = w.rollback || o.Given("rollback")
	s.OnFailure = w.onFailure(o)
	if s.Always = o.Bool("always"); s.Always {
		w.always(o, &s)
	}
	return s
}

// pick reads how many nodes are enough. A number alone is their count, and as many have to be picked.
func (w *walk) pick(stage *object) *Pick {
	v := stage.Get("pick")
	if !v.IsMapping() {
		if !v.IsInt() {
			w.WrongType(v, "a count such as 3, or a mapping such as {count: 3, at_least: 1}")
			return &Pick{}
		}
		count := stage.Int("pick")
		return &Pick{Count: count, AtLeast: count}
	}
	o, _ := w.Object(v, pickKeys)
	defer o.End()
	pick := &Pick{Count: o.Int("count")}
	if pick.AtLeast = pick.Count; o.Given("at_least") {
		if pick.AtLeast = o.Int("at_least"); pick.Count > 0 && pick.AtLeast > pick.Count {
			w.Add(o.Get("at_least"), yamltree.CodeBadValue, "must not be more than count, which is %d", pick.Count)
		}
	}
	return pick
}

// groups reads how the nodes of a stage are grouped.
func (w *walk) groups(v yamltree.Value, index int) *Groups {
	g := &Groups{}
	o, ok := w.Object(v, groupKeys)
	if !ok {
		return g
	}
	defer o.End()
	g.By = w.expr(o.Get("by"), wantGroup, index)
	g.AtOnce = o.Amount("at_once")
	return g
}

// batch reads a batch size, or a list of them.
func (w *walk) batch(stage *object) []Amount {
	if !stage.Get("batch").IsList() {
		return []Amount{stage.Amount("batch")}
	}
	var sizes []Amount
	stage.List("batch", func(_ int, v yamltree.Value) {
		size, _ := w.amount(v, sizeValue)
		sizes = append(sizes, size)
	})
	return sizes
}

// guard reads a guard. A text alone is its check.
func (w *walk) guard(v yamltree.Value, index int) *Guard {
	o := w.defaults(guardKeys)
	check := v
	if v.IsMapping() {
		o, _ = w.Object(v, guardKeys)
		defer o.End()
		check = o.Get("check")
	}
	return &Guard{Check: w.check(check, wantGuard, index), Timeout: o.Duration("timeout"), OnTimeout: choice[OnTimeout](o, "on_timeout")}
}

// health reads the health check of a stage, which is nil for none. A text alone is its check.
func (w *walk) health(v yamltree.Value, index int) *Health {
	o := w.defaults(healthKeys)
	check := v
	switch {
	case v.IsString() && v.Text() == "none":
		return nil
	case v.IsMapping():
		o, _ = w.Object(v, healthKeys)
		defer o.End()
		check = o.Get("check")
	case v.Given() && !(v.IsString() && notOneWord.MatchString(v.Text())):
		w.WrongType(v, "none, a check such as 'node.status == \"HEALTHY\"', or a mapping such as {timeout: 2m}")
		return nil
	}
	h := &Health{Check: w.check(check, wantBool, index), Timeout: o.Duration("timeout"), Interval: o.Duration("interval"), Settle: o.Duration("settle")}
	if h.Settle >= h.Timeout {
		w.Add(o.Key("settle"), yamltree.CodeBadValue, "must be shorter than the timeout (%s), or the check can never pass; increase timeout",
			yamltree.FormatDuration(h.Timeout))
	}
	return h
}
