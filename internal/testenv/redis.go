package testenv

import (
	"os/exec"
	"testing"
)

// Redis returns the path of redis-server.
func Redis(t testing.TB) string {
	t.Helper()
	path, err := exec.LookPath("redis-server")
	if err != nil {
		absent(t, "redis", "redis-server is not on PATH")
	}
	return path
}
