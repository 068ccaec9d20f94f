package main

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/replicante-io/playbooks/agent/client"
	"github.com/replicante-io/playbooks/internal/testenv"
	"github.com/replicante-io/playbooks/record"
)

func TestAnAgentThatDoesNotReachItselfAtItsURLSaysSo(t *testing.T) {
	p := startPlane(t)
	dir := t.TempDir()
	listen, advertise := fmt.Sprintf("127.0.0.1:%d", testenv.FreePort(t)), fmt.Sprintf("127.0.0.1:%d", testenv.FreePort(t))
	text := fmt.Sprintf("node: {id: n1, cluster: advertised}\napi: {listen: %q, advertise: %q}\netcd: {endpoints: [%q]}\ndata_dir: %q\n",
		listen, "http://"+advertise, "http://"+p.etcd, filepath.Join(dir, "data"))
	file := filepath.Join(dir, "agent.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	_, output := launch(t, file)
	const warning = "the agent does not reach itself at api.advertise"
	known := func() record.Node {
		nodes, err := p.api.Nodes(t.Context(), "advertised")
		if err != nil || len(nodes) != 1 {
			return record.Node{}
		}
		return nodes[0]
	}
	eventually(t, "the node is known with a warning", func() bool {
		n := known()
		return n.Status == record.StatusHealthy && strings.Contains(n.StatusReason, warning) && strings.Contains(n.StatusReason, advertise)
	})
	eventually(t, "the log has a warning with the URL", func() bool { return output.contains(warning) && output.contains("url=http://"+advertise) })
	agents := client.New(client.Config{})
	defer agents.Close()
	if info, err := agents.NodeInfo(t.Context(), "http://"+listen); err != nil || !strings.Contains(info.StatusReason, warning) {
		t.Errorf("the agent answers with %q, %v", info.StatusReason, err)
	}

	// Another agent answers there, and then this one.
	answers := make(chan string, 1)
	answers <- `{"node_id": "n2", "cluster_id": "advertised"}`
	listener, err := net.Listen("tcp", advertise)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer := <-answers
		answers <- answer
		_, _ = w.Write([]byte(answer))
	})}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { _ = server.Close() })
	eventually(t, "another node is named", func() bool { return strings.Contains(known().StatusReason, `the agent of node "n2"`) })
	<-answers
	answers <- `{"node_id": "n1", "cluster_id": "advertised"}`
	eventually(t, "the warning is gone", func() bool { return known().StatusReason == "" })
}
