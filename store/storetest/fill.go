package storetest

import (
	"math"
	"reflect"
	"strings"
	"time"

	"pgregory.net/rapid"

	"github.com/replicante-io/playbooks/record"
)

// values makes the values that fill gives to the fields of a record.
type values interface {
	text() string
	key() string // of a map
	number() int64
	boolean() bool
	time() time.Time
	document() record.Document
	size() int     // of a list or map
	present() bool // whether a pointer is not nil
}

// fill sets every field below value that JSON has.
func fill(value reflect.Value, from values) {
	switch value.Type() {
	case timeType:
		value.Set(reflect.ValueOf(from.time()))
		return
	case documentType:
		value.Set(reflect.ValueOf(from.document()))
		return
	}
	switch value.Kind() {
	case reflect.String:
		value.SetString(from.text())
	case reflect.Bool:
		value.SetBool(from.boolean())
	case reflect.Int, reflect.Int64:
		value.SetInt(from.number())
	case reflect.Float64:
		value.SetFloat(float64(from.number()) / 2)
	case reflect.Pointer:
		if from.present() {
			value.Set(reflect.New(value.Type().Elem()))
			fill(value.Elem(), from)
		}
	case reflect.Slice:
		n := from.size()
		value.Set(reflect.MakeSlice(value.Type(), n, n))
		for i := range n {
			fill(value.Index(i), from)
		}
	case reflect.Map:
		value.Set(reflect.MakeMap(value.Type()))
		for range from.size() {
			key, item := reflect.New(value.Type().Key()).Elem(), reflect.New(value.Type().Elem()).Elem()
			key.SetString(from.key())
			fill(item, from)
			value.SetMapIndex(key, item)
		}
	case reflect.Struct:
		for i := range value.NumField() {
			if name, _, _ := strings.Cut(value.Type().Field(i).Tag.Get("json"), ","); name != "-" {
				fill(value.Field(i), from)
			}
		}
	default:
		// A field of type any, or a map[string]any, would not keep whole numbers: use record.Document.
		panic("cannot fill a " + value.Type().String())
	}
}

// counted makes values that are not empty, and different from each other as far as their type allows.
type counted struct{ n int }

func (c *counted) number() int64             { c.n++; return int64(c.n) }
func (c *counted) text() string              { return "text " + string(rune('a'+c.number()%26)) }
func (c *counted) key() string               { return "key " + string(rune('a'+c.number()%26)) }
func (c *counted) boolean() bool             { return true }
func (c *counted) time() time.Time           { return *startPlus(time.Duration(c.number()) * time.Millisecond) }
func (c *counted) document() record.Document { return document() }
func (c *counted) size() int                 { return 2 }
func (c *counted) present() bool             { return true }

// Filled is a record without an empty field.
func Filled[T any]() T {
	var value T
	fill(reflect.ValueOf(&value).Elem(), &counted{})
	return value
}

// random draws any values, also empty ones.
type random struct{ t *rapid.T }

func (r random) text() string { return rapid.String().Draw(r.t, "text") }
func (r random) key() string {
	return rapid.StringMatching(`[A-Za-z0-9_./$ é-]{1,8}`).Draw(r.t, "key")
}
func (r random) number() int64 { return rapid.Int64().Draw(r.t, "number") }
func (r random) boolean() bool { return rapid.Bool().Draw(r.t, "boolean") }
func (r random) size() int     { return rapid.IntRange(0, 2).Draw(r.t, "size") }
func (r random) present() bool { return rapid.IntRange(0, 3).Draw(r.t, "present") > 0 }

// time is in the future, so that no record expires.
func (r random) time() time.Time {
	return *startPlus(time.Duration(rapid.Int64Range(0, 1<<40).Draw(r.t, "ms")) * time.Millisecond)
}

var randomDocuments = func() *rapid.Generator[map[string]any] {
	name := rapid.String().Filter(func(s string) bool { return !strings.ContainsRune(s, 0) }) // BSON has no NUL in keys
	scalar := rapid.OneOf(
		rapid.Just[any](nil), rapid.Bool().AsAny(), rapid.String().AsAny(), rapid.Int64().AsAny(),
		rapid.Float64().AsAny(), rapid.Map(rapid.Int64(), func(n int64) float64 { return float64(n) }).AsAny(),
	)
	level := scalar
	for range 2 {
		level = rapid.OneOf(scalar, rapid.SliceOfN(level, 0, 3).AsAny(), rapid.MapOfN(name, level, 0, 3).AsAny())
	}
	return rapid.MapOfN(name, level, 0, 3)
}()

func (r random) document() record.Document {
	return record.Document(randomDocuments.Draw(r.t, "document"))
}

// drawn is a record of random values.
func drawn[T any](t *rapid.T) T {
	var value T
	fill(reflect.ValueOf(&value).Elem(), random{t})
	return value
}

// document holds what documents may hold: whole numbers stay whole, others do not become so, and any name is a key.
func document() record.Document {
	values := map[string]any{
		"null": nil, "true": true, "false": false, "empty": "", "text": "plain", "unicode": "naïve 日本 \U0001f600 \u0000 <&>\"\\\n",
		"one": int64(1), "negative": int64(-7), "largest": int64(math.MaxInt64), "smallest": int64(math.MinInt64),
		"half": 0.5, "whole": 3.0, "large": 1e300, "tiny": 5e-324, "precise": 0.1, "exact": float64(1 << 60),
		"list": []any{nil, int64(1), 1.5, "x", []any{}, map[string]any{"deep": []any{true}}}, "none": []any{}, "nothing": map[string]any{},
		"with.dots.in": int64(1), "$dollar": int64(2), "$set": map[string]any{"$inc": "x"}, "a.$.b": true, "": "no name", "ключ": "value",
		"_id": int64(9), "2026-01-02T03:04:05Z": "2026-01-02T03:04:05Z",
	}
	return record.Document{"nested": values, "with.dots": []any{values}, "$dollar": values, "whole": 2.0, "n": int64(2)}
}
