package playbook

import (
	"time"

	"github.com/replicante-io/playbooks/internal/keys"
	"github.com/replicante-io/playbooks/internal/yamltree"
)

// object is a mapping that is read by its table of keys. A value that is not given, or wrong, is read as its default.
type object struct {
	mapping *yamltree.Object
	table   *keys.Mapping
	walk    *walk
}

// Object starts to read a mapping. If v is not a mapping, that is reported, the object is empty and ok is false.
func (w *walk) Object(v yamltree.Value, table *keys.Mapping) (o *object, ok bool) {
	mapping, ok := w.Reader.Object(v)
	mapping.Expect(table.Names()...)
	if table.Ignored != "" {
		mapping.Ignore(table.Ignored)
	}
	return &object{mapping, table, w}, ok
}

// defaults is a mapping without keys.
func (w *walk) defaults(table *keys.Mapping) *object {
	return &object{&yamltree.Object{}, table, w}
}

// End reports the keys that are not in the table.
func (o *object) End() { o.mapping.End(o.table.Renamed) }

// Get is the value of a key. One that is required and not given is reported.
func (o *object) Get(key string) yamltree.Value {
	if k := o.table.Key(key); k.Required != "" {
		return o.mapping.Need(key, k.Required)
	}
	return o.mapping.Get(key)
}

// Key is the place of a key, or of the mapping if the key is not given.
func (o *object) Key(key string) yamltree.Value { return o.mapping.Key(key) }

// Given reports whether a key is given.
func (o *object) Given(key string) bool { return o.Get(key).Given() }

func (o *object) Text(key string) (string, bool) {
	return o.walk.String(o.Get(key), keys.As[keys.Text](o.table.Key(key)).Most)
}

func (o *object) Bool(key string) bool {
	b, _ := o.walk.Bool(o.Get(key))
	return b
}

func (o *object) Int(key string) int {
	v, k := o.Get(key), o.table.Key(key)
	if v.Given() {
		bounds := keys.As[keys.Int](k)
		if i, ok := o.walk.Int(v, bounds.Least, bounds.Most); ok {
			return i
		}
	}
	i, _ := k.Default.(int)
	return i
}

func (o *object) Duration(key string) time.Duration {
	v, k := o.Get(key), o.table.Key(key)
	otherwise, _ := k.Default.(time.Duration)
	bounds := keys.As[keys.Duration](k)
	d, ok := o.walk.Duration(v)
	switch {
	case !ok:
		return otherwise
	case d < bounds.Least || d > bounds.Most:
		o.walk.Add(v, yamltree.CodeBadValue, "must be between %s and %s, not %s", yamltree.FormatDuration(bounds.Least), yamltree.FormatDuration(bounds.Most), v.Text())
		return otherwise
	}
	return d
}

func (o *object) Amount(key string) Amount {
	if v := o.Get(key); v.Given() {
		amount, _ := o.walk.amount(v, keys.As[keys.Amount](o.table.Key(key)))
		return amount
	}
	count, _ := o.table.Key(key).Default.(int)
	return Amount{Count: count}
}

// List passes the items of a list to item.
func (o *object) List(key string, item func(i int, v yamltree.Value)) {
	o.walk.list(o.Get(key), keys.As[keys.List](o.table.Key(key)), item)
}

func (w *walk) list(v yamltree.Value, t keys.List, item func(i int, v yamltree.Value)) {
	if t.Empty && v.IsList() && len(v.Items()) == 0 {
		return
	}
	w.List(v, t.Most, t.Items, item)
}

// choice reads one of the texts that the table has for a key.
func choice[T ~string](o *object, key string) T {
	k := o.table.Key(key)
	choices := keys.As[keys.Choice](k)
	known := make([]T, len(choices))
	for i, c := range choices {
		known[i] = T(c)
	}
	if v := o.Get(key); v.Given() {
		if read, ok := yamltree.Choice(o.walk.Reader, v, known...); ok {
			return read
		}
	}
	otherwise, _ := k.Default.(string)
	return T(otherwise)
}
