package testenv

import (
	"os/exec"
	"testing"
)

// Redis returns the path of redis-server.
func Redis(t testing.TB) string {
	t.Helper()
	return Program(t, "redis", "redis-server")
}

// Program returns the path of a program of a server that a test needs.
func Program(t testing.TB, server, program string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		absent(t, server, program+" is not on PATH")
	}
	return path
}
