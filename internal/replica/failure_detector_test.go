package replica_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/replicante-io/playbooks/api/client"
	"github.com/replicante-io/playbooks/election"
	"github.com/replicante-io/playbooks/internal/etcd/etcdtest"
	"github.com/replicante-io/playbooks/record"
	"github.com/replicante-io/playbooks/store/storetest"
)

const slowBook = `
apiVersion: replicante.io/v1
kind: Playbook
metadata: {name: slow}
spec:
  stages:
    - name: slow
      steps: [{name: slow, action: agent.replicante.io/test.loop, args: {count: 20, delay: 50ms}}]
`

// falseAlarm makes a leader that lives look dead: others reach it through a proxy that stops.
func falseAlarm(t *testing.T, i *installation) {
	i.agent("a")
	memory := shared{storetest.NewMemory()}
	front := newFront(t)
	c := i.config("core-1", "")
	c.API.Listen, c.API.Advertise = front.behind, front.server.URL
	first := i.start(c, memory)
	first.ready()
	second := i.start(i.config("core-2", ""), memory)
	second.ready()
	<-front.held

	if _, err := second.plane.Apply(t.Context(), []client.File{{Name: "slow.yaml", Data: []byte(slowBook)}}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the node is known", func() bool {
		known, err := second.plane.Nodes(t.Context(), "c")
		return err == nil && len(known) == 1
	})
	run, err := second.plane.Start(t.Context(), record.RunRequest{Playbook: "slow", Cluster: "c"})
	if err != nil {
		t.Fatal(err)
	}
	var nodes []record.RunNode
	eventually(t, "the action runs", func() bool {
		nodes, err = second.plane.RunNodes(t.Context(), run.ID, nil, 0)
		return err == nil && len(nodes) == 1 && len(nodes[0].Actions) == 1 && nodes[0].Actions[0].State == record.ActionRunning
	})
	front.stop()
	eventually(t, "the run ends", func() bool {
		run, err = second.plane.Run(t.Context(), run.ID)
		return err == nil && run.State.Final()
	})
	if run.State != record.RunDone || run.Term != 2 {
		t.Errorf("the run ended %s in term %d", run.State, run.Term)
	}
	if nodes, err = second.plane.RunNodes(t.Context(), run.ID, nil, 0); err != nil || len(nodes[0].Actions) != 1 || nodes[0].Actions[0].Term != 1 {
		t.Errorf("actions: %+v, %v", nodes[0].Actions, err)
	}
	first.ready() // it follows
	if term, err := memory.Term(t.Context()); err != nil || term.Term != 2 {
		t.Errorf("the term is %d, %v: there was more than one election", term.Term, err)
	}
}

// front is a proxy in front of a replica.
type front struct {
	behind string // where the replica is to listen
	server *httptest.Server
	held   chan struct{} // closed once a presence call is held open
}

func newFront(t *testing.T) *front {
	free := httptest.NewServer(nil) // for its port
	behind, err := url.Parse(free.URL)
	if err != nil {
		t.Fatal(err)
	}
	free.Close()
	f := &front{behind: behind.Host, held: make(chan struct{})}
	proxy := httputil.NewSingleHostReverseProxy(behind)
	proxy.FlushInterval = -1
	proxy.ErrorLog = etcdtest.Log(t, "front").StandardLogger(nil)
	proxy.ModifyResponse = func(answer *http.Response) error {
		if strings.HasSuffix(answer.Request.URL.Path, election.PresencePath) && answer.StatusCode == http.StatusOK {
			answer.Body = &passing{ReadCloser: answer.Body, passed: sync.OnceFunc(func() { close(f.held) })}
		}
		return nil
	}
	f.server = httptest.NewServer(proxy)
	t.Cleanup(f.server.Close)
	return f
}

// stop refuses connections and closes those that are open.
func (f *front) stop() {
	_ = f.server.Listener.Close()
	f.server.CloseClientConnections()
}

// passing calls passed when the first part of an answer was passed on: its reader asks for the next.
type passing struct {
	io.ReadCloser
	parts  int
	passed func()
}

func (p *passing) Read(part []byte) (int, error) {
	if p.parts++; p.parts == 2 {
		p.passed()
	}
	return p.ReadCloser.Read(part)
}
