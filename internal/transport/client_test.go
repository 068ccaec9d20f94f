package transport_test

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/replicante-io/playbooks/internal/transport"
)

func TestARedirectIsFollowedOnlyForReadsOfPeople(t *testing.T) {
	var moved atomic.Int32
	mux := http.NewServeMux()
	mux.Handle("/old", http.RedirectHandler("/new", http.StatusTemporaryRedirect))
	mux.HandleFunc("/new", func(http.ResponseWriter, *http.Request) { moved.Add(1) })
	mux.Handle("/loop", http.RedirectHandler("/loop", http.StatusTemporaryRedirect))
	server := httptest.NewServer(mux)
	defer server.Close()
	for _, c := range []struct {
		method    string
		forPeople bool
		followed  bool
	}{{"GET", true, true}, {"POST", true, false}, {"DELETE", true, false}, {"GET", false, false}, {"POST", false, false}} {
		moved.Store(0)
		client := transport.NewClient(transport.ClientConfig{ForPeople: c.forPeople})
		request, err := http.NewRequestWithContext(t.Context(), c.method, server.URL+"/old", strings.NewReader("body"))
		if err != nil {
			t.Fatal(err)
		}
		response, err := client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		if followed := moved.Load() == 1; followed != c.followed || !followed && response.Header.Get("Location") != "/new" {
			t.Errorf("%+v: %s, followed: %v", c, response.Status, followed)
		}
		client.CloseIdleConnections()
	}
	client := transport.NewClient(transport.ClientConfig{ForPeople: true, NewConnections: true})
	if response, err := client.Get(server.URL + "/loop"); err == nil {
		_ = response.Body.Close()
		t.Error("a redirect without end has an answer")
	}
}

func TestAnAnswerWithAHeaderThatIsTooLargeIsAnError(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X", strings.Repeat("x", 128<<10))
	}))
	defer server.Close()
	response, err := transport.NewClient(transport.ClientConfig{NewConnections: true}).Get(server.URL)
	if err == nil {
		_ = response.Body.Close()
		t.Error("it is taken")
	}
}

func TestAClientConnectsToItsAddress(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.Host) }))
	defer server.Close()
	client := transport.NewClient(transport.ClientConfig{NewConnections: true, Address: server.Listener.Addr().String()})
	response, err := client.Get("http://elsewhere.example:1/")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	if host, err := io.ReadAll(response.Body); err != nil || string(host) != "elsewhere.example:1" {
		t.Errorf("%q, %v", host, err)
	}
}

func TestReadAllIsBounded(t *testing.T) {
	if content, err := transport.ReadAll(strings.NewReader("12345"), 5); err != nil || string(content) != "12345" {
		t.Errorf("%q, %v", content, err)
	}
	if _, err := transport.ReadAll(strings.NewReader("123456"), 5); !errors.Is(err, transport.ErrTooLarge) {
		t.Error(err)
	}
}
