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

// manager listens as systemd does to a unit with a watchdog, and returns what it hears.
func manager(t *testing.T, watchdog time.Duration) <-chan string {
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
	heard := make(chan string, 1000)
	go func() {
		defer close(heard)
		for b := make([]byte, 1024); ; {
			n, err := socket.Read(b)
			if err != nil {
				return
			}
			heard <- string(b[:n])
		}
	}()
	return heard
}

func expect(t *testing.T, heard <-chan string, want string) {
	t.Helper()
	select {
	case got := <-heard:
		if got != want {
			t.Fatalf("systemd heard %q, not %q", got, want)
		}
	case <-time.After(10 * time.Second):
		t.Fatalf("systemd did not hear %q", want)
	}
}

func TestTheWatchdogIsFedOnlyWhileTheDaemonIsAlive(t *testing.T) {
	heard := manager(t, 30*time.Millisecond)
	const healthy, questions = 3, 10
	asked := 0
	ctx, stop := context.WithCancel(t.Context())
	systemd.Watch(ctx, func(context.Context) bool {
		if asked++; asked == questions {
			stop()
		}
		return asked <= healthy
	})
	expect(t, heard, "READY=1")
	for range healthy {
		expect(t, heard, "WATCHDOG=1")
	}
	expect(t, heard, "STOPPING=1")
}

func TestADaemonIsAliveWhileItAnswersOnItsOwnPort(t *testing.T) {
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
