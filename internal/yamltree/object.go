package yamltree

import (
	"slices"

	"gopkg.in/yaml.v3"
)

// Object is a mapping whose keys are read one by one. End reports the keys that were not read.
type Object struct {
	Node *yaml.Node
	Path string
	Keys []*yaml.Node // as written, without those that the checks refused

	reader *Reader
	asked  []string
	values map[string]*yaml.Node
}

// Object starts to read a mapping. If n is none, that is reported, the object is empty and ok is false.
func (r *Reader) Object(n *yaml.Node, path string) (o *Object, ok bool) {
	n = Target(n)
	o = &Object{Node: n, Path: path, reader: r, values: map[string]*yaml.Node{}}
	if n.Kind != yaml.MappingNode {
		r.WrongType(n, path, "a mapping (key: value)")
		return o, false
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		if r.reported[key] || key.Kind != yaml.ScalarNode {
			continue
		}
		o.Keys = append(o.Keys, key)
		o.values[key.Value] = Target(n.Content[i+1])
	}
	return o, true
}

// At is the path of a key.
func (o *Object) At(key string) string { return Join(o.Path, key) }

// Join is the path of a key of the mapping at path.
func Join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// Get is the value of a key, or nil if it is not given. A key without a value is reported.
func (o *Object) Get(key string) *yaml.Node {
	o.asked = append(o.asked, key)
	n := o.values[key]
	if n == nil {
		return nil
	}
	if IsNull(n) {
		o.reader.Add(o.Key(key), o.At(key), CodeMissing, "has no value; give one, or remove the key")
		return nil
	}
	return n
}

// Need is Get for a required key. The hint says what to write.
func (o *Object) Need(key, hint string) *yaml.Node {
	n := o.Get(key)
	if n == nil && o.values[key] == nil && o.Node.Kind == yaml.MappingNode {
		o.reader.Add(o.Node, o.At(key), CodeMissing, "is missing; %s", hint)
	}
	return n
}

// Key is the node of a key, or of the mapping if the key is not given.
func (o *Object) Key(name string) *yaml.Node {
	for _, key := range o.Keys {
		if key.Value == name {
			return key
		}
	}
	return o.Node
}

// Known declares keys that may be given and are not read.
func (o *Object) Known(keys ...string) { o.asked = append(o.asked, keys...) }

// End reports the keys that are neither read nor known. Renamed maps former names of keys to the current ones, for the
// message.
func (o *Object) End(renamed map[string]string) {
	for _, key := range o.Keys {
		if slices.Contains(o.asked, key.Value) {
			continue
		}
		hint := DidYouMean(key.Value, o.asked)
		if current := renamed[key.Value]; slices.Contains(o.asked, current) {
			hint = "; " + key.Value + " was renamed to " + current
		}
		o.reader.Add(key, o.At(key.Value), CodeUnknownKey, "unknown key%s", hint)
	}
}
