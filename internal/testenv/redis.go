package testenv

import (
	"os/exec"
	"testing"
)

// Redis is the path of redis-server.
func Redis(t testing.TB) string {
	t.Helper()
	path, err := exec.LookPath("redis-server")
	if err != nil {
		absent(t, "redis", "there is no redis-server on PATH")
	}
	return path
}
