package playbook_test

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/replicante-io/playbooks/playbook"
	"github.com/replicante-io/playbooks/record"
)

const allParams = `
  params:
    - {name: text, type: string}
    - {name: count, type: int}
    - {name: ratio, type: float}
    - {name: flag, type: bool}
    - {name: wait, type: duration}
    - {name: items, type: list}
    - {name: table, type: map}
`

// expr compiles an expression that an argument may hold.
func arg(t testing.TB, text string) *playbook.Template {
	t.Helper()
	p := parse(t, "STEP\n          args:\n            a: |-\n              ${"+text+"}\n            rest: 1\n"+
		"    - {name: later, steps: [{name: one, action: x}]}\n"+allParams)[0]
	return p.Spec.Stages[0].Steps[0].Args
}

func condition(t testing.TB, text string) *playbook.Expr {
	t.Helper()
	return parse(t, "STAGE\n      targets: |-\n        "+text+"\n"+allParams)[0].Spec.Stages[0].Targets
}

func facts() playbook.Vars {
	primary := map[string]any{
		"id": "node-1", "cluster": "orders", "status": "HEALTHY", "role": "PRIMARY", "store_id": "redis-1",
		"attributes": record.Document{"zone": "a", "rack": map[string]any{"row": int64(4)}, "nothing": nil},
		"shards":     []any{map[string]any{"id": "s1", "role": "PRIMARY", "lag": map[string]any{"value": int64(3), "unit": "s"}}, map[string]any{"id": "s2"}},
	}
	bare := record.Document{"id": "node-2", "cluster": "orders", "status": "UNKNOWN", "role": "", "store_version": nil}
	return playbook.Vars{
		"params": record.Document{"text": "x", "count": int64(3), "ratio": int64(2), "flag": true, "wait": "1m30s",
			"items": []any{"a", int64(1)}, "table": map[string]any{"k": "v"}},
		"run":   map[string]any{"id": "r1", "cluster": "orders", "playbook": "restart"},
		"node":  primary,
		"nodes": []any{primary, bare},
		"results": map[string]any{"a": map[string]any{"one": map[string]any{
			"node-1": map[string]any{"state": "DONE", "payload": record.Document{"version": "7.2"}},
			"node-2": map[string]any{"state": "FAILED", "error": map[string]any{"code": "exit", "message": "exit 1"}},
		}}},
	}
}

func TestExpressionsSeeFactsParamsAndResults(t *testing.T) {
	for text, want := range map[string]any{
		`node.role`:                                           "PRIMARY",
		`node.attributes.zone`:                                "a",
		`node.attributes["zone"]`:                             "a",
		`node.attributes.rack.row + 1`:                        int64(5),
		`node.attributes.nothing`:                             nil,
		`has(node.attributes.zone)`:                           true,
		`has(node.attributes.other)`:                          false,
		`"zone" in node.attributes`:                           true,
		`"other" in node.attributes`:                          false,
		`has(node.store_version)`:                             false,
		`node.shards[0].lag.value`:                            int64(3),
		`has(node.shards[1].lag)`:                             false,
		`node.shards.map(s, s.id)`:                            []any{"s1", "s2"},
		`nodes.map(n, n.id)`:                                  []any{"node-1", "node-2"},
		`nodes.filter(n, n.status == "HEALTHY").size()`:       int64(1),
		`nodes.exists(n, has(n.role) && n.role == "PRIMARY")`: true,
		`nodes.exists(n, n.role == "PRIMARY")`:                true, // what is absent elsewhere does not matter
		`true || node.store_version == "1"`:                   true,
		`node.store_version == "1" || true`:                   true,
		`node.store_version == "1" && false`:                  false,
		`nodes[1].attributes.size()`:                          int64(0),
		`params.count + 1`:                                    int64(4),
		`params.ratio / 4.0`:                                  0.5,
		`params.wait`:                                         "1m30s",
		`params.wait > duration("1m")`:                        true,
		`params.wait + duration("30s")`:                       "2m",
		`params.items`:                                        []any{"a", int64(1)},
		`params.table.k`:                                      "v",
		`params.flag ? "yes" : "no"`:                          "yes",
		`params.text + "-" + run.id`:                          "x-r1",
		`run.requested_by`:                                    "",
		`results.a.one[node.id].state`:                        "DONE",
		`results.a.one["node-2"].error.code`:                  "exit",
		`results.a.one[node.id].payload.version`:              "7.2",
		`"node-9" in results.a.one`:                           false,
		`results.a.one.size()`:                                int64(2),
		`{"a": [1, 2.5, {"b": null}]}`:                        map[string]any{"a": []any{int64(1), 2.5, map[string]any{"b": nil}}},
		`"a,b".split(",")`:                                    []any{"a", "b"},
		`[3, 1, 2].sort()`:                                    []any{int64(1), int64(2), int64(3)},
		`math.greatest(1, 5)`:                                 int64(5),
		`sets.contains([1, 2], [2])`:                          true,
		`timestamp("2024-01-02T03:04:05Z")`:                   "2024-01-02T03:04:05Z",
		`1.0 + 1.0`:                                           2.0,
		`3u`:                                                  int64(3),
		`"}" + '{' + r"\" + "\"}" + """}"}""" + {"a": "}"}.a`: "}{\\\"}}\"}}",
	} {
		resolved, err := arg(t, text).Resolve(facts())
		if err != nil {
			t.Errorf("%s: %v", text, err)
		} else if diff := cmp.Diff(want, resolved["a"]); diff != "" {
			t.Errorf("%s (-want +got):\n%s", text, diff)
		}
	}
}

func TestAnAbsentFactIsNamed(t *testing.T) {
	for text, fact := range map[string]string{
		`node.store_version`:                     "node.store_version of node-1",
		`nodes[1].role`:                          "node.role of node-2",
		`nodes.all(n, n.role == "PRIMARY")`:      "node.role of node-2",
		`nodes.map(n, n.store_id)`:               "node.store_id of node-2",
		`nodes[1].shards.size()`:                 "node.shards of node-2",
		`node.shards[1].lag.value`:               "shard.lag of s2",
		`node.shards[7].id`:                      "node.shards[7]",
		`node.attributes.other`:                  "node.attributes.other",
		`node.attributes["other"] == "x"`:        "other",
		`node.attributes.rack.column`:            "node.attributes.rack.column",
		`nodes.all(n, n.attributes.zone == "a")`: "n.attributes.zone",
		`results.a.one["node-9"].state`:          "node-9",
		`results.a.one[node.id].payload.other`:   "other",
		`results.a.one[node.id].error.code`:      "result.error",
		`"x" + node.attributes.other + "y"`:      "node.attributes.other",
		`false || node.store_version == "1"`:     "node.store_version",
		`nodes.filter(n, n.id == "none")[0].id`:  "index out of bounds",
	} {
		_, err := arg(t, text).Resolve(facts())
		if !errors.Is(err, playbook.ErrAbsent) || !strings.Contains(err.Error(), fact) {
			t.Errorf("%s: got %v, want %s to be absent", text, err, fact)
		}
	}
}

func TestMistakesAreReportedAndAreNotAbsentFacts(t *testing.T) {
	vars := facts()
	delete(vars["params"].(record.Document), "text")
	for text, message := range map[string]string{
		`params.text`:                          "param text was not given",
		`params.table.other`:                   "no such key: other",
		`params.items[9]`:                      "index out of bounds: 9",
		`params.items.map(i, params.table[i])`: "no such key: a",
		`params.items.map(i, i.foo)`:           "no such key: foo",
		`1 / (params.count - 3)`:               "division by zero",
		`int(node.id)`:                         "type conversion",
		`0.0 / 0.0`:                            "JSON",
		`{1: "a"}`:                             "keys must be strings",
		`nodes.map(n, lists.range(600000))`:    "too large",
		`lists.range(3000).map(i, lists.range(3000).map(j, j)).size()`: "too many steps",
	} {
		_, err := arg(t, text).Resolve(vars)
		if err == nil || errors.Is(err, playbook.ErrAbsent) || !strings.Contains(err.Error(), message) {
			t.Errorf("%s: got %v, want %s", text, err, message)
		}
	}
	if _, err := condition(t, `node.attributes.zone`).Bool(facts()); err == nil || errors.Is(err, playbook.ErrAbsent) || !strings.Contains(err.Error(), "a string") {
		t.Errorf("text for a bool: %v", err)
	}
}

// TestExpressionsThatNeedTooMuchTimeOrMemoryFail: each of these needs few steps by CEL's count, but without our bounds it would
// build values that take many minutes or all memory.
func TestExpressionsThatNeedTooMuchTimeOrMemoryFail(t *testing.T) {
	vars := facts()
	vars["nodes"] = fleet(2_000)
	long := strings.Repeat("a", 1000)
	doubled := "[nodes]" + strings.Repeat(".map(a, a + a)", 40)
	for _, text := range []string{
		`nodes.map(n, nodes) == nodes.map(n, nodes)`,
		`dyn(nodes.map(n, nodes)) == dyn(nodes.map(n, nodes))`,
		`[nodes].map(a, a.map(i, a)).map(a, a.map(i, a)) == []`,
		doubled + ".size() > 1",
		`1 in ` + doubled + `[0].map(n, 1)`,
		`"%s".format([nodes.map(n, nodes)]) == ""`,
		`nodes.map(n, nodes).flatten().size() > 1`,
		`dyn({"a": nodes.map(n, {"b": nodes})}) == dyn(1)`,
		`"` + long + `".replace("", "` + long + `").replace("", "` + long + `") == ""`,
		`"` + long + `".replace("a", "` + long + `" + "` + long + `", 1000) == ""`,
		`lists.range(100000).map(i, "").join("` + long + `") == ""`,
		`dyn(lists.range(100000).map(i, "")).join("` + long + `") == ""`,
		`nodes.filter(n, nodes.filter(m, nodes.exists(o, o.id == n.id + m.id)).size() > 1).size() > 1`,
	} {
		_, err := condition(t, text).Bool(vars)
		if err == nil || errors.Is(err, playbook.ErrAbsent) || (!strings.Contains(err.Error(), "too large") && !strings.Contains(err.Error(), "too many steps")) {
			t.Errorf("%.80s: %v", text, err)
		}
	}
	for text, want := range map[string]any{
		`"hello".replace("l", "L")`:                         "heLLo",
		`"hello".replace("l", "L", 1)`:                      "heLlo",
		`"hello".replace("l", "L", -1)`:                     "heLLo",
		`"ab".replace("", "-")`:                             "-a-b-",
		`dyn("hello").replace("l", "")`:                     "heo",
		`["a", "b"].join(", ")`:                             "a, b",
		`["a", "b"].join()`:                                 "ab",
		`dyn(["a", "b"]).join("-")`:                         "a-b",
		`nodes.filter(n, n.role == "PRIMARY").map(n, n.id)`: []any{"node-0"},
	} {
		got, err := arg(t, text).Resolve(vars)
		if diff := cmp.Diff(want, got["a"]); err != nil || diff != "" {
			t.Errorf("%s: %v %s", text, err, diff)
		}
	}
}

func TestVariablesThatAreNotGivenAreEmpty(t *testing.T) {
	for text, want := range map[string]bool{
		`nodes.size() == 0`:           true,
		`has(params.text)`:            false,
		`run.id == ""`:                true,
		`"x" in results.a.one`:        false,
		`has(node.role)`:              false,
		`node.attributes.size() == 0`: true,
	} {
		if got, err := condition(t, text).Bool(nil); err != nil || got != want {
			t.Errorf("%s: got %v, %v", text, got, err)
		}
	}
}

func TestExpressionsReportWhatTheyNeed(t *testing.T) {
	for text, want := range map[string][2]bool{
		`node.id == "x" && node.cluster == "y"`:      {false, false},
		`run.id == "x"`:                              {false, false},
		`node.role == "x"`:                           {true, false},
		`has(node.attributes.zone)`:                  {true, false},
		`node.id == "x" || node.status == "HEALTHY"`: {true, false},
		`nodes.exists(n, n.id == node.id)`:           {false, true},
		`nodes.exists(n, n.role == node.role)`:       {true, true},
		`dyn(node) == dyn(1)`:                        {true, false},
		`results.a.one[node.id].state == "DONE"`:     {false, false},
	} {
		e := condition(t, text)
		if got := [2]bool{e.NeedsFacts(), e.NeedsAllNodes()}; got != want {
			t.Errorf("%s: got %v", text, got)
		}
		a := arg(t, text)
		if got := [2]bool{a.NeedsFacts(), a.NeedsAllNodes()}; got != want {
			t.Errorf("template of %s: got %v", text, got)
		}
	}
	var none *playbook.Template
	if none.NeedsFacts() || none.NeedsAllNodes() {
		t.Error("no template needs nothing")
	}
}

func TestResultsOfTheSameAndEarlierStagesCanBeUsed(t *testing.T) {
	p := parse(t, `STAGE
      health: {check: 'results.a.one[node.id].state == "DONE"'}
      rollback: [{name: undo, action: x, when: 'has(results.a.undo["x"].state) || results.a.one[node.id].state == "FAILED"'}]
    - name: b
      targets: results.a.one[node.id].state == "DONE"
      steps: [{name: one, action: x}]
`)[0]
	if ok, err := p.Spec.Stages[1].Targets.Bool(facts()); !ok || err != nil {
		t.Error(ok, err)
	}
}

func TestOrderValuesAreCompared(t *testing.T) {
	now := time.Unix(1, 0)
	ordered := [][]any{
		{false, true},
		{int64(-1), 0.5, uint64(1), int64(2), 9.5},
		{int64(1<<53 - 1), float64(1 << 53), int64(1<<53 + 1)},
		{"", "B", "a", "b"},
		{time.Second, time.Minute},
		{now, now.Add(1)},
		{[]any{}, []any{false}, []any{false, "x"}, []any{true, "a"}, []any{true, "b"}},
	}
	for _, list := range ordered {
		for i := range list {
			for j := range list {
				got, err := playbook.Compare(list[i], list[j])
				if want := sign(i - j); err != nil || got != want {
					t.Errorf("%v and %v: got %d, %v", list[i], list[j], got, err)
				}
			}
		}
	}
	for _, pair := range [][2]any{{nil, nil}, {true, "x"}, {int64(1), "1"}, {map[string]any{}, map[string]any{}}, {math.NaN(), 1.0}, {[]any{true}, []any{"x"}}} {
		if _, err := playbook.Compare(pair[0], pair[1]); err == nil {
			t.Errorf("%v and %v have an order", pair[0], pair[1])
		}
	}
}

func sign(i int) int {
	switch {
	case i < 0:
		return -1
	case i > 0:
		return 1
	}
	return 0
}

func TestOrderByPutsThePrimaryLast(t *testing.T) {
	order := parse(t, "STAGE\n      order_by: '[node.role == \"PRIMARY\", node.id]'\n")[0].Spec.Stages[0].OrderBy
	value := func(id, role string) any {
		v, err := order.Value(playbook.Vars{"node": map[string]any{"id": id, "role": role}})
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	if c, err := playbook.Compare(value("a", "PRIMARY"), value("b", "SECONDARY")); c != 1 || err != nil {
		t.Error(c, err)
	}
}

func TestExpressionsAreInsertedIntoStrings(t *testing.T) {
	vars := facts()
	for text, want := range map[string]any{
		`plain`:                        "plain",
		`$ {x} $x }`:                   "$ {x} $x }",
		`$${node.id}`:                  "${node.id}",
		`$${`:                          "${",
		`a $${b} ${node.id} $${c}`:     "a ${b} node-1 ${c}",
		`${node.id}${node.role}`:       "node-1PRIMARY",
		`${params.count}`:              int64(3),
		`${params.count} `:             "3 ",
		`w=${params.wait}`:             "w=1m30s",
		`i=${params.items}`:            `i=["a",1]`,
		`${{"a": "<b> & c"}}!`:         `{"a":"<b> & c"}!`,
		`n=${null} f=${1.5} t=${true}`: "n=null f=1.5 t=true",
		`${params.ratio}`:              2.0,
		`é${"ü"}é`:                     "éüé",
		`${ [1, 2].map(x, x * 2) }`:    []any{int64(2), int64(4)},
	} {
		p := parse(t, "STEP\n          args:\n            a: |-\n              "+text+"\n"+allParams)[0]
		got, err := p.Spec.Stages[0].Steps[0].Args.Resolve(vars)
		if err != nil {
			t.Errorf("%s: %v", text, err)
		} else if diff := cmp.Diff(record.Document{"a": want}, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", text, diff)
		}
	}
}

func TestTemplatesInListsAndMapsAreResolvedButNotInKeys(t *testing.T) {
	p := parse(t, `STEP
          args:
            list: [1, "${node.id}", ["$${x}"], {deep: "${params.wait}"}]
            "${node.id}": literal
            plain: {a: [true, null, 1.5]}
`+allParams)[0]
	got, err := p.Spec.Stages[0].Steps[0].Args.Resolve(facts())
	want := record.Document{
		"list":       []any{int64(1), "node-1", []any{"${x}"}, map[string]any{"deep": "1m30s"}},
		"${node.id}": "literal",
		"plain":      map[string]any{"a": []any{true, nil, 1.5}},
	}
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestNoArgsAreAnEmptyDocument(t *testing.T) {
	args := parse(t, "STAGE\n")[0].Spec.Stages[0].Steps[0].Args
	if got, err := args.Resolve(nil); err != nil || got == nil || len(got) != 0 {
		t.Errorf("got %v, %v", got, err)
	}
}

// TestAnyStringSurvivesAsALiteral: a text with every ${ written as $${ comes out as it was.
func TestAnyStringSurvivesAsALiteral(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		text := rapid.StringOfN(rapid.RuneFrom([]rune("ab ${}$'\"\\é\n")), 0, 20, -1).Draw(r, "text")
		spec, err := playbook.Load(record.Document{"stages": []any{map[string]any{"name": "a", "steps": []any{map[string]any{
			"name": "one", "action": "x", "args": map[string]any{"a": strings.ReplaceAll(text, "${", "$${")},
		}}}}})
		if err != nil {
			r.Fatal(err)
		}
		got, err := spec.Stages[0].Steps[0].Args.Resolve(nil)
		if err != nil || got["a"] != text {
			r.Fatalf("%q became %q, %v", text, got["a"], err)
		}
	})
}

// TestAStringInAnExpressionMayContainAnything: the end of a CEL string is found whatever it contains.
func TestAStringInAnExpressionMayContainAnything(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		text := rapid.StringOfN(rapid.RuneFrom([]rune("ab ${}'\"\\é\n")), 0, 20, -1).Draw(r, "text")
		spec, err := playbook.Load(record.Document{"stages": []any{map[string]any{"name": "a", "steps": []any{map[string]any{
			"name": "one", "action": "x", "args": map[string]any{"a": fmt.Sprintf("${%+q}", text), "b": fmt.Sprintf("<${%+q}>", text)},
		}}}}})
		if err != nil {
			r.Fatal(err)
		}
		got, err := spec.Stages[0].Steps[0].Args.Resolve(nil)
		if err != nil || got["a"] != text || got["b"] != "<"+text+">" {
			r.Fatalf("%q became %q, %v", text, got, err)
		}
	})
}

func TestManyGoroutinesCanEvaluateOneExpression(t *testing.T) {
	e := condition(t, `nodes.exists(n, n.role == node.role) && node.attributes.other == "x"`)
	done := make(chan error)
	for range 4 {
		go func() {
			var last error
			for range 200 {
				_, last = e.Bool(facts())
			}
			done <- last
		}()
	}
	for range 4 {
		if err := <-done; !errors.Is(err, playbook.ErrAbsent) {
			t.Error(err)
		}
	}
}

func TestATargetExpressionAllocatesLittlePerNode(t *testing.T) {
	e := condition(t, `node.attributes.zone != "x" && node.role == "SECONDARY"`)
	vars, nodes := facts(), fleet(100)
	allocations := testing.AllocsPerRun(10, func() {
		chosen := 0
		for _, n := range nodes {
			vars["node"] = n
			if ok, err := e.Bool(vars); err != nil {
				t.Fatal(err)
			} else if ok {
				chosen++
			}
		}
		if chosen != 99 {
			t.Fatalf("chose %d", chosen)
		}
	})
	if perNode := allocations / 100; perNode > 4 {
		t.Errorf("%.1f allocations per node", perNode)
	} else {
		t.Logf("%.1f allocations per node", perNode)
	}
}
