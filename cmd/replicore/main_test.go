package main

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/replicante-io/playbooks/internal/testenv"
)

// asProgram makes the test binary the program itself.
const asProgram = "REPLICORE_TEST_MAIN"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
		return
	}
	os.Exit(testenv.Main(m))
}

func TestAHangupEndsNothing(t *testing.T) {
	address := fmt.Sprintf("127.0.0.1:%d", testenv.FreePort(t))
	command := exec.Command(os.Args[0], "dev", "--agents", "1", "--listen", address)
	command.Env = append(os.Environ(), asProgram+"=1")
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- command.Wait() }()
	t.Cleanup(func() {
		_ = command.Process.Signal(syscall.SIGTERM) // it removes its data
		<-ended
	})
	ready := func() bool {
		response, err := http.Get("http://" + address + "/readyz")
		if err != nil {
			return false
		}
		_ = response.Body.Close()
		return response.StatusCode == http.StatusOK
	}
	await := func(what string) {
		t.Helper()
		for deadline := time.Now().Add(30 * time.Second); !ready(); time.Sleep(10 * time.Millisecond) {
			select {
			case err := <-ended:
				ended <- err
				t.Fatalf("%s: it ended with %v", what, err)
			default:
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s: it is not ready", what)
			}
		}
	}
	await("after its start")
	for range 3 {
		if err := command.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		await("after a hangup")
	}
}
