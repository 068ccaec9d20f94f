package storetest

import (
	"fmt"
	"reflect"
	"time"

	"github.com/replicante-io/playbooks/record"
)

var (
	timeType     = reflect.TypeFor[time.Time]()
	documentType = reflect.TypeFor[record.Document]()
)

// clone copies value so that nothing is shared, as a store would give it back: times in UTC and whole milliseconds,
// documents normalised. It panics on what no store can hold, such as NaN.
func clone[T any](value T) T {
	return deep(reflect.ValueOf(&value).Elem()).Interface().(T)
}

func deep(from reflect.Value) reflect.Value {
	switch from.Type() {
	case timeType:
		return reflect.ValueOf(record.Time(from.Interface().(time.Time)))
	case documentType:
		if from.IsNil() {
			return from
		}
		normal, err := record.Normalize(from.Interface())
		if err != nil {
			panic(fmt.Sprintf("a store cannot hold this document: %v", err))
		}
		return reflect.ValueOf(record.Document(normal.(map[string]any)))
	}
	switch from.Kind() {
	case reflect.Pointer:
		if from.IsNil() {
			return from
		}
		to := reflect.New(from.Type().Elem())
		to.Elem().Set(deep(from.Elem()))
		return to
	case reflect.Slice:
		if from.IsNil() {
			return from
		}
		to := reflect.MakeSlice(from.Type(), from.Len(), from.Len())
		for i := range from.Len() {
			to.Index(i).Set(deep(from.Index(i)))
		}
		return to
	case reflect.Map:
		if from.IsNil() {
			return from
		}
		to := reflect.MakeMapWithSize(from.Type(), from.Len())
		for entries := from.MapRange(); entries.Next(); {
			to.SetMapIndex(entries.Key(), deep(entries.Value()))
		}
		return to
	case reflect.Struct:
		to := reflect.New(from.Type()).Elem()
		for i := range from.NumField() {
			to.Field(i).Set(deep(from.Field(i)))
		}
		return to
	}
	return from
}
