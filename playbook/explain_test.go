package playbook_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/replicante-io/playbooks/playbook"
)

// explained is an explanation in one line.
func explained(e playbook.Explanation) string {
	readings := func(list []playbook.Reading) string {
		texts := make([]string, len(list))
		for i, r := range list {
			texts[i] = fmt.Sprintf("%s = %v", r.Name, r.Value)
		}
		return strings.Join(texts, ", ")
	}
	line := readings(e.Readings)
	for _, n := range e.Nodes {
		line += fmt.Sprintf(" | %s: %s", n.Node, readings(n.Readings))
	}
	if e.NodeCount > len(e.Nodes) {
		line += fmt.Sprintf(" | of %d", e.NodeCount)
	}
	return strings.TrimPrefix(line, " | ")
}

func factsOf(id, status, role string, lags ...any) map[string]any {
	n := map[string]any{"id": id, "cluster": "c", "status": status, "attributes": map[string]any{"zone": "a", "ready": false}}
	if role != "" {
		n["role"] = role
	}
	shards := []any{}
	for i, lag := range lags {
		shards = append(shards, map[string]any{"id": fmt.Sprintf("s%d", i), "lag": map[string]any{"value": lag, "unit": "bytes"}})
	}
	n["shards"] = shards
	return n
}

func TestAnExplanationNamesWhatDecided(t *testing.T) {
	n1 := factsOf("n1", "HEALTHY", "SECONDARY", int64(3), int64(42))
	nodes := []any{n1, factsOf("n2", "UNHEALTHY", "SECONDARY", int64(0)), factsOf("n3", "HEALTHY", ""), factsOf("n4", "UNREACHABLE", "PRIMARY", int64(50)),
		factsOf("n5", "LEAVING", "PRIMARY"), factsOf("n6", "JOINING", "x")}
	vars := playbook.Vars{"node": n1, "nodes": nodes, "params": map[string]any{"most": int64(10), "word": strings.Repeat("x", 1000)},
		"results": map[string]any{"a": map[string]any{"one": map[string]any{}}}}
	for check, want := range map[string]string{
		`node.status == "HEALTHY" && node.role == "PRIMARY"`:              `node.role = SECONDARY`,
		`node.status != "HEALTHY" || node.role == "PRIMARY"`:              `node.status = HEALTHY, node.role = SECONDARY`,
		`!(node.status == "HEALTHY")`:                                     `node.status = HEALTHY`,
		`node.attributes.ready`:                                           `node.attributes.ready = false`,
		`node.attributes["zone"] in ["b", "c"]`:                           `node.attributes["zone"] = a`,
		`has(node.store_id)`:                                              `has(node.store_id) = false`,
		`node.shards.all(s, s.lag.value <= params.most)`:                  `node.shards[s1].lag.value = 42, params.most = 10`,
		`size(node.shards) == 3`:                                          `node.shards = [s0, s1]`,
		`node.role == params.word`:                                        `node.role = SECONDARY, params.word = ` + strings.Repeat("x", 200) + "…",
		`node.status == "HEALTHY" ? node.role == "x" : true`:              `node.status = HEALTHY, node.role = SECONDARY`,
		`nodes.all(n, n.status in ["HEALTHY", "UNHEALTHY"])`:              `n4: n.status = UNREACHABLE | n5: n.status = LEAVING | n6: n.status = JOINING`,
		`nodes.all(n, n.status == "HEALTHY")`:                             `n2: n.status = UNHEALTHY | n4: n.status = UNREACHABLE | n5: n.status = LEAVING | of 4`,
		`!nodes.exists(n, n.status == "UNREACHABLE")`:                     `n4: n.status = UNREACHABLE`,
		`nodes.exists_one(n, n.role == "SECONDARY")`:                      `n3: n.role = <nil>`,
		`nodes.filter(n, has(n.role)).exists_one(n, n.role == "PRIMARY")`: `n4: n.role = PRIMARY | n5: n.role = PRIMARY`,
		`nodes.exists(n, n.id == node.id && n.role == "PRIMARY")`:         `n1: n.role = SECONDARY | n2: n.id = n2, node.id = n1, n.role = SECONDARY | n3: n.id = n3, node.id = n1 | of 6`,
		`nodes.filter(n, n.status == "HEALTHY").size() >= 3`:              `nodes.filter(n, n.status == "HEALTHY") = [n1, n3]`,
		`size(nodes) == 5`:                                                `nodes = [n1, n2, n3, n4, n5, and 1 more]`,
		`nodes.all(n, n.shards.all(s, s.lag.value < params.most))`:        `n1: n.shards[s1].lag.value = 42, params.most = 10 | n4: n.shards[s0].lag.value = 50, params.most = 10`,
		`nodes.all(n, n.role != "")`:                                      `n3: n.role = <nil>`,
		`node.store_version == "7"`:                                       `node.store_version = <nil>`,
		`node.store_version == "7" && node.id == "n2"`:                    `node.id = n1`,
		`"n1" in results.a.one`:                                           `results.a.one = a map of 0`,
		`false`:                                                           ``,
	} {
		text := strings.ReplaceAll(`apiVersion: replicante.io/v1
kind: Playbook
metadata: {name: x}
spec:
  params: [{name: most, type: int, default: 1}, {name: word, type: string, default: x}]
  stages:
    - {name: a, steps: [{name: one, action: x}]}
    - name: b
      steps: [{name: one, action: x}]
      health: {check: 'CHECK'}
`, "CHECK", check)
		parsed, err := playbook.Parse("x.yaml", []byte(text))
		if err != nil {
			t.Errorf("%s: %v", check, err)
			continue
		}
		part := parsed[0].Spec.Stages[1].Health.Check.Parts[0]
		if ok, err := part.Bool(vars); ok {
			t.Errorf("%s is true, %v", check, err)
		}
		left := 100_000
		got := explained(part.Explain(vars, &left))
		if got != want {
			t.Errorf("%s\n got  %s\n want %s", check, got, want)
		}
	}
}
