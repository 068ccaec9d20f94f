package store

import (
	"reflect"
	"slices"
	"strings"

	"github.com/replicante-io/playbooks/record"
)

// immutableRunFields are the stored names of the fields of a run that no commit changes.
var immutableRunFields = []string{
	"id", "cluster", "playbook", "params", "where", "nodes", "override_freeze", "reason", "requested_by", "idempotency_key", "created_ts", "concurrency",
}

var immutableRunIndexes = func() [][]int {
	var indexes [][]int
	for _, field := range fieldsOf(reflect.TypeFor[record.Run]()) {
		if slices.Contains(immutableRunFields, field.name) {
			indexes = append(indexes, field.Index)
		}
	}
	return indexes
}()

// KeepImmutable sets the fields of run that no commit changes to those of stored.
func KeepImmutable(run, stored *record.Run) {
	to, from := reflect.ValueOf(run).Elem(), reflect.ValueOf(stored).Elem()
	for _, index := range immutableRunIndexes {
		to.FieldByIndex(index).Set(from.FieldByIndex(index))
	}
}

// MutableRunFields are the stored names of the fields of a run that commits write.
func MutableRunFields() []string {
	return slices.DeleteFunc(FieldNames[record.Run](), func(name string) bool { return slices.Contains(immutableRunFields, name) })
}

// FieldNames are the names, in JSON and in every store, of the fields of a record.
func FieldNames[Record any]() []string {
	var names []string
	for _, field := range fieldsOf(reflect.TypeFor[Record]()) {
		names = append(names, field.name)
	}
	return names
}

type field struct {
	reflect.StructField
	name string
}

// fieldsOf lists the fields of a struct as JSON has them: those of an embedded struct without a name are the struct's own.
func fieldsOf(t reflect.Type) []field {
	var fields []field
	for f := range t.Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case name == "-":
		case name == "" && f.Anonymous && f.Type.Kind() == reflect.Struct:
			for _, inner := range fieldsOf(f.Type) {
				inner.Index = append(slices.Clone(f.Index), inner.Index...)
				fields = append(fields, inner)
			}
		case f.IsExported():
			if name == "" {
				name = f.Name
			}
			fields = append(fields, field{f, name})
		}
	}
	return fields
}
