package record_test

import (
	"encoding/json"
	"math"
	"reflect"
	"testing"

	"pgregory.net/rapid"

	"github.com/replicante-io/playbooks/record"
)

func TestADocumentComesBackFromJSONAsItWas(t *testing.T) {
	scalar := rapid.OneOf(
		rapid.Just[any](nil), rapid.Bool().AsAny(), rapid.String().AsAny(), rapid.Int64().AsAny(),
		rapid.Float64().AsAny(), rapid.Map(rapid.Int64(), func(n int64) float64 { return float64(n) }).AsAny(),
	)
	level := scalar
	for range 3 {
		level = rapid.OneOf(scalar, rapid.SliceOf(level).AsAny(), rapid.MapOf(rapid.String(), level).AsAny())
	}
	rapid.Check(t, func(t *rapid.T) {
		want := record.Document(rapid.MapOf(rapid.String(), level).Draw(t, "document"))
		text, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		var got record.Document
		if err := json.Unmarshal(text, &got); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("%#v became %#v by way of %s", want, got, text)
		}
	})
}

func TestADocumentThatJSONCannotHoldIsAnError(t *testing.T) {
	for _, value := range []any{math.NaN(), math.Inf(1), func() {}} {
		if text, err := json.Marshal(record.Document{"list": []any{value}}); err == nil {
			t.Errorf("%v was written as %s", value, text)
		}
	}
}
