package client_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/replicante-io/playbooks/api"
	"github.com/replicante-io/playbooks/api/apitest"
	"github.com/replicante-io/playbooks/api/client"
	"github.com/replicante-io/playbooks/record"
)

func connect(t *testing.T, servers ...string) *client.Client {
	t.Helper()
	c, err := client.New(client.Config{Servers: servers, Actor: "ana", Patience: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// unreachable is an address that refuses connections.
func unreachable(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = listener.Close()
	return listener.Addr().String()
}

var playbooks = []client.File{{Name: "restart.yaml", Data: []byte(apitest.Playbook)}}

// plane is a control plane with a leader, and its address.
func plane(t *testing.T, change ...func(*api.Config)) (*apitest.Plane, string) {
	p := apitest.New(t)
	server := p.Serve("core-1", change...)
	p.Elect("core-1", server.URL)
	return p, server.URL
}

func TestEveryOperationIsCalled(t *testing.T) {
	p, url := plane(t)
	c, ctx := connect(t, url), t.Context()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	valid, err := c.Validate(ctx, playbooks)
	must(err)
	applied, err := c.Apply(ctx, playbooks)
	must(err)
	if len(valid) != 1 || len(applied) != 1 || applied[0] != (client.Applied{Kind: "Playbook", Name: "restart", Revision: 1, Version: "1", Created: true}) {
		t.Fatalf("%+v %+v", valid, applied)
	}
	all, err := c.Playbooks(ctx)
	must(err)
	revisions, err := c.Revisions(ctx, "restart")
	must(err)
	one, err := c.Playbook(ctx, "restart", 1)
	must(err)
	if len(all) != 1 || len(revisions) != 1 || one.Digest != all[0].Digest || one.Digest == "" {
		t.Fatalf("%+v %+v %+v", all, revisions, one)
	}
	run, err := c.Start(ctx, record.RunRequest{Playbook: "restart", Cluster: "demo", Params: map[string]any{"count": 2}})
	must(err)
	if run.RequestedBy != "ana" || run.IdempotencyKey == "" || run.Params["count"] != int64(2) {
		t.Fatalf("%+v", run)
	}
	for _, command := range []record.Command{{Verb: record.VerbPause, Reason: "x"}, {Verb: record.VerbResume},
		{Verb: record.VerbResolve, Node: "node-1", State: record.NodeFailed, Reason: "x"}, {Verb: record.VerbCancel, Kill: true}} {
		if _, err := c.Command(ctx, run.ID, command); err != nil {
			t.Fatalf("%s: %v", command.Verb, err)
		}
	}
	if _, _, commands := p.Received(); len(commands) != 4 || commands[2].Node != "node-1" || !commands[3].Kill {
		t.Fatalf("%+v", commands)
	}
	run, err = c.Run(ctx, run.ID)
	must(err)
	runs, err := c.Runs(ctx, client.RunFilter{Cluster: "demo", States: []string{"CANCELLED"}})
	must(err)
	nodes, err := c.RunNodes(ctx, run.ID, []string{"PENDING"}, 2)
	must(err)
	events, err := c.Events(ctx, run.ID, 1)
	must(err)
	if one, err := c.RunNode(ctx, run.ID, "node-1"); err != nil || one.Node != "node-1" || one.State == "" {
		t.Fatalf("%+v %v", one, err)
	}
	if run.State != record.RunCancelled || len(runs) != 1 || len(nodes) != 2 || len(events) != 4 || events[0].Seq != 2 {
		t.Fatalf("%+v %+v %+v %+v", run, runs, nodes, events)
	}
	clusters, err := c.Clusters(ctx)
	must(err)
	known, err := c.Nodes(ctx, "demo")
	must(err)
	node, err := c.Node(ctx, "demo", "node-2")
	must(err)
	if fmt.Sprint(clusters) != "[{demo 3 3}]" || len(known) != 3 || node.AgentURL != "http://node-2" {
		t.Fatalf("%+v %+v %+v", clusters, known, node)
	}
	must(c.Forget(ctx, "demo", "node-2"))
	leader, err := c.Leader(ctx)
	must(err)
	if leader.Name != "core-1" || leader.Advertise != url || leader.Term != 1 {
		t.Fatalf("%+v", leader)
	}
}

func TestAllPagesAreRead(t *testing.T) {
	p, url := plane(t)
	names := make([]string, 2100)
	for i := range names {
		names[i] = fmt.Sprintf("n%04d", i)
	}
	p.Nodes("large", names...)
	nodes, err := connect(t, url).Nodes(t.Context(), "large")
	if err != nil || len(nodes) != len(names) || nodes[2099].NodeID != "n2099" {
		t.Fatalf("%d nodes: %v", len(nodes), err)
	}
}

func TestProblemsNameTheirFile(t *testing.T) {
	_, url := plane(t)
	_, err := connect(t, url).Apply(t.Context(), append(playbooks, client.File{Name: "dir/bad one.yaml", Data: []byte("kind: Playbook\n")}))
	var rejected *client.Error
	if !errors.As(err, &rejected) || rejected.Status != 422 || rejected.Code != "invalid_playbook" || len(rejected.Problems) == 0 {
		t.Fatalf("%+v", err)
	}
	if p := rejected.Problems[0]; p.File != "dir/bad one.yaml" || p.Line < 1 || p.Message == "" {
		t.Fatalf("%+v", p)
	}
}

func TestACallGoesToTheNextServerWhereOneRefusesTheConnection(t *testing.T) {
	_, url := plane(t)
	if _, err := connect(t, unreachable(t), url).Leader(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestACallGoesToTheNextServerWhereOneCannotServe(t *testing.T) {
	_, url := plane(t)
	broken := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) }))
	defer broken.Close()
	if _, err := connect(t, broken.URL, url).Leader(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestACallGivesUpSoonWhereEveryServerRefusesTheConnection(t *testing.T) {
	var log strings.Builder
	c, err := client.New(client.Config{Servers: []string{unreachable(t), unreachable(t)}, Patience: 5 * time.Second,
		Log: hclog.New(&hclog.LoggerOptions{Output: &log, Level: hclog.Debug})})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Leader(t.Context()); !errors.Is(err, client.ErrNoServer) || !strings.Contains(err.Error(), "refused") {
		t.Fatal(err)
	}
	if tries := strings.Count(log.String(), "server cannot answer"); tries > 6 { // a call that uses up its patience makes 12
		t.Fatalf("it made %d tries", tries)
	}
}

func TestARedirectedWriteIsRejectedWithTheAddressToUse(t *testing.T) {
	_, url := plane(t)
	for _, status := range []int{301, 302, 303, 307, 308} {
		old := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", url+"/api/v1/apply")
			w.WriteHeader(status)
			_, _ = w.Write([]byte(`{"detail":"moved"}`))
		}))
		defer old.Close()
		c := connect(t, old.URL)
		_, applied := c.Apply(t.Context(), playbooks)
		for _, err := range []error{applied, c.Forget(t.Context(), "demo", "node-1")} {
			var rejected *client.Error
			if !errors.As(err, &rejected) || rejected.Status != status || !strings.Contains(rejected.Message, url) {
				t.Errorf("%d: %v", status, err)
			}
		}
	}
}

func TestAReadThatIsRedirectedToNowhereNamesTheAddress(t *testing.T) {
	nowhere := unreachable(t)
	old := httptest.NewServer(http.RedirectHandler("http://"+nowhere+"/", http.StatusMovedPermanently))
	defer old.Close()
	_, err := connect(t, old.URL).Leader(t.Context())
	var redirected *client.Error
	if !errors.As(err, &redirected) || errors.Is(err, client.ErrNoServer) || !strings.Contains(redirected.Message, nowhere) {
		t.Fatal(err)
	}
}

func TestAnAnswerThatIsNotOneOfAControlPlaneIsAnError(t *testing.T) {
	for _, answer := range []struct {
		status      int
		media, body string
	}{
		{200, "application/json", "null"}, {200, "application/json", ""}, {200, "application/json", "{}"}, {200, "application/json", "[]"},
		{200, "application/json", `{"items":null,"id":"","cluster":"c","state":"DONE","node_id":null,"name":null}`},
		{200, "text/html", "<html>log in</html>"}, {304, "", ""},
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", answer.media)
			w.WriteHeader(answer.status)
			_, _ = w.Write([]byte(answer.body))
		}))
		defer server.Close()
		c, ctx := connect(t, server.URL), t.Context()
		errs := map[string]error{}
		_, errs["apply"] = c.Apply(ctx, playbooks)
		_, errs["playbook"] = c.Playbook(ctx, "restart", 0)
		_, errs["start"] = c.Start(ctx, record.RunRequest{})
		_, errs["cancel"] = c.Command(ctx, "r", record.Command{Verb: record.VerbCancel})
		_, errs["run"] = c.Run(ctx, "r")
		_, errs["runs"] = c.Runs(ctx, client.RunFilter{})
		_, errs["nodes"] = c.Nodes(ctx, "demo")
		_, errs["node"] = c.Node(ctx, "demo", "node-1")
		_, errs["leader"] = c.Leader(ctx)
		errs["forget"] = c.Forget(ctx, "demo", "node-1")
		errs["follow"] = c.Follow(ctx, "r", 0, func(record.Event) error { return nil })
		for call, err := range errs {
			if err == nil {
				t.Errorf("%s accepts %d %s %q", call, answer.status, answer.media, answer.body)
			}
		}
	}
}

func TestARejectedCallIsNotRepeated(t *testing.T) {
	calls := atomic.Int32{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		calls.Add(1)
		w.WriteHeader(409)
		_, _ = w.Write([]byte(`{"status":409,"code":"wrong_state","detail":"the run is DONE"}`))
	}))
	defer server.Close()
	_, err := connect(t, server.URL).Command(t.Context(), "r", record.Command{Verb: record.VerbPause})
	var rejected *client.Error
	if !errors.As(err, &rejected) || rejected.Code != "wrong_state" || rejected.Message != "the run is DONE" || calls.Load() != 1 {
		t.Fatalf("%v after %d requests", err, calls.Load())
	}
}

func TestAWriteInDoubtIsRepeatedUnderItsKey(t *testing.T) {
	p, url := plane(t)
	// The first request is carried out, but its answer is lost.
	lost := atomic.Int32{}
	leader := p.Replica("core-1")
	flaky := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == "POST" && r.URL.Path == "/api/v1/runs" && lost.Add(1) == 1 {
			leader.ServeHTTP(httptest.NewRecorder(), r)
			panic(http.ErrAbortHandler)
		}
		leader.ServeHTTP(w, r)
	}))
	defer flaky.Close()
	c := connect(t, flaky.URL, url)
	if _, err := c.Apply(t.Context(), playbooks); err != nil {
		t.Fatal(err)
	}
	run, err := c.Start(t.Context(), record.RunRequest{Playbook: "restart", Cluster: "demo"})
	if err != nil {
		t.Fatal(err)
	}
	requests, _, _ := p.Received()
	if len(requests) != 2 || requests[0].Key == "" || requests[0] != requests[1] {
		t.Fatalf("%+v", requests)
	}
	runs, err := c.Runs(t.Context(), client.RunFilter{})
	if err != nil || len(runs) != 1 || runs[0].ID != run.ID {
		t.Fatalf("%d runs: %v", len(runs), err)
	}
}

func TestAStreamContinuesAtTheNextServer(t *testing.T) {
	p, url := plane(t)
	// The first server cuts every stream after its second event.
	follower := p.Replica("core-2")
	var cut atomic.Int32
	cutting := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Accept") == "text/event-stream" {
			cut.Add(1)
			follower.ServeHTTP(&limited{ResponseWriter: w, left: 2}, r)
			return
		}
		follower.ServeHTTP(w, r)
	}))
	defer cutting.Close()
	c := connect(t, url)
	if _, err := c.Apply(t.Context(), playbooks); err != nil {
		t.Fatal(err)
	}
	run, err := c.Start(t.Context(), record.RunRequest{Playbook: "restart", Cluster: "demo"})
	if err != nil {
		t.Fatal(err)
	}
	var seqs []int64
	err = connect(t, cutting.URL, unreachable(t)).Follow(t.Context(), run.ID, 0, func(event record.Event) error {
		seqs = append(seqs, event.Seq)
		switch event.Seq {
		case 5:
			p.Move(run.ID, apitest.Change{State: record.RunDone, Event: record.EventRunFinished})
		case 6:
		default:
			p.Move(run.ID, apitest.Change{State: record.RunRunning, Event: record.EventNodeState})
		}
		return nil
	})
	if err != nil || fmt.Sprint(seqs) != "[1 2 3 4 5 6]" || cut.Load() < 3 {
		t.Fatalf("%v after %v and %d streams", err, seqs, cut.Load())
	}
}

func TestWhileServersAreTooBusyForAStreamEventsAreRead(t *testing.T) {
	p, url := plane(t)
	c := connect(t, url)
	if _, err := c.Apply(t.Context(), playbooks); err != nil {
		t.Fatal(err)
	}
	for name, always := range map[string]bool{"always": true, "at first": false} {
		run, err := c.Start(t.Context(), record.RunRequest{Playbook: "restart", Cluster: "demo"})
		if err != nil {
			t.Fatal(err)
		}
		replica := p.Replica("core-1")
		var refused atomic.Int32
		handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Accept") == "text/event-stream" && (refused.Add(1) <= 4 || always) {
				w.Header().Set("Content-Type", "application/problem+json")
				w.WriteHeader(503)
				_, _ = w.Write([]byte(`{"status":503,"code":"busy","detail":"this replica is busy"}`))
				return
			}
			replica.ServeHTTP(w, r)
		})
		one, other := httptest.NewServer(handler), httptest.NewServer(handler)
		defer one.Close()
		defer other.Close()
		var seqs []int64
		err = connect(t, one.URL, other.URL).Follow(t.Context(), run.ID, 0, func(event record.Event) error {
			seqs = append(seqs, event.Seq)
			switch event.Seq {
			case 1:
				p.Move(run.ID, apitest.Change{State: record.RunRunning, Event: record.EventNodeState})
			case 2:
				p.Move(run.ID, apitest.Change{State: record.RunDone, Event: record.EventRunFinished})
			}
			return nil
		})
		if err != nil || fmt.Sprint(seqs) != "[1 2 3]" || refused.Load() < 4 {
			t.Errorf("refused %s: %v after %v and %d refusals", name, err, seqs, refused.Load())
		}
	}
}

// limited aborts a stream after so many messages with data.
type limited struct {
	http.ResponseWriter
	left int
}

func (l *limited) Write(data []byte) (int, error) {
	if strings.Contains(string(data), "id: ") {
		if l.left--; l.left < 0 {
			panic(http.ErrAbortHandler)
		}
	}
	return l.ResponseWriter.Write(data)
}

func (l *limited) Unwrap() http.ResponseWriter { return l.ResponseWriter }

func TestAStreamEndsWhereDeliverFailsOrTheContextEnds(t *testing.T) {
	_, url := plane(t)
	c := connect(t, url)
	if _, err := c.Apply(t.Context(), playbooks); err != nil {
		t.Fatal(err)
	}
	run, err := c.Start(t.Context(), record.RunRequest{Playbook: "restart", Cluster: "demo"})
	if err != nil {
		t.Fatal(err)
	}
	enough := errors.New("enough")
	if err := c.Follow(t.Context(), run.ID, 0, func(record.Event) error { return enough }); !errors.Is(err, enough) {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	err = c.Follow(ctx, run.ID, 0, func(record.Event) error {
		cancel()
		return nil
	})
	if !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	var rejected *client.Error
	if err := c.Follow(t.Context(), "none", 0, nil); !errors.As(err, &rejected) || rejected.Status != 404 {
		t.Fatal(err)
	}
}

func TestServersMustBeAddresses(t *testing.T) {
	for _, name := range []string{"", "http://", "ftp://x", "http://a b"} {
		if _, err := client.New(client.Config{Servers: []string{name}}); err == nil {
			t.Errorf("%q is accepted", name)
		}
	}
	if _, err := client.New(client.Config{Servers: []string{"core-1:16016/", " https://x "}}); err != nil {
		t.Error(err)
	}
}
