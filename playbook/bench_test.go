package playbook_test

import (
	"fmt"
	"testing"

	"github.com/replicante-io/playbooks/playbook"
)

func spec(b testing.TB, stage string) *playbook.Spec {
	b.Helper()
	ps, err := playbook.Parse("x.yaml", []byte(`
apiVersion: replicante.io/v1
kind: Playbook
metadata: {name: x}
spec:
  params:
    - {name: grace, type: duration, default: 30s}
    - {name: zone, type: string}
  stages:
    - name: restart
      steps: [{name: one, action: x, args: {a: "${params.grace}", b: "node ${node.id}"}}]
`+stage))
	if err != nil {
		b.Fatal(err)
	}
	return ps[0].Spec
}

func fleet(n int) []any {
	nodes := make([]any, n)
	for i := range nodes {
		role := "SECONDARY"
		if i == 0 {
			role = "PRIMARY"
		}
		nodes[i] = map[string]any{"id": fmt.Sprintf("node-%d", i), "cluster": "c", "status": "HEALTHY", "role": role,
			"attributes": map[string]any{"zone": string(rune('a' + i%3))}}
	}
	return nodes
}

func BenchmarkTargetsOver10000Nodes(b *testing.B) {
	s := spec(b, `
      targets: 'node.attributes.zone != "x" && node.role == "SECONDARY"'
`)
	nodes := fleet(10_000)
	vars := playbook.Vars{"params": map[string]any{"grace": "30s"}}
	b.ReportAllocs()
	for b.Loop() {
		for _, n := range nodes {
			vars["node"] = n
			if _, err := s.Stages[0].Targets.Bool(vars); err != nil {
				b.Fatal(err)
			}
		}
	}
}

func BenchmarkFilterOver10000Nodes(b *testing.B) {
	s := spec(b, `
      health: {check: 'nodes.filter(n, n.status == "HEALTHY" && n.attributes.zone != "x").size() >= 2'}
`)
	vars := playbook.Vars{"nodes": fleet(10_000), "node": map[string]any{}}
	b.ReportAllocs()
	for b.Loop() {
		if ok, err := s.Stages[0].Health.Check.Parts[0].Bool(vars); err != nil || !ok {
			b.Fatal(ok, err)
		}
	}
}

func BenchmarkArgsOf10000Nodes(b *testing.B) {
	s := spec(b, "")
	nodes := fleet(10_000)
	vars := playbook.Vars{"params": map[string]any{"grace": "30s"}}
	b.ReportAllocs()
	for b.Loop() {
		for _, n := range nodes {
			vars["node"] = n
			if _, err := s.Stages[0].Steps[0].Args.Resolve(vars); err != nil {
				b.Fatal(err)
			}
		}
	}
}

func BenchmarkParse(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		spec(b, `
      targets: 'node.attributes.zone != "x" && node.role == "SECONDARY"'
      order_by: node.id
`)
	}
}
