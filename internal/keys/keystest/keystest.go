// Package keystest compares tables of keys with documents.
package keystest

import (
	"slices"

	"github.com/replicante-io/playbooks/internal/keys"
)

// place is a key of one of the mappings of a table. A mapping that stands in several places is one.
type place struct {
	mapping *keys.Mapping
	key     string
}

// Unused are the keys of the table that none of the documents uses, such as spec.stages.batch.
func Unused(table *keys.Mapping, documents ...any) []string {
	unused := map[place]string{}
	all(table, "", unused)
	for _, document := range documents {
		use(table, document, unused)
	}
	var paths []string
	for _, path := range unused {
		paths = append(paths, path)
	}
	slices.Sort(paths)
	return paths
}

// all adds the paths of all keys.
func all(t keys.Type, path string, paths map[place]string) {
	switch t := t.(type) {
	case *keys.Mapping:
		for _, k := range t.Keys {
			inner := k.Name
			if path != "" {
				inner = path + "." + k.Name
			}
			if here := (place{t, k.Name}); paths[here] == "" {
				paths[here] = inner
				all(k.Type, inner, paths)
			}
		}
	case keys.List:
		all(t.Of, path, paths)
	case keys.Map:
		all(t.Of, path, paths)
	case keys.OneOf:
		for _, one := range t {
			all(one, path, paths)
		}
	}
}

// use removes the keys that the value has.
func use(t keys.Type, value any, paths map[place]string) {
	switch t := t.(type) {
	case *keys.Mapping:
		mapping, _ := value.(map[string]any)
		for _, k := range t.Keys {
			if inner, given := mapping[k.Name]; given {
				delete(paths, place{t, k.Name})
				use(k.Type, inner, paths)
			}
		}
	case keys.List:
		list, _ := value.([]any)
		for _, inner := range list {
			use(t.Of, inner, paths)
		}
	case keys.Map:
		mapping, _ := value.(map[string]any)
		for _, inner := range mapping {
			use(t.Of, inner, paths)
		}
	case keys.OneOf:
		for _, one := range t {
			use(one, value, paths)
		}
	}
}
