package store

import (
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/replicante-io/playbooks/record"
)

type Embedded struct {
	Inner string `json:"inner"`
	Own   string `json:"-"`
}

type embedding struct {
	First string `json:"first,omitzero"`
	Embedded
	Named    Embedded `json:"named"`
	Unnamed  int
	internal int
}

func TestFieldNamesAreThoseOfJSON(t *testing.T) {
	text, err := json.Marshal(embedding{First: "x", internal: 1})
	if err != nil {
		t.Fatal(err)
	}
	var object map[string]any
	if err := json.Unmarshal(text, &object); err != nil {
		t.Fatal(err)
	}
	want := slices.Sorted(maps.Keys(object))
	got := FieldNames[embedding]()
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	value := reflect.ValueOf(embedding{Embedded: Embedded{Inner: "found"}})
	for _, field := range fieldsOf(value.Type()) {
		if field.name == "inner" && value.FieldByIndex(field.Index).String() != "found" {
			t.Errorf("field inner has index %v", field.Index)
		}
	}
}

func TestEveryFieldOfARunIsEitherImmutableOrWrittenByCommits(t *testing.T) {
	names := FieldNames[record.Run]()
	for _, name := range immutableRunFields {
		if !slices.Contains(names, name) {
			t.Errorf("a run has no field %s", name)
		}
	}
	if got := len(MutableRunFields()) + len(immutableRunFields); got != len(names) {
		t.Errorf("%d of %d fields are immutable or mutable", got, len(names))
	}
	stored := record.Run{ID: "stored", Params: record.Document{"a": "b"}, State: record.RunPending, CreatedTS: time.Unix(1, 0)}
	run := record.Run{ID: "other", State: record.RunRunning, Reason: "other", Rev: 2}
	KeepImmutable(&run, &stored)
	want := stored
	want.State, want.Rev = record.RunRunning, 2
	if diff := cmp.Diff(want, run); diff != "" {
		t.Error(diff)
	}
}
