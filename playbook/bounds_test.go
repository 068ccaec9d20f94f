package playbook_test

import (
	"errors"
	"runtime"
	"strings"
	"testing"

	"github.com/replicante-io/playbooks/playbook"
	"github.com/replicante-io/playbooks/record"
)

// greedy are expressions that would take many gigabytes, or minutes, over params of a megabyte.
var greedy = []string{
	// The length of an expression alone does not bound it.
	strings.Repeat("params.text + ", 90) + `"" == ""`,
	`dyn(params.text)` + strings.Repeat(" + params.text", 90) + ` == ""`,
	`params.table.text` + strings.Repeat(" + params.table.text", 90) + ` == ""`,
	`bytes(params.text)` + strings.Repeat(" + bytes(params.text)", 90) + ` == b""`,
	strings.Repeat("params.items == params.table.items && ", 100) + `lists.range(100000).all(i, params.items == params.table.items)`,
	// Doubling.
	`[params.text]` + strings.Repeat(".map(a, a + a)", 40) + ` == []`,
	`["x"]` + strings.Repeat(".map(a, a + a)", 60) + ` == []`,
	`[b"x"]` + strings.Repeat(".map(a, a + a)", 60) + ` == []`,
	`[params.items]` + strings.Repeat(".map(a, a + a)", 40) + `.size() > 1`,
	`[params.items]` + strings.Repeat(".map(a, [a, a])", 40) + ` == [params.items]`,
	`[{"a": params.items}]` + strings.Repeat(`.map(a, {"a": a, "b": a})`, 40) + ` == []`,
	// Loops.
	`lists.range(1000000000).size() > 1`,
	`lists.range(1000000).map(i, lists.range(1000000)).size() > 1`,
	`lists.range(100000).map(i, params.text) == lists.range(100000).map(i, params.other)`,
	`lists.range(1000).map(i, params.text + string(i)).size() > 1`,
	`lists.range(100000).all(i, params.table == params.again)`,
	`lists.range(100000).all(i, params.text.size() > 1)`,
	`lists.range(100000).all(i, double(params.digits) > 1.0)`,
	`lists.range(100000).all(i, params.items.filter(j, true).size() > 1)`,
	`lists.range(100000).all(i, params.table in params.objects)`,
	`lists.range(100000).all(i, timestamp("2024-01-02T03:04:05Z").getHours("Europe/Rome") > 1)`,
	// Functions.
	`params.text.replace("a", params.text) == ""`,
	`"a".replace("a", params.text).replace("a", params.text) == ""`,
	`lists.range(1000).map(i, params.text).join() == ""`,
	`"%s".format([lists.range(1000).map(i, params.text)]) == ""`,
	`"` + strings.Repeat("%s", 100) + `".format([` + strings.Repeat("params.text, ", 99) + `1]) == ""`,
	`lists.range(100000).map(i, "%.100f".format([1e300])).size() > 1`,
	`"%.999999999f".format([1.0]) == ""`,
	`params.text.matches("` + strings.Repeat("a?", 1500) + `")`,
	`params.text.matches(params.text)`,
	`params.text.matches(params.pattern)`,
	`lists.range(100000).all(i, "x".matches(params.pattern + string(i)))`,
	`lists.range(100000).all(i, !params.text.matches("b"))`,
	`params.items.distinct().size() > 1`,
	`sets.contains(params.items, params.table.items)`,
	`sets.equivalent(params.items, params.items)`,
	`params.items.hasAll(params.items)`,
	`params.text.indexOf(params.half) > 1`,
	`params.text.lastIndexOf(params.half) > 1`,
	`lists.range(100000).all(i, params.text.split("a").size() > 1)`,
	`lists.range(100000).all(i, params.items.sort().size() > 1)`,
	`[params.items]` + strings.Repeat(".map(a, [a, a, a, a])", 20) + `.flatten(20).size() > 1`,
	`lists.range(100000).all(i, strings.quote(params.text).size() > 1)`,
	`lists.range(100000).all(i, math.greatest(params.numbers) > 1)`,
}

func largeParams() playbook.Vars {
	text := strings.Repeat("a", 1_000_000)
	var items, numbers, objects []any
	for i := range 100_000 {
		items, numbers = append(items, text[:i%9]), append(numbers, int64(i))
	}
	table := func() record.Document {
		object := map[string]any{}
		for i := range 50_000 {
			object["k"+text[:i%7]+string(rune('a'+i%26))+string(rune('a'+i/26%26))+string(rune('a'+i/676%26))+string(rune('a'+i/17576))] = int64(1)
		}
		return record.Document{"object": object, "text": text, "items": items}
	}
	for range 100 {
		objects = append(objects, map[string]any(table()))
	}
	return playbook.Vars{"params": record.Document{"text": text, "other": strings.Repeat("a", 1_000_000), "half": strings.Repeat("a", 500_000) + "b",
		"digits": strings.Repeat("1", 1_000_000), "pattern": strings.Repeat("(a?b?c?d?){1,500}", 2), "items": items, "numbers": numbers,
		"table": table(), "again": table(), "objects": objects}}
}

const largeDeclared = `
  params:
    - {name: text, type: string}
    - {name: other, type: string}
    - {name: half, type: string}
    - {name: digits, type: string}
    - {name: pattern, type: string}
    - {name: items, type: list}
    - {name: numbers, type: list}
    - {name: objects, type: list}
    - {name: table, type: map}
    - {name: again, type: map}
`

// TestNoExpressionTakesMuchMemory: what an expression allocates in all is bounded, and so is its time, in steps: it fails, and says
// which part of it went too far.
func TestNoExpressionTakesMuchMemory(t *testing.T) {
	vars := largeParams()
	for _, text := range greedy {
		specs, err := playbook.Parse("x.yaml", []byte(expand("STAGE\n      targets: |-\n        "+text+"\n"+largeDeclared)))
		if err != nil {
			if !strings.Contains(err.Error(), "precision") && !strings.Contains(err.Error(), "pattern") {
				t.Errorf("%.80s: %v", text, err)
			}
			continue
		}
		condition := specs[0].Spec.Stages[0].Targets
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err = condition.Bool(vars)
		runtime.ReadMemStats(&after)
		made := (after.TotalAlloc - before.TotalAlloc) >> 20
		if made > 1280 { // in all, and with -race half as much again
			t.Errorf("%.80s: allocated %d MiB", text, made)
		}
		var message string
		if err != nil {
			message = err.Error()
		}
		if errors.Is(err, playbook.ErrAbsent) || !strings.Contains(message, "more than") && !strings.Contains(message, "maximum allowed") && !strings.Contains(message, "precision") {
			t.Errorf("%.80s: %.200s", text, message)
		}
		if !strings.Contains(message, "expression ") || len(message) > 2000 {
			t.Errorf("%.80s: message of %d bytes: %.200s", text, len(message), message)
		}
	}
}

func TestAnExpressionThatGoesTooFarSaysWhichPart(t *testing.T) {
	_, err := condition(t, `node.id == "x" || params.text + params.text == ""`).Bool(playbook.Vars{
		"node": map[string]any{"id": "y"}, "params": record.Document{"text": strings.Repeat("a", 1_000_000)}})
	want := `"params.text + params.text" builds a text that is too large (more than 1 MiB); simplify it`
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v", err)
	}
}

func TestUsefulExpressionsOverLargeFleetsAreWithinTheBounds(t *testing.T) {
	nodes := fleet(10_000)
	vars := playbook.Vars{"nodes": nodes, "node": nodes[7], "params": record.Document{"text": strings.Repeat("line of a log\n", 50_000),
		"items": []any{"node-1", "node-7"}}}
	for _, text := range []string{
		`nodes.filter(n, n.status == "HEALTHY" && n.attributes.zone != "x").size() >= 2`,
		`nodes.filter(n, n.attributes.zone == node.attributes.zone).map(n, n.id).sort()[0] != ""`,
		`nodes.map(n, n.attributes.zone).exists(z, z == "a")`,
		`nodes.filter(n, n.role == "PRIMARY").map(n, "host=" + n.id + ";").join() == "host=node-0;"`,
		`node.id in params.items`,
		`params.text.matches("log\nline")`,
		`params.text.contains("a log")`,
		`params.text.indexOf("log") == 10`,
		`params.text.split("\n").size() == 50001`,
		`["a", "b", "a"].distinct().size() == 2`,
		`sets.contains(["a", "b"], ["a"])`,
		`"%s of %d: %.2f".format([node.id, 3, 1.5]) == "node-7 of 3: 1.50"`,
		`node.id.matches("^node-[0-9]+$") && node.id.matches(".*7")`,
	} {
		if ok, err := condition(t, text).Bool(vars); err != nil || !ok {
			t.Errorf("%s: %v, %v", text, ok, err)
		}
	}
}
