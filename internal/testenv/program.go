package testenv

import (
	"testing"

	"github.com/replicante-io/playbooks/tests/robustness/cluster"
)

// NewProgram starts a program that appends its output to the file log, until the test ends.
func NewProgram(t testing.TB, log, path string, args ...string) *cluster.Process {
	t.Helper()
	process, err := cluster.StartProcess(log, nil, path, args...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(process.Kill)
	return process
}

// FreePort returns a TCP port on loopback that nothing listens on and that this process has not returned before.
func FreePort(t testing.TB) int {
	t.Helper()
	port, err := cluster.FreePort()
	if err != nil {
		t.Fatalf("find a free port: %v", err)
	}
	return port
}
