package playbook

import (
	"slices"
	"strings"

	"github.com/replicante-io/playbooks/internal/spelling"
	"github.com/replicante-io/playbooks/internal/yamltree"
	"github.com/replicante-io/playbooks/record"
)

const (
	apiVersion = "replicante.io/v1"

	kindPlaybook = "Playbook"
	kindSchedule = "Schedule"
	kindFreeze   = "Freeze"

	maxLine        = 256 // of names and the like, in characters
	maxDescription = 4096
)

// playbook reads a document. It also returns the value of the playbook's name, if that is valid.
func (w *walk) playbook(root yamltree.Value) (p *Playbook, name yamltree.Value) {
	w.unsupported = nil
	o, ok := w.Object(root)
	p = &Playbook{}
	if !ok {
		return p, name
	}
	ours := w.constant(o, "apiVersion", apiVersion)
	if !w.kind(o) && !ours {
		return p, name // not a playbook at all: its keys are not checked
	}
	if v := o.Need("metadata", "give it a name: {name: my-playbook}"); v.Given() {
		name = w.metadata(v, p)
	}
	if v := o.Need("spec", "it describes what the playbook does"); v.Given() {
		p.Spec = w.spec(v)
		if v.IsMapping() {
			p.Document = v.Decode().(map[string]any)
		}
	}
	o.Ignore("x-") // a place for anchors
	o.End(renamed)
	p.unsupported = yamltree.Tidy(w.unsupported)
	return p, name
}

// constant reads a key that has only one valid value, and reports whether that one may have been meant.
func (w *walk) constant(o *yamltree.Object, key, want string) bool {
	v := o.Need(key, "write "+key+": "+want)
	text, ok := w.String(v, maxLine)
	if !ok || text == want {
		return !v.Given() || ok
	}
	w.Add(v, yamltree.CodeBadValue, "must be %s, not %s", want, yamltree.Quote(text))
	return spelling.Nearest(text, []string{want}) != "" || strings.HasPrefix(text, strings.SplitAfter(want, "/")[0])
}

// kind reads the kind of a document, which is not one of the others, and reports whether a playbook may have been meant.
func (w *walk) kind(o *yamltree.Object) bool {
	v := o.Need("kind", "write kind: "+kindPlaybook)
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

const (
	maxParams = 100
	maxStages = 100
	maxSteps  = 100 // of a stage
	maxBatch  = 100 // entries of a batch list
)

func (w *walk) spec(v yamltree.Value) *Spec {
	spec := &Spec{}
	o, ok := w.Object(v)
	if !ok {
		return spec
	}
	defer o.End(renamed)
	spec.Description, _ = w.String(o.Get("description"), maxDescription)
	if v := o.Get("params"); v.Given() && (!v.IsList() || len(v.Items()) > 0) {
		names := map[string]int{}
		w.List(v, maxParams, "params", func(_ int, v yamltree.Value) {
			spec.Params = append(spec.Params, w.param(v, names))
		})
	}
	spec.Concurrency, _ = yamltree.Choice(w.Reader, o.Get("concurrency"), record.Exclusive, record.Shared)
	spec.Membership = MembershipPolicy{Added: AddedInclude, Removed: RemovedPause}
	if v := o.Get("membership"); v.Given() {
		if m, ok := w.Object(v); ok {
			spec.Membership.Added, _ = yamltree.Choice(w.Reader, m.Get("added"), AddedInclude, AddedIgnore, AddedPause, AddedFail)
			if removed := m.Get("removed"); removed.Given() {
				spec.Membership.Removed, _ = yamltree.Choice(w.Reader, removed, RemovedIgnore, RemovedPause, RemovedFail)
			}
			spec.Membership.Grace = w.duration(m.Get("grace"), minDuration, 0)
			m.End(renamed)
		}
	}
	stages := o.Need("stages", "a playbook needs at least one stage")
	w.scope = newScope(spec.Params, stageNames(stages))
	spec.Approval = w.approval(o, -1)
	names := map[string]int{}
	w.List(stages, maxStages, "stages", func(i int, v yamltree.Value) {
		spec.Stages = append(spec.Stages, w.stage(v, i, names))
	})
	if v := o.Get("timeout"); v.Given() {
		spec.Timeout = w.duration(v, minDuration, 0)
	}
	spec.Together = w.together(o.Get("together"), spec.Stages)
	return spec
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
