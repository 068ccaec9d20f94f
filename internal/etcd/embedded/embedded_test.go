package embedded_test

import (
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/replicante-io/playbooks/internal/etcd/embedded"
)

func TestPagesOfOtherOriginsCannotUseTheEmbeddedEtcd(t *testing.T) {
	etcd, err := embedded.Start(t.Context(), filepath.Join(t.TempDir(), "etcd"), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer etcd.Close()
	for path, host := range map[string]string{"/v3/kv/range": "", "/v3/kv/put": "", "/version": "attacker.example"} {
		r, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, etcd.Endpoint+path, strings.NewReader(`{"key":"Lw=="}`))
		r.Host = host
		r.Header.Set("Origin", "http://attacker.example")
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = answer.Body.Close()
		if answer.StatusCode < 400 || answer.Header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s of host %q: answered %d %v", path, host, answer.StatusCode, answer.Header)
		}
	}
}
