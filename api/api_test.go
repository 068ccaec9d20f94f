package api_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/replicante-io/playbooks/api"
	"github.com/replicante-io/playbooks/api/apitest"
)

// answer is the answer to a call.
type answer struct {
	status int
	header http.Header
	body   string
}

// into reads the answer's JSON.
func into[T any](t *testing.T, a answer) T {
	t.Helper()
	var value T
	if err := json.Unmarshal([]byte(a.body), &value); err != nil {
		t.Fatalf("%d %q: %v", a.status, a.body, err)
	}
	return value
}

// call calls a handler; headers come in pairs.
func call(t *testing.T, h http.Handler, method, path, body string, headers ...string) answer {
	t.Helper()
	var reader io.Reader
	if body != "" {
		reader = strings.NewReader(body)
	}
	r := httptest.NewRequestWithContext(t.Context(), method, path, reader)
	r.Header.Set("Content-Type", "application/yaml")
	if strings.HasPrefix(body, "{") {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return answer{status: w.Code, header: w.Header(), body: w.Body.String()}
}

// rejected checks that an answer is a problem with a status and a code, and that its detail contains words.
func rejected(t *testing.T, a answer, status int, code string, words ...string) api.Failure {
	t.Helper()
	if got := a.header.Get("Content-Type"); got != "application/problem+json" {
		t.Fatalf("answered %d %q as %q: not a problem", a.status, a.body, got)
	}
	f := into[api.Failure](t, a)
	if a.status != status || f.Status != status || f.Code != code || f.Title == "" {
		t.Fatalf("answered %d %s, wanted %d %s", a.status, a.body, status, code)
	}
	for _, word := range words {
		if !strings.Contains(f.Detail, word) {
			t.Fatalf("detail %q does not contain %q", f.Detail, word)
		}
	}
	return f
}

func ok(t *testing.T, a answer, status int) answer {
	t.Helper()
	if a.status != status {
		t.Fatalf("answered %d %s, wanted %d", a.status, a.body, status)
	}
	return a
}

// leading is a plane and the handler of its leader.
func leading(t *testing.T, change ...func(*api.Config)) (*apitest.Plane, http.Handler) {
	p := apitest.New(t)
	p.Elect("core-1", "http://core-1:1")
	return p, p.Replica("core-1", change...)
}

// started applies the playbook and starts it.
func started(t *testing.T, h http.Handler) string {
	t.Helper()
	ok(t, call(t, h, "POST", "/api/v1/apply", apitest.Playbook), 200)
	run := into[struct{ ID string }](t, ok(t, call(t, h, "POST", "/api/v1/runs", `{"playbook":"restart","cluster":"demo"}`), 201))
	return run.ID
}
