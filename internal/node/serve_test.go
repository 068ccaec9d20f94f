package node_test

import (
	"context"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"

	"github.com/replicante-io/playbooks/internal/node"
)

func TestAnAgentTakesNothingFromBrowsersAndStrangers(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	reached, served := 0, make(chan error, 1)
	handler := http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached++ })
	go func() {
		served <- node.Serve(ctx, listener, handler, 1, []string{"http://redis-1:16018"}, hclog.NewNullLogger())
	}()
	for _, test := range []struct {
		name, host, media, origin string
		want                      int
	}{
		{"the control plane", "redis-1:16018", "application/json", "", 200},
		{"a page that sends text", "127.0.0.1", "text/plain", "", 415},
		{"a request without a type", "127.0.0.1", "", "", 415},
		{"a page of another origin", "127.0.0.1", "application/json", "https://attacker.example", 403},
		{"a page whose name was rebound", "attacker.example", "application/json", "http://attacker.example", 403},
	} {
		r, _ := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+listener.Addr().String()+"/api/unstable/action", strings.NewReader("{}"))
		r.Host = test.host
		for name, value := range map[string]string{"Content-Type": test.media, "Origin": test.origin} {
			if value != "" {
				r.Header.Set(name, value)
			}
		}
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = answer.Body.Close()
		if answer.StatusCode != test.want {
			t.Errorf("%s: answered %d, wanted %d", test.name, answer.StatusCode, test.want)
		}
	}
	stop()
	if err := <-served; err != nil || reached != 1 {
		t.Fatalf("%d requests reached the agent: %v", reached, err)
	}
}
