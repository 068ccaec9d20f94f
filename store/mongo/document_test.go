package mongo

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/replicante-io/playbooks/record"
	"github.com/replicante-io/playbooks/store/storetest"
)

// JSON has the fields of an embedded struct as the struct's own. BSON does so only with `json:",inline"`.
func TestDocumentsHaveTheFieldNamesOfJSON(t *testing.T) {
	for _, value := range []any{
		storetest.Filled[record.Run](), storetest.Filled[record.RunNode](), storetest.Filled[record.Event](),
		storetest.Filled[record.Node](), storetest.Filled[record.Playbook](), storetest.Filled[record.IdempotencyRecord](),
		storetest.Filled[record.Term](),
	} {
		text, err := json.Marshal(value)
		must(t, err)
		var object map[string]any
		must(t, json.Unmarshal(text, &object))
		raw, err := encode("the record", value)
		must(t, err)
		if diff := cmp.Diff(namesOfJSON(object), namesOfBSON(t, bson.RawValue{Type: bson.TypeEmbeddedDocument, Value: raw})); diff != "" {
			t.Errorf("%T (-JSON +BSON):\n%s", value, diff)
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// namesOfJSON is value with only the names and lists in it.
func namesOfJSON(value any) any {
	switch v := value.(type) {
	case map[string]any:
		names := map[string]any{}
		for name, inner := range v {
			names[name] = namesOfJSON(inner)
		}
		return names
	case []any:
		list := []any{}
		for _, inner := range v {
			list = append(list, namesOfJSON(inner))
		}
		return list
	}
	return nil
}

// namesOfBSON is value with only the names and lists in it.
func namesOfBSON(t *testing.T, value bson.RawValue) any {
	t.Helper()
	switch value.Type {
	case bson.TypeEmbeddedDocument:
		elements, err := value.Document().Elements()
		must(t, err)
		names := map[string]any{}
		for _, element := range elements {
			names[element.Key()] = namesOfBSON(t, element.Value())
		}
		return names
	case bson.TypeArray:
		values, err := value.Array().Values()
		must(t, err)
		list := []any{}
		for _, inner := range values {
			list = append(list, namesOfBSON(t, inner))
		}
		return list
	}
	return nil
}
