package playbook

import (
	"gopkg.in/yaml.v3"

	"github.com/replicante-io/playbooks/internal/yamltree"
	"github.com/replicante-io/playbooks/record"
)

// metadata returns the node of the name, if that is valid.
func (w *walk) metadata(n *yaml.Node, p *Playbook) *yaml.Node {
	o, ok := w.Object(n, "metadata")
	if !ok {
		return nil
	}
	defer o.End(renamed)
	var named *yaml.Node
	name := o.Need("name", "write name: my-playbook")
	if text, ok := w.String(name, o.At("name"), maxLine); ok {
		if dnsLabel.MatchString(text) && len(text) <= maxName {
			p.Name, named = text, name
		} else {
			w.Add(name, o.At("name"), yamltree.CodeBadName,
				"%s is not a valid name; use lower-case letters, digits and -, at most %d characters (a DNS label)", yamltree.Quote(text), maxName)
		}
	}
	p.Version, _ = w.String(o.Get("version"), o.At("version"), maxLine)
	if n := o.Get("source"); n != nil {
		p.Source = w.source(n, o.At("source"))
	}
	if n := o.Get("labels"); n != nil {
		p.Labels = w.labels(n, o.At("labels"))
	}
	return named
}

func (w *walk) source(n *yaml.Node, path string) *record.Source {
	source := &record.Source{}
	o, ok := w.Object(n, path)
	if !ok {
		return source
	}
	defer o.End(renamed)
	source.Repository, _ = w.String(o.Get("repository"), o.At("repository"), maxDescription)
	source.Commit, _ = w.String(o.Get("commit"), o.At("commit"), maxLine)
	source.Path, _ = w.String(o.Get("path"), o.At("path"), maxDescription)
	return source
}

func (w *walk) labels(n *yaml.Node, path string) map[string]string {
	var labels map[string]string
	o, _ := w.Object(n, path)
	for _, key := range o.Keys {
		if key.Value == "" {
			w.Add(key, path, yamltree.CodeBadName, "a label has an empty name; give it one")
			continue
		}
		if text, ok := w.String(o.Get(key.Value), o.At(key.Value), maxLine); ok {
			if labels == nil {
				labels = map[string]string{}
			}
			labels[key.Value] = text
		}
	}
	return labels
}
