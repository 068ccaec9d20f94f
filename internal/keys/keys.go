// Package keys describes the keys of documents: what they are called, which values they take, and what they are for. The
// parser of a document reads it by such a table, and the JSON Schema of the document is made from the same table.
package keys

import (
	"regexp"
	"slices"
	"time"
)

// Mapping is a mapping with fixed keys.
type Mapping struct {
	Title   string // of a document; "": none
	About   string
	Keys    []Key
	Ignored string            // the prefix of keys that anybody may use; "": none
	Renamed map[string]string // former names of keys, with the current ones
}

// Key is one key of a mapping.
type Key struct {
	Name     string
	Type     Type
	About    string // for people, in a sentence or two
	Required string // what to write where the key is missing; "": the key is optional
	Default  any    // as the parser returns it; nil: there is none, or About describes it
}

// Type is which values a key takes: one of the types below, or a *Mapping.
type Type interface{ jsonSchema() map[string]any }

// Text is a string.
type Text struct {
	Most    int            // characters; 0: without a limit
	Pattern *regexp.Regexp // nil: any
}

// Bool is true or false.
type Bool struct{}

// Int is an integer.
type Int struct{ Least, Most int }

// Amount is a count, or a percentage such as "25%".
type Amount struct{ Least, Most int }

// Duration is a text such as 30s. A Most of 0 is without a limit.
type Duration struct{ Least, Most time.Duration }

// Time is a time with its offset from UTC, such as 2026-11-27T00:00:00Z.
type Time struct{}

// Choice is one of a few texts.
type Choice []string

// List is a list of at least one and at most Most items. Items is what they are, in the plural.
type List struct {
	Of    Type
	Items string
	Most  int
	Empty bool // it may have no items
}

// Map is a mapping whose keys the author of the document chooses.
type Map struct {
	Of          Type
	Names       *regexp.Regexp // nil: any
	Least, Most int            // keys; a Most of 0 is without a limit
}

// Any is any value.
type Any struct{}

// OneOf is a value of any of several types.
type OneOf []Type

// Names are the names of the keys, in the order of the table.
func (m *Mapping) Names() []string {
	names := make([]string, len(m.Keys))
	for i, k := range m.Keys {
		names[i] = k.Name
	}
	return names
}

// Key returns the key of that name. It must be in the table.
func (m *Mapping) Key(name string) Key {
	i := slices.IndexFunc(m.Keys, func(k Key) bool { return k.Name == name })
	if i < 0 {
		panic("the table of keys has no " + name + ": add it")
	}
	return m.Keys[i]
}

// As returns the type of a key, or the one of its types that is a T. There must be one.
func As[T Type](k Key) T {
	if t, ok := find[T](k.Type); ok {
		return t
	}
	panic("the table of keys has another type for " + k.Name + ": correct it")
}

func find[T Type](t Type) (T, bool) {
	if found, ok := t.(T); ok {
		return found, true
	}
	if types, ok := t.(OneOf); ok {
		for _, one := range types {
			if found, ok := find[T](one); ok {
				return found, true
			}
		}
	}
	var none T
	return none, false
}
