package api_test

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"github.com/replicante-io/playbooks/api"
	"github.com/replicante-io/playbooks/api/apitest"
	"github.com/replicante-io/playbooks/record"
)

const startDemo = `{"playbook":"restart","cluster":"demo"}`

func TestAFollowerForwardsWritesToTheLeader(t *testing.T) {
	p := apitest.New(t)
	leader := p.Serve("core-1")
	p.Elect("core-1", leader.URL+"/")
	follower := p.Replica("core-2")

	ok(t, call(t, follower, "POST", "/api/v1/apply", apitest.Playbook, "Idempotency-Key", "k0"), 200)
	run := into[record.Run](t, ok(t, call(t, follower, "POST", "/api/v1/runs", startDemo, "Idempotency-Key", "k"), 201))
	requests, _, _ := p.Received()
	if requests[0].Key != "k" || requests[0].Actor != "192.0.2.1" {
		t.Fatalf("%+v", requests[0])
	}
	// The same request at the leader itself is the same request.
	same := into[record.Run](t, ok(t, call(t, p.Replica("core-1"), "POST", "/api/v1/runs", startDemo, "Idempotency-Key", "k"), 201))
	if same.ID != run.ID {
		t.Fatalf("%s is not %s", same.ID, run.ID)
	}
	f := rejected(t, call(t, follower, "POST", "/api/v1/apply", "kind: Nothing\nspec: {}\n"), 422, "invalid_playbook")
	if len(f.Problems) == 0 {
		t.Fatal("no problems came through")
	}
	ok(t, call(t, follower, "DELETE", "/api/v1/clusters/demo/nodes/node-3", ""), 204)
	ok(t, call(t, follower, "GET", "/api/v1/runs/"+run.ID, ""), 200)
}

func TestAForwardedWriteIsNotForwardedAgain(t *testing.T) {
	p := apitest.New(t)
	third := p.Serve("core-3")
	p.Elect("core-1", third.URL) // core-3 does not lead
	rejected(t, call(t, p.Replica("core-2"), "POST", "/api/v1/runs", startDemo), 503, "not_leader")
}

func TestWithoutALeaderAWriteIsAnsweredWithRetryAfter(t *testing.T) {
	p := apitest.New(t)
	h := p.Replica("core-2")
	a := call(t, h, "POST", "/api/v1/runs", startDemo)
	rejected(t, a, 503, "no_leader")
	if a.header.Get("Retry-After") == "" {
		t.Fatal("no Retry-After")
	}
	ok(t, call(t, h, "GET", "/api/v1/runs", ""), 200)
}

func TestAReplicaThatWasElectedAndDoesNotLeadYetDoesNotForward(t *testing.T) {
	p := apitest.New(t)
	p.ElectOnly("core-1", "http://192.0.2.1")
	h := p.Replica("core-1")
	rejected(t, call(t, h, "POST", "/api/v1/runs", startDemo), 503, "no_leader")
}

func TestAWriteThatCannotBeForwardedIsNotInDoubt(t *testing.T) {
	p := apitest.New(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = listener.Close()
	p.Elect("core-1", "http://"+listener.Addr().String())
	rejected(t, call(t, p.Replica("core-2"), "POST", "/api/v1/runs", startDemo), 503, "leader_unreachable", "nothing was changed")
}

func TestAForwardedWriteEndsWhenAnotherReplicaLeads(t *testing.T) {
	p := apitest.New(t)
	asked := make(chan struct{})
	leader := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		close(asked)
		<-r.Context().Done() // it hangs
	}))
	defer leader.Close()
	p.Elect("core-1", leader.URL)
	changed := make(chan struct{})
	follower := p.Replica("core-2", func(c *api.Config) { c.LeaderChanged = func() <-chan struct{} { return changed } })
	go func() {
		<-asked
		p.Elect("core-3", "http://192.0.2.1")
		close(changed)
	}()
	rejected(t, call(t, follower, "POST", "/api/v1/runs", startDemo, "Idempotency-Key", "k"), 503, "in_doubt", "same Idempotency-Key")
}

func TestAForwardedWriteThatIsNotAnsweredIsInDoubt(t *testing.T) {
	p := apitest.New(t)
	var asked atomic.Int32
	leader := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		if r.Header.Get("Replicante-Forwarded") != "core-2" {
			t.Errorf("forwarded by %q", r.Header.Get("Replicante-Forwarded"))
		}
		panic(http.ErrAbortHandler)
	}))
	defer leader.Close()
	p.Elect("core-1", leader.URL)
	rejected(t, call(t, p.Replica("core-2"), "POST", "/api/v1/runs", startDemo, "Idempotency-Key", "k"), 503, "in_doubt", "same Idempotency-Key")
	if asked.Load() != 1 {
		t.Fatalf("forwarded %d times", asked.Load())
	}
}
