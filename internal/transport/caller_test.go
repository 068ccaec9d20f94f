package transport_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/replicante-io/playbooks/internal/transport"
)

func TestACallerIsWhoItSaysItIsOrElseAnAddress(t *testing.T) {
	for says, want := range map[string]string{
		"":                       "192.0.2.1",
		"alice":                  "alice",
		strings.Repeat("x", 128): strings.Repeat("x", 128),
		strings.Repeat("x", 129): "",
		"\u00e9":                 "",
		"a\x01b":                 "",
	} {
		var got transport.Caller
		var err error
		server := transport.NewServer(transport.ServerConfig{Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			got, err = transport.CallerOf(r.Context())
		})})
		request := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
		transport.SetCaller(request, transport.Caller{Name: says})
		server.Handler().ServeHTTP(httptest.NewRecorder(), request)
		if bad := errors.Is(err, transport.ErrBadCaller); got.Name != want || bad != (want == "") {
			t.Errorf("%q: %q, %v", says, got.Name, err)
		}
	}
}
