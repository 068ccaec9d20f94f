package playbook

import (
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/replicante-io/playbooks/internal/yamltree"
	"github.com/replicante-io/playbooks/record"
)

const (
	apiVersion = "replicante.io/v1"
	kind       = "Playbook"

	maxLine        = 256 // of names and the like, in characters
	maxDescription = 4096
)

// playbook reads a document. It also returns the node of the playbook's name, if that is valid.
func (w *walk) playbook(root *yaml.Node) (*Playbook, *yaml.Node) {
	w.unsupported = nil
	o, ok := w.Object(root, "")
	p := &Playbook{}
	if !ok {
		return p, nil
	}
	ours := w.constant(o, "apiVersion", apiVersion)
	if !w.constant(o, "kind", kind) && !ours {
		return p, nil // not a playbook at all: its keys are not checked
	}
	var name *yaml.Node
	if n := o.Need("metadata", "give it a name: {name: my-playbook}"); n != nil {
		name = w.metadata(n, p)
	}
	if n := o.Need("spec", "it describes what the playbook does"); n != nil {
		p.Spec = w.spec(n)
		if n.Kind == yaml.MappingNode {
			p.Document = yamltree.Value(n).(map[string]any)
		}
	}
	o.End(renamed)
	p.unsupported = yamltree.Tidy(w.unsupported)
	return p, name
}

// constant reads a key that has only one valid value, and reports whether that one may have been meant.
func (w *walk) constant(o *yamltree.Object, key, want string) bool {
	n := o.Need(key, "write "+key+": "+want)
	text, ok := w.String(n, o.At(key), maxLine)
	if !ok || text == want {
		return n == nil || ok
	}
	w.Add(n, o.At(key), yamltree.CodeBadValue, "must be %s, not %s", want, yamltree.Quote(text))
	return yamltree.Nearest(text, []string{want}) != "" || strings.HasPrefix(text, strings.SplitAfter(want, "/")[0])
}

const (
	maxParams = 100
	maxStages = 100
	maxSteps  = 100 // of a stage
	maxBatch  = 100 // entries of a batch list
)

func (w *walk) spec(n *yaml.Node) *Spec {
	spec := &Spec{}
	o, ok := w.Object(n, "spec")
	if !ok {
		return spec
	}
	defer o.End(renamed)
	spec.Description, _ = w.String(o.Get("description"), o.At("description"), maxDescription)
	if n := o.Get("params"); n != nil && (n.Kind != yaml.SequenceNode || len(n.Content) > 0) {
		names := map[string]int{}
		w.List(n, o.At("params"), maxParams, "params", func(_ int, n *yaml.Node, path string) {
			spec.Params = append(spec.Params, w.param(n, path, names))
		})
	}
	spec.Approval = w.approval(o)
	spec.Concurrency, _ = yamltree.Choice(w.Reader, o.Get("concurrency"), o.At("concurrency"), record.Exclusive, record.Shared)
	spec.Membership = MembershipPolicy{Added: AddedInclude, Removed: RemovedPause}
	if n := o.Get("membership"); n != nil {
		if m, ok := w.Object(n, o.At("membership")); ok {
			spec.Membership.Added, _ = yamltree.Choice(w.Reader, m.Get("added"), m.At("added"), AddedInclude, AddedIgnore, AddedPause, AddedFail)
			removed := m.Get("removed")
			if removed != nil {
				spec.Membership.Removed, _ = yamltree.Choice(w.Reader, removed, m.At("removed"), RemovedIgnore, RemovedPause, RemovedFail)
			}
			spec.Membership.Grace = w.duration(m.Get("grace"), m.At("grace"), minDuration, 0)
			m.End(renamed)
		}
	}
	stages := o.Need("stages", "a playbook needs at least one stage")
	w.scope = newScope(spec.Params, stageNames(stages))
	names := map[string]int{}
	w.List(stages, o.At("stages"), maxStages, "stages", func(i int, n *yaml.Node, path string) {
		spec.Stages = append(spec.Stages, w.stage(n, path, i, names))
	})
	return spec
}

func (w *walk) approval(o *yamltree.Object) Approval {
	approval, _ := yamltree.Choice(w.Reader, o.Get("approval"), o.At("approval"), ApprovalNone, ApprovalRequired)
	if approval == ApprovalRequired {
		w.unsupportedKey(o, "approval")
	}
	return approval
}

// stageNames are the names of the stages and of their steps, also of those that are otherwise invalid, so that one problem
// does not make every expression that refers to the stage wrong as well.
func stageNames(n *yaml.Node) []stageName {
	name := func(n *yaml.Node) string {
		if found := child(n, "name"); found != nil && yamltree.IsString(found) {
			return found.Value
		}
		return ""
	}
	var stages []stageName
	for _, stage := range items(n) {
		named := stageName{name: name(stage)}
		for _, step := range slices.Concat(items(child(stage, "steps")), items(child(stage, "rollback"))) {
			named.steps = append(named.steps, name(step))
		}
		stages = append(stages, named)
	}
	return stages
}

func items(n *yaml.Node) []*yaml.Node {
	if n == nil || yamltree.Target(n).Kind != yaml.SequenceNode {
		return nil
	}
	return yamltree.Target(n).Content
}

func child(n *yaml.Node, key string) *yaml.Node {
	if n = yamltree.Target(n); n.Kind == yaml.MappingNode {
		for i := 0; i+1 < len(n.Content); i += 2 {
			if n.Content[i].Value == key {
				return yamltree.Target(n.Content[i+1])
			}
		}
	}
	return nil
}
