package agent_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/replicante-io/playbooks/agent"
	"github.com/replicante-io/playbooks/agent/client"
	"github.com/replicante-io/playbooks/agent/wire"
	"github.com/replicante-io/playbooks/internal/transport"
)

// served is an agent that is open and served.
type served struct {
	t     *testing.T
	agent *agent.Agent
	url   string
	*client.Client
}

func sh(script string) agent.Command {
	return agent.Command{Command: []string{"/bin/sh", "-c", script}}
}

func serve(t *testing.T, cfg agent.Config) *served {
	t.Helper()
	cfg.NodeID, cfg.ClusterID = "n1", "c1"
	if cfg.KillGrace == 0 {
		cfg.KillGrace = 300 * time.Millisecond
	}
	a := agent.New(cfg)
	if err := a.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(transport.NewServer(transport.ServerConfig{Handler: a.Handler(), MaxBody: agent.MaxBody}).Handler())
	t.Cleanup(func() {
		if err := a.Close(); err != nil {
			t.Error(err)
		}
		server.Close()
	})
	return &served{t: t, agent: a, url: server.URL, Client: client.New(client.Config{})}
}

func (s *served) post(kind, args string, metadata map[string]string) string {
	s.t.Helper()
	id := uuid.NewString()
	if _, err := s.Post(s.t.Context(), s.url, request(id, kind, args, metadata), 0); err != nil {
		s.t.Fatal(err)
	}
	return id
}

func request(id, kind, args string, metadata map[string]string) wire.ActionRequest {
	r := wire.ActionRequest{ID: id, Kind: kind, CreatedTime: time.Now().UTC(), Metadata: metadata}
	if args != "" {
		r.Args = json.RawMessage(args)
	}
	return r
}

// end waits for the action's end.
func (s *served) end(id string) wire.State {
	s.t.Helper()
	action, err := s.Get(s.t.Context(), s.url, id, 30*time.Second)
	if err != nil {
		s.t.Fatal(err)
	}
	if !action.State.Phase.Ended() || action.FinishedTime == nil {
		s.t.Fatalf("action %s has not ended: %+v", id, action)
	}
	return action.State
}

func (s *served) cancel(id string, r wire.CancelRequest) wire.State {
	s.t.Helper()
	answer, err := s.Cancel(s.t.Context(), s.url, id, r)
	if err != nil {
		s.t.Fatal(err)
	}
	return answer.State
}

func code(state wire.State) string {
	var e wire.Error
	_ = json.Unmarshal(state.Error, &e)
	return e.Code
}

func message(state wire.State) string {
	var e wire.Error
	_ = json.Unmarshal(state.Error, &e)
	return e.Message
}

// eventually polls for what nothing announces.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("never: " + what)
		}
	}
}

func fileHolds(path, text string) func() bool {
	return func() bool {
		raw, _ := os.ReadFile(path)
		return strings.Contains(string(raw), text)
	}
}

func TestActionsOfAllKindsEnd(t *testing.T) {
	for _, dir := range []string{"", t.TempDir()} {
		s := serve(t, agent.Config{DataDir: dir, Actions: map[string]agent.Command{"hello": sh("echo hi")}})
		for kind, phase := range map[string]wire.Phase{
			wire.KindSuccess: wire.PhaseDone, wire.KindFail: wire.PhaseFailed, wire.KindExternalPrefix + "hello": wire.PhaseDone,
		} {
			if state := s.end(s.post(kind, "", nil)); state.Phase != phase {
				t.Errorf("%s ended %+v", kind, state)
			}
		}
		state := s.end(s.post(wire.KindLoop, `{"count": 3, "delay": "1ms"}`, nil))
		if state.Phase != wire.PhaseDone || string(state.Payload) != `{"count":3,"target":3}` {
			t.Errorf("loop ended %s with %s", state.Phase, state.Payload)
		}
	}
}

func TestActionsRunOneAtATimeInTheOrderOfTheirAcceptance(t *testing.T) {
	out := filepath.Join(t.TempDir(), "out")
	s := serve(t, agent.Config{DataDir: t.TempDir(), Actions: map[string]agent.Command{
		"step": sh(`echo "begin $REPLICANTE_ARG_N" >>` + out + `; sleep 0.01; echo "end $REPLICANTE_ARG_N" >>` + out)}})
	want, last := "", ""
	for n := range 8 {
		last = s.post(wire.KindExternalPrefix+"step", fmt.Sprintf(`{"n": %d}`, n), nil)
		want += fmt.Sprintf("begin %d\nend %d\n", n, n)
	}
	s.end(last)
	if raw, _ := os.ReadFile(out); string(raw) != want {
		t.Errorf("ran\n%s\nwant\n%s", raw, want)
	}
}

func TestTheSecondPostOfAnIDIsRejectedAlsoWhereBothOverlap(t *testing.T) {
	out := filepath.Join(t.TempDir(), "out")
	s := serve(t, agent.Config{DataDir: t.TempDir(), Actions: map[string]agent.Command{
		"mark": sh(`echo $REPLICANTE_ACTION_ID >>` + out)}})
	id := uuid.NewString()
	var accepted atomic.Int32
	var posts sync.WaitGroup
	for n := range 20 {
		posts.Go(func() {
			spelled := id
			if n%2 == 1 {
				spelled = strings.ToUpper(id) // the same UUID
			}
			_, err := s.Post(context.Background(), s.url, request(spelled, wire.KindExternalPrefix+"mark", "", nil), 0)
			if err == nil {
				accepted.Add(1)
			} else if !errors.Is(err, wire.ErrExists) {
				t.Error(err)
			}
		})
	}
	posts.Wait()
	s.end(id)
	if _, err := s.Post(t.Context(), s.url, request(id, "no.such/kind", "", nil), 0); !errors.Is(err, wire.ErrExists) {
		t.Errorf("a later POST with another kind: %v", err)
	}
	raw, _ := os.ReadFile(out)
	if accepted.Load() != 1 || string(raw) != id+"\n" {
		t.Errorf("accepted %d times, ran %q", accepted.Load(), raw)
	}
}

func TestWaitIsAnsweredWhenTheActionEndsOrTheWaitPasses(t *testing.T) {
	release := filepath.Join(t.TempDir(), "release")
	s := serve(t, agent.Config{DataDir: t.TempDir(), Actions: map[string]agent.Command{
		"hold": sh(`until [ -e ` + release + ` ]; do sleep 0.01; done`)}})
	id := s.post(wire.KindExternalPrefix+"hold", "", nil)
	action, err := s.Get(t.Context(), s.url, id, 50*time.Millisecond)
	if err != nil || action.State.Phase.Ended() {
		t.Fatalf("%+v, %v", action.State, err)
	}
	ended := make(chan wire.Action, 1)
	go func() {
		action, _ := s.Get(context.Background(), s.url, id, time.Minute)
		ended <- action
	}()
	if err := os.WriteFile(release, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	select {
	case action := <-ended:
		if action.State.Phase != wire.PhaseDone {
			t.Errorf("held answer: %+v", action.State)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("a held request is not answered when its action ends")
	}
}

func TestInvalidRequestsAreRejected(t *testing.T) {
	s := serve(t, agent.Config{DataDir: t.TempDir(), Actions: map[string]agent.Command{"ok": sh("true")}})
	ok := wire.KindExternalPrefix + "ok"
	cases := map[string]wire.ActionRequest{
		"no kind":                    request(uuid.NewString(), "", "", nil),
		"unknown kind":               request(uuid.NewString(), "agent.replicante.io/test.nothing", "", nil),
		"command not configured":     request(uuid.NewString(), wire.KindExternalPrefix+"other", "", nil),
		"bad ID":                     request("../../etc", wire.KindSuccess, "", nil),
		"args are a list":            request(uuid.NewString(), ok, `[1]`, nil),
		"args share a variable":      request(uuid.NewString(), ok, `{"a-b": 1, "a_b": 2}`, nil),
		"args hold a NUL":            request(uuid.NewString(), ok, `{"a": "x\u0000y"}`, nil),
		"loop with unknown argument": request(uuid.NewString(), wire.KindLoop, `{"times": 3}`, nil),
		"loop with a count as text":  request(uuid.NewString(), wire.KindLoop, `{"count": "3"}`, nil),
		"loop with a bad delay":      request(uuid.NewString(), wire.KindLoop, `{"delay": "soon"}`, nil),
		"loop with a negative count": request(uuid.NewString(), wire.KindLoop, `{"count": -1}`, nil),
		"bad timeout":                request(uuid.NewString(), ok, "", map[string]string{wire.MetaTimeout: "0s"}),
		"term without installation":  request(uuid.NewString(), ok, "", map[string]string{wire.MetaTerm: "1"}),
		"term that is no number": request(uuid.NewString(), ok, "",
			map[string]string{wire.MetaTerm: "-1", wire.MetaInstallation: "i"}),
		"too large": request(uuid.NewString(), ok, `{"a": "`+strings.Repeat("x", 1<<20)+`"}`, nil),
	}
	for name, r := range cases {
		if _, err := s.Post(t.Context(), s.url, r, 0); !errors.Is(err, wire.ErrRejected) {
			t.Errorf("%s: %v", name, err)
		} else if strings.Contains(err.Error(), "Go ") {
			t.Errorf("%s: the message is of Go: %v", name, err)
		}
	}
	for name, body := range map[string]string{"no JSON": `{"id"`, "a list": `[]`, "two": `{} {}`, "not UTF-8": "{\"kind\": \"\xff\"}", "nothing": ""} {
		response, err := http.Post(s.url+wire.Base+"/action", "application/json", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode != http.StatusBadRequest {
			t.Errorf("%s: %s", name, response.Status)
		}
	}
	if queue := s.list("/actions/queue"); len(queue) != 0 {
		t.Errorf("rejected actions are queued: %v", queue)
	}
}

func (s *served) raw(path string) (int, string) {
	s.t.Helper()
	response, err := http.Get(s.url + wire.Base + path)
	if err != nil {
		s.t.Fatal(err)
	}
	defer response.Body.Close()
	body, _ := io.ReadAll(response.Body)
	return response.StatusCode, string(body)
}

func (s *served) list(path string) []wire.ActionSummary {
	s.t.Helper()
	var list wire.ActionList
	if status, body := s.raw(path); status != http.StatusOK || json.Unmarshal([]byte(body), &list) != nil {
		s.t.Fatalf("%s: %d %s", path, status, body)
	}
	return list.Actions
}

func TestAnActionHasThePublishedForm(t *testing.T) {
	s := serve(t, agent.Config{DataDir: t.TempDir()})
	if status, body := s.raw("/action/" + uuid.NewString()); status != http.StatusNotFound || body != "" {
		t.Errorf("an unknown action: %d %q", status, body)
	}
	id := s.post(wire.KindSuccess, `{"a": {"b": [1, 2.5, null]}}`, map[string]string{"x": "y"})
	s.end(id)
	_, body := s.raw("/action/" + id)
	var shown map[string]any
	if err := json.Unmarshal([]byte(body), &shown); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"args", "created_time", "finished_time", "id", "kind", "metadata", "scheduled_time", "state"} {
		if shown[key] == nil {
			t.Errorf("%s is missing in %s", key, body)
		}
	}
	if state := shown["state"].(map[string]any); state["phase"] != "DONE" {
		t.Errorf("state: %v", state)
	}
	if !strings.Contains(body, `{"a":{"b":[1,2.5,null]}}`) {
		t.Errorf("args are not as sent: %s", body)
	}
}

func TestARequestWithoutAnIDGetsOne(t *testing.T) {
	s := serve(t, agent.Config{DataDir: t.TempDir()})
	response, err := http.Post(s.url+wire.Base+"/action", "", strings.NewReader(`{"kind": "`+wire.KindSuccess+`", "id": null, "created_time": null}`))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var accepted wire.ActionAccepted
	if err := json.NewDecoder(response.Body).Decode(&accepted); err != nil || response.StatusCode != http.StatusOK {
		t.Fatal(response.Status, err)
	}
	if s.end(accepted.ID).Phase != wire.PhaseDone {
		t.Error("the action did not run")
	}
}

func TestQueueAndFinishedAreListed(t *testing.T) {
	s := serve(t, agent.Config{DataDir: t.TempDir()})
	first, second := s.post(wire.KindSuccess, "", nil), s.post(wire.KindFail, "", nil)
	s.end(second)
	loop := s.post(wire.KindLoop, `{"delay": "1h"}`, nil)
	waits := s.post(wire.KindSuccess, "", nil)
	eventually(t, "the loop runs", func() bool { return s.list("/actions/queue")[0].Phase == wire.PhaseRunning })
	want := []wire.ActionSummary{{ID: loop, Kind: wire.KindLoop, Phase: wire.PhaseRunning}, {ID: waits, Kind: wire.KindSuccess, Phase: wire.PhaseNew}}
	if got := s.list("/actions/queue"); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("queue: %v", got)
	}
	want = []wire.ActionSummary{{ID: second, Kind: wire.KindFail, Phase: wire.PhaseFailed}, {ID: first, Kind: wire.KindSuccess, Phase: wire.PhaseDone}}
	if got := s.list("/actions/finished"); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("finished: %v", got)
	}
	if got := s.list("/actions/finished?limit=1"); fmt.Sprint(got) != fmt.Sprint(want[:1]) {
		t.Errorf("finished, one: %v", got)
	}
}

func TestCancelBeforeTheStartKeepsAnActionFromRunning(t *testing.T) {
	out := filepath.Join(t.TempDir(), "out")
	s := serve(t, agent.Config{DataDir: t.TempDir(), Actions: map[string]agent.Command{
		"mark": sh(`echo $REPLICANTE_ACTION_ID >>` + out)}})
	blocker := s.post(wire.KindLoop, `{"delay": "1h"}`, nil)
	queued := s.post(wire.KindExternalPrefix+"mark", "", nil)
	after := s.post(wire.KindExternalPrefix+"mark", "", nil)
	if state := s.cancel(queued, wire.CancelRequest{}); state.Phase != wire.PhaseFailed || code(state) != wire.CodeCancelled {
		t.Errorf("cancel of a queued action: %+v", state)
	}
	if state := s.cancel(blocker, wire.CancelRequest{}); state.Phase.Ended() {
		t.Errorf("cancel without kill ended a running action: %+v", state)
	}
	if state := s.cancel(blocker, wire.CancelRequest{Kill: true, Code: wire.CodeTimeout}); code(state) != wire.CodeTimeout {
		t.Errorf("cancel with kill: %+v", state)
	}
	s.end(after)
	if state := s.cancel(after, wire.CancelRequest{Kill: true}); state.Phase != wire.PhaseDone {
		t.Errorf("cancel of an ended action: %+v", state)
	}
	if raw, _ := os.ReadFile(out); string(raw) != after+"\n" {
		t.Errorf("ran %q, want only %s", raw, after)
	}
}

func TestAnIDThatWasCancelledBeforeItArrivedIsRejected(t *testing.T) {
	dir := t.TempDir()
	s := serve(t, agent.Config{DataDir: dir})
	id := uuid.NewString()
	if state := s.cancel(id, wire.CancelRequest{Kill: true}); state.Phase != wire.PhaseFailed || code(state) != wire.CodeNeverStarted {
		t.Errorf("cancel: %+v", state)
	}
	if err := s.agent.Close(); err != nil {
		t.Fatal(err)
	}
	s = serve(t, agent.Config{DataDir: dir})
	if _, err := s.Post(t.Context(), s.url, request(id, wire.KindSuccess, "", nil), 0); !errors.Is(err, wire.ErrExists) {
		t.Errorf("POST after the cancel: %v", err)
	}
	if state := s.end(id); code(state) != wire.CodeNeverStarted {
		t.Errorf("GET after the cancel: %+v", state)
	}
}

func TestNothingIsAnsweredBeforeTheAgentIsOpen(t *testing.T) {
	a := agent.New(agent.Config{NodeID: "n", ClusterID: "c"})
	server := httptest.NewServer(a.Handler())
	defer server.Close()
	get := func() int {
		response, err := http.Get(server.URL + wire.Base + "/info/node")
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		return response.StatusCode
	}
	if status := get(); status != http.StatusServiceUnavailable {
		t.Errorf("before: %d", status)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- a.Run(ctx) }()
	<-a.Ready()
	if status := get(); status != http.StatusOK {
		t.Errorf("open: %d", status)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if status := get(); status != http.StatusServiceUnavailable {
		t.Errorf("after: %d", status)
	}
}

func TestManyAgentsShareOneServerUnderBasePaths(t *testing.T) {
	agents := map[string]*agent.Agent{}
	for n := range 50 {
		id := fmt.Sprintf("n%d", n)
		agents[id] = agent.New(agent.Config{NodeID: id, ClusterID: "c"})
		if err := agents[id].Open(t.Context()); err != nil {
			t.Fatal(err)
		}
		defer agents[id].Close()
	}
	mux := http.NewServeMux()
	agent.Mount(mux, "/fleet/{agent}", func(r *http.Request) *agent.Agent { return agents[r.PathValue("agent")] })
	server := httptest.NewServer(mux)
	defer server.Close()
	c := client.New(client.Config{})
	for id := range agents {
		url := server.URL + "/fleet/" + id
		action := request(uuid.NewString(), wire.KindSuccess, "", nil)
		if _, err := c.Post(t.Context(), url, action, 0); err != nil {
			t.Fatal(err)
		}
		if got, err := c.Get(t.Context(), url, action.ID, time.Minute); err != nil || got.State.Phase != wire.PhaseDone {
			t.Fatal(got, err)
		}
		if info, err := c.NodeInfo(t.Context(), url); err != nil || info.NodeID != id {
			t.Fatal(info, err)
		}
	}
	if _, err := c.NodeInfo(t.Context(), server.URL+"/fleet/other"); err == nil {
		t.Error("an agent that is not there answers")
	}
}

func TestAPostIsAnsweredWithTheActionThatHasEndedMeanwhile(t *testing.T) {
	s := serve(t, agent.Config{Actions: map[string]agent.Command{"hang": sh("sleep 1000")}})
	id := uuid.NewString()
	action, err := s.Post(t.Context(), s.url, request(id, wire.KindSuccess, `{"a": 1}`, nil), 30*time.Second)
	if err != nil || action.ID != id || action.State.Phase != wire.PhaseDone || action.FinishedTime == nil || string(action.Args) != `{"a":1}` {
		t.Errorf("%+v, %v", action, err)
	}
	id = uuid.NewString()
	action, err = s.Post(t.Context(), s.url, request(id, external+"hang", "", nil), 20*time.Millisecond)
	if err != nil || action.ID != id || action.State.Phase != "" {
		t.Errorf("%+v, %v", action, err)
	}
}

func TestAnAgentReportsTheKindsOfItsActions(t *testing.T) {
	s := serve(t, agent.Config{Actions: map[string]agent.Command{"b": sh("true"), "a": sh("true")}})
	info, err := s.ActionsInfo(t.Context(), s.url)
	if want := "[agent.replicante.io/test.fail agent.replicante.io/test.loop agent.replicante.io/test.success external.agent.replicante.io/a external.agent.replicante.io/b]"; err != nil || fmt.Sprint(info.Kinds) != want {
		t.Errorf("%v, %v", info.Kinds, err)
	}
}

func TestArgumentsThatCannotBeStoredAreRejected(t *testing.T) {
	s := serve(t, agent.Config{})
	for args, want := range map[string]string{
		`{"a\u0000": 1}`: "NUL", `{"a": ["\u0000"]}`: "NUL", `{"a": 1e999}`: "too large",
		`{"a": ` + strings.Repeat("[", 64) + strings.Repeat("]", 64) + `}`: "more than 64 levels",
	} {
		if _, err := s.Post(t.Context(), s.url, request(uuid.NewString(), wire.KindSuccess, args, nil), 0); !errors.Is(err, wire.ErrRejected) || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40s: %v", args, err)
		}
	}
}

func TestARequestWithAKeyThatIsGivenTwiceIsRejected(t *testing.T) {
	s := serve(t, agent.Config{})
	response, err := http.Post(s.url+wire.Base+"/action", "application/json", strings.NewReader(
		`{"id":"`+uuid.NewString()+`","kind":"`+wire.KindSuccess+`","args":{"a":1,"a":2}}`))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusBadRequest || !strings.Contains(string(answer), `\"args.a\" is given twice`) {
		t.Errorf("%d %s, %v", response.StatusCode, answer, err)
	}
}
