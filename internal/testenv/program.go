package testenv

import (
	"testing"

	rig "github.com/replicante-io/playbooks/tests/robustness/cluster"
)

// NewProgram starts a program, with what it prints added to the file log; it ends with the test.
func NewProgram(t testing.TB, log, path string, args ...string) *rig.Process {
	t.Helper()
	process, err := rig.Start(log, nil, path, args...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(process.Kill)
	return process
}

// FreePort is a TCP port on loopback that nothing listens on, and that this process was not given before.
func FreePort(t testing.TB) int {
	t.Helper()
	port, err := rig.FreePort()
	if err != nil {
		t.Fatalf("find a free port: %v", err)
	}
	return port
}
