package api_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/replicante-io/playbooks/api/apitest"
	"github.com/replicante-io/playbooks/record"
	"github.com/replicante-io/playbooks/store"
)

func TestARunIsStartedOnceUnderItsKey(t *testing.T) {
	p, h := leading(t)
	ok(t, call(t, h, "POST", "/api/v1/apply", apitest.Playbook), 200)
	body := `{"playbook":"restart","cluster":"demo","params":{"count":3,"grace":"x"},"reason":"why","if_busy":"fail"}`
	first := into[record.Run](t, ok(t, call(t, h, "POST", "/api/v1/runs", body, "Idempotency-Key", "k", "Replicante-Actor", "ana"), 201))
	again := into[record.Run](t, ok(t, call(t, h, "POST", "/api/v1/runs", body, "Idempotency-Key", "k"), 201))
	if first.ID == "" || again.ID != first.ID || first.RequestedBy != "ana" {
		t.Fatalf("%+v", first)
	}
	rejected(t, call(t, h, "POST", "/api/v1/runs", `{"playbook":"restart","cluster":"demo"}`, "Idempotency-Key", "k"), 409, "idempotency_key_reused")
	_, starts, _ := p.Received()
	if start := starts[0]; start.Params["count"] != int64(3) || start.Reason != "why" || start.IfBusy != "fail" {
		t.Fatalf("%+v", start)
	}
	list := into[items[record.Run]](t, ok(t, call(t, h, "GET", "/api/v1/runs", ""), 200))
	if len(list.Items) != 1 {
		t.Fatalf("%d runs", len(list.Items))
	}
}

func TestWithoutAHeaderTheActorIsTheAddress(t *testing.T) {
	p, h := leading(t)
	started(t, h)
	requests, _, _ := p.Received()
	if requests[0].Actor != "192.0.2.1" { // httptest's
		t.Fatalf("%+v", requests[0])
	}
}

func TestBodiesAreStrict(t *testing.T) {
	p, h := leading(t)
	for body, word := range map[string]string{
		`{"playbook":"restart","clustr":"demo","cluster":"demo"}`:  "clustr",
		`{"playbook":"restart"}`:                                   "cluster",
		`{"playbook":"restart","cluster":""}`:                      "cluster",
		`{"playbook":"","cluster":"demo"}`:                         "playbook",
		`{"playbook":"restart","cluster":"demo","params":[1]}`:     "body.params",
		`{"playbook":"restart","cluster":"demo","revision":-1}`:    "revision",
		`{"playbook":"restart","cluster":"demo","revision":"1"}`:   "body.revision",
		`{"playbook":"restart","cluster":"demo","if_busy":"wait"}`: "if_busy",
		`{"playbook":"restart","cluster":"demo"} {}`:               "body",
		`{"playbook":`: "body",
	} {
		rejected(t, call(t, h, "POST", "/api/v1/runs", body), 400, "bad_request", word)
	}
	rejected(t, call(t, h, "POST", "/api/v1/runs", "playbook=restart", "Content-Type", "application/x-www-form-urlencoded"),
		415, "unsupported_media_type", "application/json")
	rejected(t, call(t, h, "POST", "/api/v1/runs", ""), 400, "bad_request")
	if _, starts, _ := p.Received(); len(starts) != 0 {
		t.Fatalf("%+v", starts)
	}
}

func TestARejectionOfTheControllerIsAnswered(t *testing.T) {
	p, h := leading(t)
	p.Fail(fmt.Errorf("start: %w", &record.RejectedError{Code: "cluster_busy", Data: record.Document{"cluster": "demo", "run": "x"},
		Problems: []record.Problem{{Path: "grace", Code: "type", Message: "not a duration"}}}))
	f := rejected(t, call(t, h, "POST", "/api/v1/runs", `{"playbook":"restart","cluster":"demo"}`), 409, "cluster_busy", "cluster demo is busy with run x")
	if len(f.Problems) != 1 || f.Problems[0].Path != "grace" {
		t.Fatalf("%+v", f)
	}
}

func TestErrorsOfTheStoreHaveStatusesAndCodes(t *testing.T) {
	p, h := leading(t)
	for err, want := range map[error]struct {
		status int
		code   string
	}{
		store.ErrUnavailable:       {503, "store_unavailable"},
		store.ErrStaleTerm:         {503, "in_doubt"},
		store.ErrConflict:          {503, "in_doubt"},
		store.ErrKeyReused:         {409, "idempotency_key_reused"},
		fmt.Errorf("out of order"): {500, "internal"},
	} {
		p.Fail(fmt.Errorf("commit: %w", err))
		a := call(t, h, "POST", "/api/v1/runs", `{"playbook":"restart","cluster":"demo"}`)
		rejected(t, a, want.status, want.code)
		if want.status == 503 && a.header.Get("Retry-After") == "" {
			t.Errorf("%v: no Retry-After", err)
		}
	}
}

func TestAWriteIsInDoubtWhereTheReplicaStopsLeading(t *testing.T) {
	p, h := leading(t)
	p.Fail(stopped{p})
	rejected(t, call(t, h, "POST", "/api/v1/runs", `{"playbook":"restart","cluster":"demo"}`), 503, "in_doubt", "Idempotency-Key")
}

// stopped is an unexpected error of a controller that no longer leads when the error is examined.
type stopped struct{ plane *apitest.Plane }

func (s stopped) Error() string { return "not leading" }

// Is is called when the error is examined.
func (s stopped) Is(error) bool {
	s.plane.Elect("", "")
	return false
}

func TestRunsAreFilteredAndPaged(t *testing.T) {
	p, h := leading(t)
	first := started(t, h)
	for range 4 {
		ok(t, call(t, h, "POST", "/api/v1/runs", `{"playbook":"restart","cluster":"demo"}`), 201)
	}
	p.Move(first, apitest.Change{State: record.RunDone, Event: record.EventRunFinished})
	get := func(query string) items[record.Run] {
		t.Helper()
		return into[items[record.Run]](t, ok(t, call(t, h, "GET", "/api/v1/runs"+query, ""), 200))
	}
	if done := get("?state=DONE,FAILED&cluster=demo&playbook=restart"); len(done.Items) != 1 || done.Items[0].ID != first || done.Items[0].Playbook.Spec != nil {
		t.Fatalf("%+v", done)
	}
	page := get("?limit=3")
	rest := get("?limit=3&cursor=" + page.NextCursor)
	seen := map[string]bool{}
	for _, run := range append(page.Items, rest.Items...) {
		seen[run.ID] = true
	}
	if len(page.Items) != 3 || len(rest.Items) != 2 || rest.NextCursor != "" || len(seen) != 5 {
		t.Fatalf("%d and %d runs, %d different", len(page.Items), len(rest.Items), len(seen))
	}
	if none := get("?cluster=other"); len(none.Items) != 0 {
		t.Fatalf("%+v", none)
	}
	rejected(t, call(t, h, "GET", "/api/v1/runs?state=FINISHED", ""), 400, "bad_request", "FINISHED", "DONE")
	rejected(t, call(t, h, "GET", "/api/v1/runs?clustr=demo", ""), 400, "bad_request", "clustr")
}

func TestARunAndItsNodesAreRead(t *testing.T) {
	p, h := leading(t)
	id := started(t, h)
	p.Move(id, apitest.Change{State: record.RunRunning, Event: record.EventNodeState, Nodes: []record.RunNode{
		{Node: "node-2", State: record.NodeFailed, Error: &record.Error{Code: "exit", Message: "status 1"}}}})
	run := into[record.Run](t, ok(t, call(t, h, "GET", "/api/v1/runs/"+id, ""), 200))
	if run.Playbook.Spec == nil || run.Counts[record.NodeFailed] != 1 || run.Counts[record.NodePending] != 2 {
		t.Fatalf("%+v", run)
	}
	failed := into[items[record.RunNode]](t, ok(t, call(t, h, "GET", "/api/v1/runs/"+id+"/nodes?state=FAILED", ""), 200))
	if len(failed.Items) != 1 || failed.Items[0].Error.Message != "status 1" {
		t.Fatalf("%+v", failed)
	}
	page := into[items[record.RunNode]](t, ok(t, call(t, h, "GET", "/api/v1/runs/"+id+"/nodes?limit=2", ""), 200))
	if len(page.Items) != 2 || page.NextCursor == "" {
		t.Fatalf("%+v", page)
	}
	node := into[record.RunNode](t, ok(t, call(t, h, "GET", "/api/v1/runs/"+id+"/nodes/node-2", ""), 200))
	if node.State != record.NodeFailed {
		t.Fatalf("%+v", node)
	}
	for _, path := range []string{"/none", "/none/nodes", "/none/nodes/node-1", "/none/events", "/" + id + "/nodes/none"} {
		rejected(t, call(t, h, "GET", "/api/v1/runs"+path, ""), 404, "not_found", "none")
	}
}

func TestCommandsReachTheController(t *testing.T) {
	p, h := leading(t)
	id := started(t, h)
	path := "/api/v1/runs/" + id
	if run := into[record.Run](t, ok(t, call(t, h, "POST", path+"/pause", `{"reason":"lunch"}`), 200)); run.State != record.RunPaused {
		t.Fatalf("%+v", run)
	}
	ok(t, call(t, h, "POST", path+"/resume", ""), 200)
	ok(t, call(t, h, "POST", path+"/nodes/node-1/resolve", `{"state":"DONE","reason":"I looked"}`), 200)
	ok(t, call(t, h, "POST", path+"/approve", `{"stage":"s","reason":"looks well"}`), 200)
	ok(t, call(t, h, "POST", path+"/reject", ""), 200)
	ok(t, call(t, h, "POST", path+"/cancel", `{"kill":true}`), 200)
	ok(t, call(t, h, "POST", path+"/retry", `{"nodes":["node-1"],"reason":"repaired"}`), 200)
	_, _, commands := p.Received()
	want := []record.Command{{Verb: record.VerbPause, Reason: "lunch"}, {Verb: record.VerbResume},
		{Verb: record.VerbResolve, Node: "node-1", State: record.NodeDone, Reason: "I looked"},
		{Verb: record.VerbApprove, Stage: "s", Reason: "looks well"}, {Verb: record.VerbReject}, {Verb: record.VerbCancel, Kill: true},
		{Verb: record.VerbRetry, Nodes: []string{"node-1"}, Reason: "repaired"}}
	if fmt.Sprint(commands) != fmt.Sprint(want) {
		t.Fatalf("%+v", commands)
	}
	rejected(t, call(t, h, "POST", path+"/pause", `{"kill":true}`), 400, "bad_request", "kill")
	rejected(t, call(t, h, "POST", path+"/nodes/node-1/resolve", `{"state":"PENDING","reason":"x"}`), 400, "bad_request", "body.state")
	rejected(t, call(t, h, "POST", path+"/nodes/node-1/resolve", `{"state":"DONE"}`), 400, "bad_request", "reason")
	rejected(t, call(t, h, "POST", "/api/v1/runs/none/pause", ""), 404, "not_found", "none")
	rejected(t, call(t, h, "POST", path+"/retry", `{"node":"node-1"}`), 400, "bad_request", "node")
}

func TestAPlanIsAnsweredWithItsTextsAndWithoutARun(t *testing.T) {
	p, h := leading(t)
	p.Planned(record.Plan{Cluster: "demo", Stages: []record.PlanStage{{Name: "s", Steps: []record.PlanStep{}, Batches: []record.PlanBatch{}}},
		Undecided: []record.PlanUndecided{{Node: "node-2", Stage: "s", Error: &record.Error{Code: record.CodeUnreachable, Data: record.Document{"status_reason": "refused"}}}},
		Error:     &record.Error{Code: record.CodePlanEndless, Data: record.Document{"steps": int64(7), "stage": "s", "wait": map[string]any{"for": "node", "node": "node-1", "data": map[string]any{"code": "locked", "run": "run-2"}}}}})
	plan := into[record.Plan](t, ok(t, call(t, h, "POST", "/api/v1/plan", `{"playbook":"restart","cluster":"demo","nodes":["node-10","node-2"]}`), 200))
	if !strings.Contains(plan.Undecided[0].Error.Message, "refused") || !strings.Contains(plan.Error.Message, "run-2") {
		t.Fatalf("%+v, %+v", plan.Undecided[0].Error, plan.Error)
	}
	if _, starts, _ := p.Received(); !slices.Equal(starts[0].Nodes, []string{"node-2", "node-10"}) {
		t.Fatalf("%+v", starts)
	}
	if runs := into[items[record.Run]](t, ok(t, call(t, h, "GET", "/api/v1/runs", ""), 200)); len(runs.Items) > 0 {
		t.Fatalf("%+v", runs)
	}
	rejected(t, call(t, h, "POST", "/api/v1/plan", `{"playbook":"restart"}`), 400, "bad_request", "cluster")
	p.Fail(&record.RejectedError{Code: record.CodeNoNodes, Data: record.Document{"cluster": "demo"}})
	rejected(t, call(t, h, "POST", "/api/v1/plan", `{"playbook":"restart","cluster":"demo"}`), 422, "no_nodes", "demo")
}

func TestNodesAreListedAndForgotten(t *testing.T) {
	p, h := leading(t)
	p.Nodes("other", "a/b c")
	clusters := into[items[store.Cluster]](t, ok(t, call(t, h, "GET", "/api/v1/clusters", ""), 200))
	if fmt.Sprint(clusters.Items) != "[{demo 3 3} {other 1 1}]" {
		t.Fatalf("%+v", clusters)
	}
	page := into[items[record.Node]](t, ok(t, call(t, h, "GET", "/api/v1/clusters/demo/nodes?limit=2", ""), 200))
	if len(page.Items) != 2 || page.NextCursor == "" {
		t.Fatalf("%+v", page)
	}
	odd := "/api/v1/clusters/other/nodes/a%2Fb%20c"
	if node := into[record.Node](t, ok(t, call(t, h, "GET", odd, ""), 200)); node.NodeID != "a/b c" {
		t.Fatalf("%+v", node)
	}
	ok(t, call(t, h, "DELETE", odd, "", "Idempotency-Key", "k"), 204)
	ok(t, call(t, h, "DELETE", odd, "", "Idempotency-Key", "k"), 204)
	rejected(t, call(t, h, "DELETE", odd, ""), 404, "not_found", "a/b c")
	rejected(t, call(t, h, "GET", odd, ""), 404, "not_found", "a/b c")
	rejected(t, call(t, h, "GET", "/api/v1/clusters/other/nodes", ""), 404, "not_found", "other")
}
