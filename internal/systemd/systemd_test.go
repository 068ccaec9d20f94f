package systemd_test

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/replicante-io/playbooks/internal/systemd"
)

// listen listens as systemd does for a unit with a watchdog, and returns what it receives.
func listen(t *testing.T, watchdog time.Duration) <-chan string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "notify")
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = socket.Close() })
	t.Setenv("NOTIFY_SOCKET", path)
	t.Setenv("WATCHDOG_USEC", strconv.FormatInt(watchdog.Microseconds(), 10))
	t.Setenv("WATCHDOG_PID", "")
	received := make(chan string, 1000)
	go func() {
		defer close(received)
		for b := make([]byte, 1024); ; {
			n, err := socket.Read(b)
			if err != nil {
				return
			}
			received <- string(b[:n])
		}
	}()
	return received
}

func expect(t *testing.T, received <-chan string, want string) {
	t.Helper()
	select {
	case got := <-received:
		if got != want {
			t.Fatalf("systemd received %q, want %q", got, want)
		}
	case <-time.After(10 * time.Second):
		t.Fatalf("systemd did not receive %q", want)
	}
}

func TestTheWatchdogIsFedOnlyWhileTheDaemonIsAlive(t *testing.T) {
	received := listen(t, 30*time.Millisecond)
	const healthy, checks = 3, 10
	checked := 0
	ctx, stop := context.WithCancel(t.Context())
	systemd.Notify(ctx, func(context.Context) bool {
		if checked++; checked == checks {
			stop()
		}
		return checked <= healthy
	})
	expect(t, received, "READY=1")
	for range healthy {
		expect(t, received, "WATCHDOG=1")
	}
	expect(t, received, "STOPPING=1")
}

func TestADaemonIsAliveWhileItAnswersOnItsPort(t *testing.T) {
	hang := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/hangs" {
			<-hang
		}
		w.WriteHeader(http.StatusServiceUnavailable)
	}))
	defer server.Close()
	defer close(hang)
	address := server.Listener.Addr()
	if !systemd.Answers(address, "/healthz")(t.Context()) {
		t.Error("it answers, but does not count as alive")
	}
	short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if systemd.Answers(address, "/hangs")(short) {
		t.Error("it does not answer, but counts as alive")
	}
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = closed.Close()
	if systemd.Answers(closed.Addr(), "/healthz")(t.Context()) {
		t.Error("nobody listens, but it counts as alive")
	}
}
