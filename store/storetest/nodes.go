package storetest

import (
	"fmt"
	"testing"

	"github.com/replicante-io/playbooks/record"
	"github.com/replicante-io/playbooks/store"
)

func nodesAreSaved(t *testing.T, backend Backend) {
	s := open(t, backend)
	ctx := t.Context()
	term := beginTerm(t, s)
	node := record.Node{NodeID: "n", ClusterID: "c", AgentURL: "http://a", Status: record.StatusHealthy, Present: true, Kinds: []string{"x/a"}}
	other := record.Node{NodeID: "n", ClusterID: "d", AgentURL: "http://b", Status: record.StatusUnknown}
	must(t, s.SaveNodes(ctx, term, []record.Node{node, other}))
	node.Present, node.GoneTS, node.Status = false, startPlus(0), record.StatusUnreachable
	must(t, s.SaveNodes(ctx, term, []record.Node{node}))
	must(t, s.SaveNodes(ctx, term, nil))
	for _, want := range []record.Node{node, other} {
		got, err := s.Node(ctx, want.Key())
		must(t, err)
		same(t, "node", got, want)
	}
	must(t, s.ForgetNode(ctx, term, node.Key(), &record.IdempotencyRecord{Key: "k", Digest: "d", Answer: "{}"}))
	_, err := s.Node(ctx, node.Key())
	wantError(t, "forgotten node", err, store.ErrNotFound)
	recorded, err := s.IdempotencyRecord(ctx, "k", "d")
	must(t, err)
	same(t, "idempotency record", recorded, record.IdempotencyRecord{Key: "k", Digest: "d", Answer: "{}"})
	wantError(t, "forget again", s.ForgetNode(ctx, term, node.Key(), nil), store.ErrNotFound)
	must(t, s.ForgetNode(ctx, term, other.Key(), nil))
	left, _, err := s.Nodes(ctx, "", store.Page{})
	must(t, err)
	same(t, "nodes that are left", left, []record.Node{})
}

func nodesArePaged(t *testing.T, backend Backend) {
	s := open(t, backend)
	ctx := t.Context()
	term := beginTerm(t, s)
	var nodes []record.Node
	var want []string
	for _, cluster := range []string{"a", "a.b", "b"} {
		for i := range 8 {
			node := record.Node{NodeID: fmt.Sprint("node-", i), ClusterID: cluster, Status: record.StatusHealthy, Present: i%2 == 0 || cluster == "b"}
			nodes = append(nodes, node)
			want = append(want, cluster+"/"+node.NodeID)
		}
	}
	must(t, s.SaveNodes(ctx, term, nodes))
	name := func(node record.Node) string { return node.ClusterID + "/" + node.NodeID }
	for _, limit := range []int{0, 1, 7, 24} {
		found := allPages(t, limit, func(page store.Page) ([]record.Node, string, error) { return s.Nodes(ctx, "", page) })
		same(t, "nodes", namesOf(found, name), want)
		found = allPages(t, limit, func(page store.Page) ([]record.Node, string, error) { return s.Nodes(ctx, "a.b", page) })
		same(t, "nodes of a cluster", namesOf(found, name), want[8:16])
	}
	clusters, err := s.Clusters(ctx)
	must(t, err)
	same(t, "clusters", clusters, []store.Cluster{{ClusterID: "a", Nodes: 8, Present: 4}, {ClusterID: "a.b", Nodes: 8, Present: 4}, {ClusterID: "b", Nodes: 8, Present: 8}})
}

func staleNodesAreRefused(t *testing.T, backend Backend) {
	s := open(t, backend)
	ctx := t.Context()
	term := beginTerm(t, s)
	node := record.Node{NodeID: "n", ClusterID: "c", Status: record.StatusHealthy}
	must(t, s.SaveNodes(ctx, term, []record.Node{node}))
	was, err := s.Term(ctx)
	must(t, err)
	must(t, s.SaveNodes(ctx, term, []record.Node{node}))
	is, err := s.Term(ctx)
	must(t, err)
	same(t, "terms record after nodes were saved", is, was)
	beginTerm(t, s)
	changed := node
	changed.Status = record.StatusUnhealthy
	wantError(t, "save", s.SaveNodes(ctx, term, []record.Node{changed, {NodeID: "m", ClusterID: "c"}}), store.ErrStaleTerm)
	wantError(t, "forget", s.ForgetNode(ctx, term, node.Key(), nil), store.ErrStaleTerm)
	left, _, err := s.Nodes(ctx, "", store.Page{})
	must(t, err)
	same(t, "nodes", left, []record.Node{node})
}
