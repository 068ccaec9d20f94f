package playbook

import (
	"github.com/replicante-io/playbooks/internal/keys"
	"github.com/replicante-io/playbooks/internal/yamltree"
	"github.com/replicante-io/playbooks/record"
)

// metadata returns the value of the name, if that is valid.
func (w *walk) metadata(v yamltree.Value, p *Playbook) (valid yamltree.Value) {
	o, ok := w.Object(v, metadataKeys)
	if !ok {
		return valid
	}
	defer o.End()
	p.Name, valid = w.dnsName(o.Get("name"))
	p.Version, _ = o.Text("version")
	if v := o.Get("source"); v.Given() {
		p.Source = w.source(v)
	}
	if v := o.Get("labels"); v.Given() {
		p.Labels = w.labels(v)
	}
	return valid
}

// nameAndLabels reads the metadata of a document that has no more than them. It also returns the value of the name, if that is valid.
func (w *walk) nameAndLabels(v yamltree.Value, table *keys.Mapping) (name string, labels map[string]string, valid yamltree.Value) {
	o, ok := w.Object(v, table)
	if !ok {
		return "", nil, valid
	}
	defer o.End()
	name, valid = w.dnsName(o.Get("name"))
	if v := o.Get("labels"); v.Given() {
		labels = w.labels(v)
	}
	return name, labels, valid
}

// dnsName reads a name that is a DNS label. The value is returned only where it is one.
func (w *walk) dnsName(v yamltree.Value) (name string, valid yamltree.Value) {
	text, ok := w.String(v, maxLine)
	switch {
	case !ok:
		return "", valid
	case !dnsLabel.MatchString(text) || len(text) > maxName:
		w.Add(v, yamltree.CodeBadName,
			"%s is not a valid name; use lower-case letters, digits and -, at most %d characters (a DNS label)", yamltree.Quote(text), maxName)
		return "", valid
	}
	return text, v
}

func (w *walk) source(v yamltree.Value) *record.Source {
	source := &record.Source{}
	o, ok := w.Object(v, sourceKeys)
	if !ok {
		return source
	}
	defer o.End()
	source.Repository, _ = o.Text("repository")
	source.Commit, _ = o.Text("commit")
	source.Path, _ = o.Text("path")
	return source
}

func (w *walk) labels(v yamltree.Value) map[string]string {
	var labels map[string]string
	o, _ := w.Reader.Object(v)
	for _, key := range o.Keys() {
		if key == "" {
			w.Add(o.Key(key).At(v.Path()), yamltree.CodeBadName, "a label has an empty name; give it one")
			continue
		}
		if text, ok := w.String(o.Get(key), maxLine); ok {
			if labels == nil {
				labels = map[string]string{}
			}
			labels[key] = text
		}
	}
	return labels
}
