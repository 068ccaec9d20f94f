package main

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/replicante-io/playbooks/agent/client"
	"github.com/replicante-io/playbooks/agent/wire"
	"github.com/replicante-io/playbooks/internal/testenv"
)

// asProgram makes the test binary the program itself.
const asProgram = "REPLIAGENT_TEST_MAIN"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// log is the output of a program.
type log struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *log) contains(text string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Contains(l.text.String(), text)
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("never: " + what)
		}
	}
}

func TestAHangupReadsTheLogLevelAgainAndEndsNothing(t *testing.T) {
	dir := t.TempDir()
	url := fmt.Sprintf("http://127.0.0.1:%d", testenv.FreePort(t))
	file := filepath.Join(dir, "agent.yaml")
	configure := func(level string) {
		text := fmt.Sprintf("node: {id: n1, cluster: c1}\napi: {listen: %q}\netcd: {endpoints: [\"http://127.0.0.1:%d\"]}\ndata_dir: %q\nlog: {level: %s}\n"+
			"actions: {wait: {command: [sh, -c, \"until [ -e %s/go ]; do sleep 0.01; done\"]}}\n",
			strings.TrimPrefix(url, "http://"), testenv.FreePort(t), filepath.Join(dir, "data"), level, dir)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	configure("error")
	command, output := launch(t, file)
	agents := client.New(client.Config{})
	id := "6f2c6a5e-6d8c-4c51-9b8e-0f4b1c1d2e3f"
	eventually(t, "the action is accepted", func() bool {
		_, err := agents.Post(t.Context(), url, wire.ActionRequest{ID: id, Kind: wire.KindExternalPrefix + "wait"}, 0)
		return err == nil
	})
	configure("info")
	if err := command.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the log level is read again", func() bool { return output.contains("configuration was read again") })
	if response, err := http.Get(url + wire.Base + "/action/" + id); err != nil || response.StatusCode != http.StatusOK {
		t.Errorf("the agent has ended: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "go"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if action, err := agents.Get(t.Context(), url, id, 20*time.Second); err != nil || action.State.Phase != wire.PhaseDone {
		t.Errorf("the action: %+v, %v", action, err)
	}
}

// launch starts the program for one test, and returns what it logs.
func launch(t *testing.T, config string) (*exec.Cmd, *log) {
	t.Helper()
	output := &log{}
	command := exec.Command(os.Args[0], "--config", config)
	command.Env, command.Stderr = append(os.Environ(), asProgram+"=1"), output
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = command.Process.Kill()
		_ = command.Wait()
	})
	return command, output
}
