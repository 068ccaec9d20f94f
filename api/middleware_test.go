package api_test

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/replicante-io/playbooks/api"
	"github.com/replicante-io/playbooks/api/apitest"
	"github.com/replicante-io/playbooks/election"
	"github.com/replicante-io/playbooks/internal/schema"
)

func TestPathsAndMethodsThatAreNotServedAreProblems(t *testing.T) {
	_, h := leading(t)
	rejected(t, call(t, h, "GET", "/api/v1/nothing", ""), 404, "no_such_path", "/api/v1/nothing")
	rejected(t, call(t, h, "GET", "/nothing", ""), 404, "no_such_path", "/openapi.json")
	a := call(t, h, "PATCH", "/api/v1/runs", "")
	rejected(t, a, 405, "method_not_allowed", "PATCH", "POST")
	if allow := a.header.Get("Allow"); !strings.Contains(allow, "GET") || !strings.Contains(allow, "POST") {
		t.Fatalf("Allow: %q", allow)
	}
}

func TestHEADAndOPTIONSAreAnsweredWhereGETIs(t *testing.T) {
	_, h := leading(t)
	for _, path := range []string{"/readyz", "/healthz", "/api/v1/runs", "/"} {
		if a := call(t, h, "HEAD", path, ""); a.status != 200 {
			t.Errorf("HEAD %s: %d", path, a.status)
		}
		a := call(t, h, "OPTIONS", path, "")
		if allow := a.header.Get("Allow"); a.status != 204 || !strings.Contains(allow, "GET") || !strings.Contains(allow, "HEAD") || !strings.Contains(allow, "OPTIONS") {
			t.Errorf("OPTIONS %s: %d, Allow: %q", path, a.status, allow)
		}
	}
	rejected(t, call(t, h, "OPTIONS", "/nothing", ""), 404, "no_such_path")
}

func TestAPanicIsAProblem(t *testing.T) {
	_, h := leading(t, func(c *api.Config) { c.NotReady = func(context.Context) []string { panic("oh") } })
	rejected(t, call(t, h, "GET", "/readyz", ""), 500, "internal")
}

func TestABodyThatIsTooLargeIsRejected(t *testing.T) {
	p, h := leading(t)
	for _, path := range []string{"/api/v1/apply", "/api/v1/validate"} {
		rejected(t, call(t, h, "POST", path, strings.Repeat("#", 4<<20+1)), 413, "body_too_large")
	}
	_, starts, _ := p.Received()
	if len(starts) != 0 {
		t.Fatal("something was started")
	}
}

func TestABodyThatDoesNotArriveIsRejected(t *testing.T) {
	for want, err := range map[string]error{"request_timeout": os.ErrDeadlineExceeded, "bad_request": io.ErrUnexpectedEOF} {
		_, h := leading(t)
		w := httptest.NewRecorder()
		r := httptest.NewRequestWithContext(t.Context(), "POST", "/api/v1/apply", iotest.ErrReader(err))
		r.Header.Set("Content-Type", "application/yaml")
		h.ServeHTTP(w, r)
		status := map[string]int{"request_timeout": 408, "bad_request": 400}[want]
		rejected(t, answer{status: w.Code, header: w.Header(), body: w.Body.String()}, status, want)
	}
}

func TestPagesOfOtherOriginsChangeNothing(t *testing.T) {
	_, h := leading(t)
	a := call(t, h, "POST", "/api/v1/apply", apitest.Playbook, "Origin", "https://elsewhere.example", "Sec-Fetch-Site", "cross-site")
	rejected(t, a, 403, "cross_origin")
	rejected(t, call(t, h, "GET", "/api/v1/runs", "", "Origin", "http://elsewhere.example"), 403, "cross_origin")
	ok(t, call(t, h, "GET", "/api/v1/runs", "", "Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate"), 200)
	ok(t, call(t, h, "GET", "/api/v1/runs", "", "Origin", "http://example.com", "Sec-Fetch-Site", "same-origin"), 200)
}

func TestReadyzNamesWhyAReplicaIsNotReady(t *testing.T) {
	reasons := []string{"etcd: no answer", "store: no primary"}
	p, h := leading(t, func(c *api.Config) { c.NotReady = func(context.Context) []string { return reasons } })
	rejected(t, call(t, h, "GET", "/readyz", ""), 503, "not_ready", "etcd: no answer", "store: no primary")
	health := into[api.Health](t, ok(t, call(t, h, "GET", "/healthz", ""), 200))
	if !health.Alive || !health.Leading || health.Name != "core-1" || health.Instance != "core-1-instance" {
		t.Fatalf("%+v", health)
	}
	reasons = nil
	if ready := into[api.Health](t, ok(t, call(t, h, "GET", "/readyz", ""), 200)); !ready.Ready {
		t.Fatalf("%+v", ready)
	}
	leader := ok(t, call(t, h, "GET", "/api/v1/leader", ""), 200)
	if l := into[struct {
		Name, Advertise string
		Term            int64
	}](t, leader); l.Name != "core-1" || l.Advertise != "http://core-1:1" || l.Term != 1 {
		t.Fatalf("%+v", l)
	}
	p.Elect("", "")
	a := call(t, h, "GET", "/api/v1/leader", "")
	rejected(t, a, 503, "no_leader")
	if a.header.Get("Retry-After") == "" {
		t.Fatal("no Retry-After")
	}
}

func TestTheAPIIsDescribed(t *testing.T) {
	_, h := leading(t, func(c *api.Config) {
		c.Metrics = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("up 1")) })
	})
	doc := ok(t, call(t, h, "GET", "/openapi.json", ""), 200).body
	for _, want := range []string{`"/api/v1/runs/{id}/nodes/{node}/resolve"`, `"Idempotency-Key"`, `"application/problem+json"`, `"text/event-stream"`} {
		if !strings.Contains(doc, want) {
			t.Errorf("the description does not have %s", want)
		}
	}
	if page := ok(t, call(t, h, "GET", "/", ""), 200); !strings.Contains(page.body, "Replicante") {
		t.Fatal(page.body)
	}
	if metrics := ok(t, call(t, h, "GET", "/metrics", ""), 200); metrics.body != "up 1" {
		t.Fatal(metrics.body)
	}
	if list := ok(t, call(t, h, "GET", "/api/v1/runs", ""), 200); strings.TrimSpace(list.body) != `{"items":[],"next_cursor":""}` {
		t.Fatal(list.body)
	}
}

func TestThePresenceAnswerIsHeldUntilTheReplicaStops(t *testing.T) {
	_, h := leading(t)
	serving, stop := context.WithCancel(context.Background())
	server := httptest.NewUnstartedServer(h)
	server.Config.BaseContext = func(net.Listener) context.Context { return serving }
	server.Start()
	t.Cleanup(server.Close)
	t.Cleanup(stop)
	response, err := http.Get(server.URL + election.PresencePath)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	body := bufio.NewReader(response.Body)
	line, err := body.ReadString('\n')
	if err != nil || response.StatusCode != 200 || line != `{"instance":"core-1-instance"}`+"\n" {
		t.Fatalf("answered %d %q, %v", response.StatusCode, line, err)
	}
	ended := make(chan error, 1)
	go func() {
		_, err := body.ReadByte()
		ended <- err
	}()
	select {
	case err := <-ended:
		t.Fatalf("it ended while the replica serves: %v", err)
	case <-time.After(100 * time.Millisecond):
	}
	stop()
	if err := <-ended; err == nil {
		t.Error("more was sent")
	}
}

func TestTheSchemasAreServed(t *testing.T) {
	_, h := leading(t)
	for _, kind := range schema.Kinds {
		a := ok(t, call(t, h, "GET", "/schemas/"+kind+".json", ""), 200)
		if a.header.Get("Content-Type") != "application/schema+json" || a.body != string(schema.JSON(kind)) {
			t.Errorf("%s: %s", kind, a.body)
		}
	}
	rejected(t, call(t, h, "GET", "/schemas/nothing.json", ""), 404, "no_such_path", "/schemas/nothing.json")
}
