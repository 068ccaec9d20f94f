package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/replicante-io/playbooks/record"
	"github.com/replicante-io/playbooks/store"
)

func (s *server) registerNodes() {
	register(s, huma.Operation{OperationID: "list-clusters", Method: http.MethodGet, Path: "/clusters",
		Summary: "List the clusters of known nodes"}, s.clusters)
	register(s, huma.Operation{OperationID: "list-nodes", Method: http.MethodGet, Path: "/clusters/{id}/nodes",
		Summary: "List the known nodes of a cluster by name"}, s.nodes)
	register(s, huma.Operation{OperationID: "get-node", Method: http.MethodGet, Path: "/clusters/{id}/nodes/{node}",
		Summary: "Get a known node"}, s.node)
	register(s, write(huma.Operation{OperationID: "forget-node", Method: http.MethodDelete, Path: "/clusters/{id}/nodes/{node}",
		Summary: "Forget a node that is gone"}), s.forget)
}

func (s *server) clusters(ctx context.Context, _ *struct{}) (*listOutput[store.Cluster], error) {
	clusters, err := s.Store.Clusters(ctx)
	return list(clusters, "", err)
}

type nodesInput struct {
	Cluster string `path:"id"`
	PageInput
}

func (s *server) nodes(ctx context.Context, in *nodesInput) (*listOutput[record.Node], error) {
	items, next, err := readPage(in.page(), func(page store.Page) ([]record.Node, string, error) {
		return s.Store.Nodes(ctx, in.Cluster, page)
	})
	if err == nil && len(items) == 0 && in.Cursor == "" {
		return nil, fail(http.StatusNotFound, "not_found", fmt.Sprintf("there is no known node of cluster %q", in.Cluster))
	}
	return list(items, next, err)
}

type nodeInput struct {
	Cluster string `path:"id"`
	Node    string `path:"node"`
}

func (in *nodeInput) key() record.NodeKey { return record.NodeKey{Cluster: in.Cluster, Node: in.Node} }

// notFound names the node where err is that it does not exist.
func (in *nodeInput) notFound(err error) error {
	if errors.Is(err, store.ErrNotFound) {
		return fail(http.StatusNotFound, "not_found", fmt.Sprintf("there is no known node %q of cluster %q", in.Node, in.Cluster))
	}
	return err
}

func (s *server) node(ctx context.Context, in *nodeInput) (*oneOutput[record.Node], error) {
	node, err := s.Store.Node(ctx, in.key())
	return &oneOutput[record.Node]{Body: node}, in.notFound(err)
}

func (s *server) forget(ctx context.Context, in *nodeInput) (*struct{}, error) {
	c, err := s.leading()
	if err != nil {
		return nil, err
	}
	if err := c.Forget(ctx, requestOf(ctx), in.key()); err != nil {
		return nil, s.problemOfWrite(ctx, in.notFound(fmt.Errorf("forget node %s of cluster %s: %w", in.Node, in.Cluster, err)))
	}
	return nil, nil
}
