package yamltree

import (
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// Object is a mapping whose keys are read one by one. End reports the keys that were not read.
type Object struct {
	reader  *Reader
	mapping Value
	names   []string // of the keys as written, without those that the checks refused
	keys    map[string]*yaml.Node
	values  map[string]*yaml.Node
	asked   []string
	ignored string // the prefix of keys that anybody may use
}

// Object starts to read a mapping. If v is not a mapping, that is reported, the object is empty and ok is false.
func (r *Reader) Object(v Value) (o *Object, ok bool) {
	o = &Object{reader: r, mapping: v, keys: map[string]*yaml.Node{}, values: map[string]*yaml.Node{}}
	if !v.IsMapping() {
		r.WrongType(v, "a mapping (key: value)")
		return o, false
	}
	for i := 0; i+1 < len(v.node.Content); i += 2 {
		key := v.node.Content[i]
		if r.reported[key] || key.Kind != yaml.ScalarNode {
			continue
		}
		o.names = append(o.names, key.Value)
		o.keys[key.Value] = key
		o.values[key.Value] = target(v.node.Content[i+1])
	}
	return o, true
}

// Keys are the names of the keys that are given, in their order.
func (o *Object) Keys() []string { return o.names }

// Get is the value of a key, which may be not given. A key without a value is reported, and is not given.
func (o *Object) Get(key string) Value {
	o.Expect(key)
	value := o.Untyped(key)
	if value.isNull() {
		o.reader.Add(o.Key(key), CodeMissing, "has no value; give one, or remove the key")
		value.node = nil
	}
	return value
}

// Untyped is the value of a key that may be anything, including null.
func (o *Object) Untyped(key string) Value { return Value{o.values[key], join(o.mapping.path, key)} }

// Need is Get for a required key. The hint says what to write.
func (o *Object) Need(key, hint string) Value {
	if o.values[key] == nil && o.mapping.IsMapping() {
		o.reader.Add(o.Key(key), CodeMissing, "is missing; %s", hint)
	}
	return o.Get(key)
}

// Key is the place of a key, or of the mapping if the key is not given, with the path of the key.
func (o *Object) Key(name string) Value {
	place := o.keys[name]
	if place == nil {
		place = o.mapping.node
	}
	return Value{place, join(o.mapping.path, name)}
}

// Expect has End accept these keys, also where they are not read. Its message names them in the order in which they are expected.
func (o *Object) Expect(keys ...string) {
	for _, key := range keys {
		if !slices.Contains(o.asked, key) {
			o.asked = append(o.asked, key)
		}
	}
}

// Ignore has End accept keys that begin with the prefix.
func (o *Object) Ignore(prefix string) { o.ignored = prefix }

// End reports the keys that were neither expected nor read. Renamed maps former names of keys to the current ones, for the message.
func (o *Object) End(renamed map[string]string) {
	for _, key := range o.names {
		if slices.Contains(o.asked, key) || o.ignored != "" && strings.HasPrefix(key, o.ignored) {
			continue
		}
		hint := DidYouMean(key, o.asked)
		if current := renamed[key]; slices.Contains(o.asked, current) {
			hint = "; " + key + " was renamed to " + current
		}
		o.reader.Add(o.Key(key), CodeUnknownKey, "unknown key%s", hint)
	}
}
