package playbook

import (
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/replicante-io/playbooks/record"
)

const (
	apiVersion = "replicante.io/v1"
	kind       = "Playbook"

	maxLine        = 256 // of names and the like, in characters
	maxDescription = 4096
)

// playbook reads a document. It also returns where the name stands, if there is a good one.
func (w *walk) playbook(root *yaml.Node) (*Playbook, *yaml.Node) {
	w.unsupported = nil
	o, ok := w.object(root, "")
	p := &Playbook{}
	if !ok {
		return p, nil
	}
	ours := o.constant("apiVersion", apiVersion)
	if !o.constant("kind", kind) && !ours {
		o.asked = append(o.asked, "metadata", "spec")
		return p, nil // something else altogether: its keys are not ours to judge
	}
	var name *yaml.Node
	if n := o.need("metadata", "give it a name: {name: my-playbook}"); n != nil {
		name = w.metadata(n, p)
	}
	if n := o.need("spec", "it says what the playbook does"); n != nil {
		p.Spec = w.spec(n)
		if n.Kind == yaml.MappingNode {
			p.Document = value(n).(map[string]any)
		}
	}
	o.end()
	p.unsupported = tidy(w.unsupported)
	return p, name
}

// constant reads a key that has only one good value, and tells whether it may have been meant.
func (o *object) constant(key, want string) bool {
	n := o.need(key, "write "+key+": "+want)
	text, ok := o.textOf(n, o.at(key), maxLine)
	if !ok || text == want {
		return n == nil || ok
	}
	o.add(n, o.at(key), codeBadValue, "must be %s, not %s", want, quote(text))
	return nearest(text, []string{want}) != "" || strings.HasPrefix(text, strings.SplitAfter(want, "/")[0])
}

func (w *walk) metadata(n *yaml.Node, p *Playbook) *yaml.Node {
	o, ok := w.object(n, "metadata")
	if !ok {
		return nil
	}
	defer o.end()
	var named *yaml.Node
	name := o.need("name", "write name: my-playbook")
	if text, ok := w.textOf(name, o.at("name"), maxLine); ok {
		if dnsLabel.MatchString(text) && len(text) <= maxName {
			p.Name, named = text, name
		} else {
			w.add(name, o.at("name"), codeBadName,
				"must be lower-case letters, digits and - (a DNS label of at most %d), not %s", maxName, quote(text))
		}
	}
	p.Version, _ = w.textOf(o.get("version"), o.at("version"), maxLine)
	if n := o.get("source"); n != nil {
		source, ok := w.object(n, o.at("source"))
		p.Source = &record.Source{}
		p.Source.Repository, _ = w.textOf(source.get("repository"), source.at("repository"), maxDescription)
		p.Source.Commit, _ = w.textOf(source.get("commit"), source.at("commit"), maxLine)
		p.Source.Path, _ = w.textOf(source.get("path"), source.at("path"), maxDescription)
		if ok {
			source.end()
		}
	}
	if n := o.get("labels"); n != nil {
		labels, _ := w.object(n, o.at("labels"))
		for _, key := range labels.keys {
			path := labels.at(key.Value)
			if key.Value == "" {
				w.add(key, labels.path, codeBadName, "a label needs a name")
				continue
			}
			if text, ok := w.textOf(labels.get(key.Value), path, maxLine); ok {
				if p.Labels == nil {
					p.Labels = map[string]string{}
				}
				p.Labels[key.Value] = text
			}
		}
	}
	return named
}

const (
	maxParams = 100
	maxStages = 100
	maxSteps  = 100 // of a stage
	maxBatch  = 100 // entries of a batch list
)

func (w *walk) spec(n *yaml.Node) *Spec {
	spec := &Spec{}
	o, ok := w.object(n, "spec")
	if !ok {
		return spec
	}
	defer o.end()
	spec.Description, _ = w.textOf(o.get("description"), o.at("description"), maxDescription)
	if n := o.get("params"); n != nil && (n.Kind != yaml.SequenceNode || len(n.Content) > 0) {
		names := map[string]int{}
		w.list(n, o.at("params"), maxParams, "params", func(_ int, n *yaml.Node, path string) {
			spec.Params = append(spec.Params, w.param(n, path, names))
		})
	}
	spec.Approval = o.approval()
	spec.Concurrency = choice(w, o.get("concurrency"), o.at("concurrency"), record.Exclusive, record.Shared)
	spec.Membership = MembershipPolicy{Added: AddedInclude, Removed: RemovedPause}
	if n := o.get("membership"); n != nil {
		if m, ok := w.object(n, o.at("membership")); ok {
			spec.Membership.Added = choice(w, m.get("added"), m.at("added"), AddedInclude, AddedIgnore, AddedPause, AddedFail)
			removed := m.get("removed")
			if removed != nil {
				spec.Membership.Removed = choice(w, removed, m.at("removed"), RemovedIgnore, RemovedPause, RemovedFail)
			}
			spec.Membership.Grace = w.duration(m.get("grace"), m.at("grace"), minDuration, 0)
			m.end()
		}
	}
	stages := o.need("stages", "a playbook needs at least one stage")
	w.scope = newScope(spec.Params, stageNames(stages))
	names := map[string]int{}
	w.list(stages, o.at("stages"), maxStages, "stages", func(i int, n *yaml.Node, path string) {
		spec.Stages = append(spec.Stages, w.stage(n, path, i, names))
	})
	return spec
}

func (o *object) approval() Approval {
	approval := choice(o.walk, o.get("approval"), o.at("approval"), ApprovalNone, ApprovalRequired)
	if approval == ApprovalRequired {
		o.unsupportedKey("approval")
	}
	return approval
}

// stageNames are the names of the stages and of their steps as far as they can be told, so that expressions may refer to
// stages that are wrong otherwise.
func stageNames(n *yaml.Node) []stageName {
	name := func(n *yaml.Node) string {
		if found := child(n, "name"); found != nil && found.Kind == yaml.ScalarNode && isText(found) {
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
	if n == nil || target(n).Kind != yaml.SequenceNode {
		return nil
	}
	return target(n).Content
}

func child(n *yaml.Node, key string) *yaml.Node {
	if n = target(n); n.Kind == yaml.MappingNode {
		for i := 0; i+1 < len(n.Content); i += 2 {
			if n.Content[i].Value == key {
				return target(n.Content[i+1])
			}
		}
	}
	return nil
}
