package playbook

import (
	"slices"
	"strings"

	"github.com/replicante-io/playbooks/internal/keys"
	"github.com/replicante-io/playbooks/internal/spelling"
	"github.com/replicante-io/playbooks/internal/yamltree"
	"github.com/replicante-io/playbooks/record"
)

// playbook reads a document. It also returns the value of the playbook's name, if that is valid.
func (w *walk) playbook(root yamltree.Value) (p *Playbook, name yamltree.Value) {
	w.rollback = false
	o, ok := w.Object(root, playbookKeys)
	p = &Playbook{}
	if !ok {
		return p, name
	}
	ours := w.constant(o, "apiVersion")
	if !w.kind(o) && !ours {
		return p, name // not a playbook at all: its keys are not checked
	}
	if v := o.Get("metadata"); v.Given() {
		name = w.metadata(v, p)
	}
	if v := o.Get("spec"); v.Given() {
		p.Spec = w.spec(v)
		if v.IsMapping() {
			p.Document = v.Decode().(map[string]any)
		}
	}
	o.End()
	return p, name
}

// constant reads a key that has only one valid value, and reports whether that one may have been meant.
func (w *walk) constant(o *object, key string) bool {
	v, want := o.Get(key), keys.As[keys.Choice](o.table.Key(key))[0]
	text, ok := w.String(v, maxLine)
	if !ok || text == want {
		return !v.Given() || ok
	}
	w.Add(v, yamltree.CodeBadValue, "must be %s, not %s", want, yamltree.Quote(text))
	return spelling.Nearest(text, []string{want}) != "" || strings.HasPrefix(text, strings.SplitAfter(want, "/")[0])
}

// kind reads the kind of a document, which is not one of the others, and reports whether a playbook may have been meant.
func (w *walk) kind(o *object) bool {
	v := o.Get("kind")
	text, ok := w.String(v, maxLine)
	if !ok || text == kindPlaybook {
		return !v.Given() || ok
	}
	hint, near := "", spelling.Nearest(text, []string{kindPlaybook, kindSchedule, kindFreeze})
	if near != "" {
		hint = "; did you mean " + near + "?"
	}
	w.Add(v, yamltree.CodeBadValue, "must be %s, %s or %s, not %s%s", kindPlaybook, kindSchedule, kindFreeze, yamltree.Quote(text), hint)
	return near == kindPlaybook
}

func (w *walk) spec(v yamltree.Value) *Spec {
	spec := &Spec{}
	o, ok := w.Object(v, specKeys)
	if !ok {
		return spec
	}
	defer o.End()
	spec.Description, _ = o.Text("description")
	names := map[string]int{}
	o.List("params", func(_ int, v yamltree.Value) {
		spec.Params = append(spec.Params, w.param(v, names))
	})
	spec.Concurrency = choice[record.Concurrency](o, "concurrency")
	spec.Membership = w.membership(o.Get("membership"))
	spec.Windows = w.windows(o.Get("windows"))
	w.scope = newScope(spec.Params, stageNames(o.Get("stages")))
	spec.Approval = w.approval(o, -1)
	names = map[string]int{}
	o.List("stages", func(i int, v yamltree.Value) {
		spec.Stages = append(spec.Stages, w.stage(v, i, names))
	})
	spec.Timeout = o.Duration("timeout")
	spec.Together = w.together(o.Get("together"), spec.Stages)
	w.someStage(o.Get("stages"), spec.Stages)
	return spec
}

func (w *walk) membership(v yamltree.Value) MembershipPolicy {
	m := MembershipPolicy{Added: AddedInclude, Removed: RemovedPause}
	if !v.Given() {
		return m
	}
	o, ok := w.Object(v, membershipKeys)
	if !ok {
		return m
	}
	defer o.End()
	return MembershipPolicy{Added: choice[AddedPolicy](o, "added"), Removed: choice[RemovedPolicy](o, "removed"), Grace: o.Duration("grace")}
}

// stageNames are the names of the stages and of their steps, also of those that are otherwise invalid, so that one problem
// does not make every expression that refers to the stage wrong as well.
func stageNames(v yamltree.Value) []stageName {
	name := func(v yamltree.Value) string {
		if name := v.Child("name"); name.IsString() {
			return name.Text()
		}
		return ""
	}
	var stages []stageName
	for _, stage := range v.Items() {
		named := stageName{name: name(stage)}
		for _, step := range slices.Concat(stage.Child("steps").Items(), stage.Child("rollback").Items()) {
			named.steps = append(named.steps, name(step))
		}
		stages = append(stages, named)
	}
	return stages
}
