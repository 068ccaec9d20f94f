package playbook_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/replicante-io/playbooks/playbook"
	"github.com/replicante-io/playbooks/record"
)

func TestParamsAreConvertedToTheirTypes(t *testing.T) {
	spec := parse(t, "STAGE\n"+allParams)[0].Spec
	for _, c := range []struct {
		name  string
		given any
		want  any
	}{
		{"text", "x", "x"}, {"text", "5", "5"}, {"text", "", ""}, {"text", "true", "true"},
		{"count", int64(5), int64(5)}, {"count", "5", int64(5)}, {"count", "-5", int64(-5)}, {"count", 5.0, int64(5)}, {"count", 5, int64(5)},
		{"ratio", 1.5, 1.5}, {"ratio", "1.5", 1.5}, {"ratio", int64(2), 2.0}, {"ratio", "1e3", 1000.0},
		{"flag", true, true}, {"flag", "true", true}, {"flag", "false", false},
		{"wait", "30s", "30s"}, {"wait", "90s", "1m30s"}, {"wait", "60m", "1h"}, {"wait", "0s", "0s"},
		{"items", []any{"a"}, []any{"a"}}, {"items", `["a", 1]`, []any{"a", int64(1)}}, {"items", "[a, 1.0]", []any{"a", 1.0}},
		{"items", "- a\n- b", []any{"a", "b"}},
		{"table", `{"a": {"b": null}}`, map[string]any{"a": map[string]any{"b": nil}}}, {"table", "a: 1", map[string]any{"a": int64(1)}},
		{"table", record.Document{"a": 1}, map[string]any{"a": int64(1)}},
	} {
		bound, problems := spec.BindParams(record.Document{c.name: c.given})
		if diff := cmp.Diff(record.Document{c.name: c.want}, bound); diff != "" || len(problems) > 0 {
			t.Errorf("%s = %#v: %v\n%s", c.name, c.given, problems, diff)
		}
	}
}

func TestBadParamsAreRefusedByName(t *testing.T) {
	spec := parse(t, "STAGE\n"+allParams+"    - {name: must, type: string, required: true}\n")[0].Spec
	for _, c := range []struct {
		name, code, message string
		given               any
	}{
		{"text", "wrong_type", "quote it", int64(5)},
		{"text", "wrong_type", "has no value", nil},
		{"count", "wrong_type", `an integer (int), not the string "five"`, "five"},
		{"count", "wrong_type", "not the number 1.5", 1.5},
		{"count", "wrong_type", "an integer", "1e3"},
		{"count", "wrong_type", "an integer", true},
		{"count", "wrong_type", "do not agree which number", "010"},
		{"count", "wrong_type", "do not agree which number", "0x10"},
		{"count", "wrong_type", "do not agree which number", "1_000"},
		{"ratio", "wrong_type", "do not agree which number", "1_000.5"},
		{"items", "wrong_type", "quote it", "[7.10]"},
		{"items", "wrong_type", "quote it", "[1e3]"},
		{"ratio", "wrong_type", "a number (float)", "NaN"},
		{"flag", "wrong_type", "true or false", "yes"},
		{"flag", "wrong_type", "true or false", int64(1)},
		{"wait", "wrong_type", "such as 30s", "30"},
		{"wait", "wrong_type", "such as 30s", int64(30)},
		{"items", "wrong_type", "a list, not a mapping", "{a: 1}"},
		{"items", "wrong_type", "not valid YAML", "[a"},
		{"items", "wrong_type", "several", "[a]\n---\n[b]"},
		{"items", "wrong_type", "no value", ""},
		{"items", "wrong_type", "already given", "[{a: 1, a: 2}]"},
		{"table", "wrong_type", "a mapping, not a list", []any{}},
		{"table", "wrong_type", "not a JSON value", map[string]any{"a": struct{}{}}},
		{"txt", "unknown_param", "did you mean text?", "x"},
		{"foo", "unknown_param", "expected one of text, count", "x"},
	} {
		_, problems := spec.BindParams(record.Document{"must": "x", c.name: c.given})
		if len(problems) != 1 || problems[0].Path != "params."+c.name || problems[0].Code != c.code || !strings.Contains(problems[0].Message, c.message) {
			t.Errorf("%s = %#v: got %v", c.name, c.given, problems)
		}
	}
	_, problems := spec.BindParams(record.Document{"foo": 1, "count": "x"})
	if len(problems) != 3 || strings.Contains(problems.Error(), ":0") { // all at once, the missing one too
		t.Errorf("got %v", problems)
	}
	_, problems = parse(t, "STAGE\n")[0].Spec.BindParams(record.Document{"foo": 1})
	if len(problems) != 1 || !strings.Contains(problems[0].Message, "declares no params") {
		t.Errorf("got %v", problems)
	}
}

func TestDefaultsReplaceParamsThatAreNotGiven(t *testing.T) {
	spec := parse(t, `STAGE
  params:
    - {name: a, type: duration, default: 90s}
    - {name: b, type: int, default: 0}
    - {name: c, type: string}
    - {name: d, type: bool, default: false}
    - {name: e, type: list, default: [{x: 1}]}
    - {name: f, type: string, default: ""}
`)[0].Spec
	bound, problems := spec.BindParams(record.Document{"b": int64(7)})
	want := record.Document{"a": "1m30s", "b": int64(7), "d": false, "e": []any{map[string]any{"x": int64(1)}}, "f": ""}
	if diff := cmp.Diff(want, bound); diff != "" || problems != nil {
		t.Error(problems, diff)
	}
}

// TestBoundParamsBindToThemselves: the params that a run carries are the same after JSON, and as strings of a command line.
func TestBoundParamsBindToThemselves(t *testing.T) {
	spec := parse(t, "STAGE\n"+allParams)[0].Spec
	rapid.Check(t, func(r *rapid.T) {
		item := rapid.OneOf(rapid.Just[any](nil), rapid.Just[any](true), rapid.Map(rapid.Int64(), func(i int64) any { return i }),
			rapid.Map(rapid.StringN(0, 5, -1), func(s string) any { return s }))
		given := record.Document{
			"text":  rapid.String().Draw(r, "text"),
			"count": rapid.Int64().Draw(r, "count"),
			"ratio": rapid.Float64Range(-1e9, 1e9).Draw(r, "ratio"),
			"flag":  rapid.Bool().Draw(r, "flag"),
			"wait":  fmt.Sprintf("%dms", rapid.IntRange(0, 1e9).Draw(r, "wait")),
			"items": rapid.SliceOf(item).Draw(r, "items"),
		}
		bound, problems := spec.BindParams(given)
		if problems != nil {
			r.Fatal(problems)
		}
		encoded, err := json.Marshal(bound)
		if err != nil {
			r.Fatal(err)
		}
		var read record.Document
		if err := json.Unmarshal(encoded, &read); err != nil {
			r.Fatal(err)
		}
		again, problems := spec.BindParams(read)
		if diff := cmp.Diff(bound, again); diff != "" || problems != nil {
			r.Fatal(problems, diff)
		}
		for _, name := range []string{"count", "ratio", "flag"} {
			text, _ := json.Marshal(bound[name])
			fromText, problems := spec.BindParams(record.Document{name: string(text)})
			if problems != nil || fromText[name] != bound[name] {
				r.Fatalf("%s as text: %v, %v", name, fromText, problems)
			}
		}
	})
}

func TestAmountsAreRoundedDown(t *testing.T) {
	for _, c := range []struct {
		amount      playbook.Amount
		total, want int
	}{
		{playbook.Amount{Count: 3}, 10, 3}, {playbook.Amount{Count: 3}, 1, 3}, {playbook.Amount{}, 10, 0},
		{playbook.Amount{Percent: 25}, 10, 2}, {playbook.Amount{Percent: 25}, 3, 0}, {playbook.Amount{Percent: 100}, 7, 7},
		{playbook.Amount{Percent: 33}, 1_000_000, 330_000},
	} {
		if got := c.amount.Of(c.total); got != c.want {
			t.Errorf("%+v of %d is %d", c.amount, c.total, got)
		}
	}
}
