package transport_test

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/replicante-io/playbooks/internal/transport"
)

func TestAGuardLetsInItsNamesItsOriginAndItsTypes(t *testing.T) {
	loopback, beyond := net.IPv4(127, 0, 0, 1), net.IPv4(192, 168, 1, 7)
	tests := []struct {
		name, method, host, body string
		at                       net.IP
		headers                  []string
		want                     int
	}{
		{"by loopback", "GET", "127.0.0.1:16018", "", loopback, nil, 200},
		{"by localhost through a tunnel", "GET", "localhost:9999", "", loopback, nil, 200},
		{"by IPv6", "GET", "[::1]:16018", "", loopback, nil, 200},
		{"by its name", "GET", "Redis-1.Example:16018", "", beyond, nil, 200},
		{"by a further name", "GET", "agents.example", "", beyond, nil, 200},
		{"without a host, as probes of HTTP/1.0", "GET", "", "", loopback, nil, 200},
		{"by a name that was rebound", "GET", "attacker.example:16018", "", loopback, nil, 403},
		{"by a name that looks like loopback", "GET", "localhost.attacker.example", "", loopback, nil, 403},
		{"by a name that begins with an address", "GET", "127.0.0.1.nip.io:16018", "", loopback, nil, 403},
		{"by its address", "GET", "192.168.1.7:16018", "", beyond, nil, 200},
		{"by another address, through loopback", "GET", "192.168.1.7:16018", "", loopback, nil, 403},
		{"a page of another origin", "POST", "127.0.0.1", "{}", loopback, []string{"Origin", "https://attacker.example"}, 403},
		{"a page of another port", "POST", "127.0.0.1:1", "{}", loopback, []string{"Origin", "http://127.0.0.1:2"}, 403},
		{"a page without an origin", "POST", "127.0.0.1", "{}", loopback, []string{"Origin", "null"}, 403},
		{"another site by its metadata", "POST", "127.0.0.1", "{}", loopback, []string{"Sec-Fetch-Site", "same-site"}, 403},
		{"an image of another site", "GET", "127.0.0.1", "", loopback, []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "no-cors"}, 403},
		{"a link", "GET", "127.0.0.1", "", loopback, []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate"}, 200},
		{"a form of another site", "POST", "127.0.0.1", "{}", loopback, []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate"}, 403},
		{"its own page", "POST", "127.0.0.1:1", "{}", loopback, []string{"Origin", "http://127.0.0.1:1", "Sec-Fetch-Site", "same-origin"}, 200},
		{"JSON with a charset", "POST", "127.0.0.1", "{}", loopback, []string{"Content-Type", "application/json; charset=utf-8"}, 200},
		{"text", "POST", "127.0.0.1", "{}", loopback, []string{"Content-Type", "text/plain"}, 415},
		{"text that mentions JSON", "POST", "127.0.0.1", "{}", loopback, []string{"Content-Type", "text/plain; a=application/json"}, 415},
		{"no type", "POST", "127.0.0.1", "{}", loopback, []string{"Content-Type", ""}, 415},
		{"no body and no type", "POST", "127.0.0.1", "", loopback, []string{"Content-Type", ""}, 415},
		{"a read has no body", "GET", "127.0.0.1", "", loopback, []string{"Content-Type", ""}, 200},
	}
	guard := transport.Guard{
		Names:     []string{"http://redis-1.example:16018", "agents.example"},
		NeedsType: func(r *http.Request) bool { return r.Method == http.MethodPost },
		Refuse: func(w http.ResponseWriter, refusal transport.Refusal) {
			if refusal.Code == "" || refusal.Message == "" {
				t.Errorf("refused without a reason: %+v", refusal)
			}
			w.WriteHeader(refusal.Status)
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			served := false
			handler := guard.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { served = true }))
			ctx := context.WithValue(t.Context(), http.LocalAddrContextKey, net.Addr(&net.TCPAddr{IP: test.at, Port: 16018}))
			r := httptest.NewRequestWithContext(ctx, test.method, "/", strings.NewReader(test.body))
			r.Host = test.host
			r.Header.Set("Content-Type", "application/json")
			for i := 0; i < len(test.headers); i += 2 {
				r.Header.Set(test.headers[i], test.headers[i+1])
			}
			w := httptest.NewRecorder()
			handler.ServeHTTP(w, r)
			if w.Code != test.want || served != (test.want == 200) {
				t.Errorf("answered %d, served %v; wanted %d", w.Code, served, test.want)
			}
		})
	}
}
