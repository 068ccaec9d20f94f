// Package testenv starts the real servers that tests need: MongoDB, alone or as a replica set, and Redis.
//
// It installs nothing. A test whose server is not on this machine is skipped and says how to get it; where the
// environment variable REQUIRE names the server (REQUIRE=mongo,redis), it fails instead. What was started ends with the
// test or, for what a package shares, with Main; and with the test's process however that ends.
package testenv

import (
	"os"
	"slices"
	"strings"
	"testing"
)

// shared is what ends when the package's tests have ended.
var shared struct {
	used bool
	ends []func()
}

// Main runs a package's tests and then ends the servers they shared. Call it from TestMain and exit with its result.
func Main(m *testing.M) int {
	shared.used = true
	code := m.Run()
	for _, end := range slices.Backward(shared.ends) {
		end()
	}
	return code
}

// absent ends a test whose server is not there.
func absent(t testing.TB, server, why string) {
	t.Helper()
	if slices.Contains(strings.Split(os.Getenv("REQUIRE"), ","), server) {
		t.Fatalf("%s, and REQUIRE names %s: `make test-deps` installs it", why, server)
	}
	t.Skipf("SKIPPED: %s; `make test-deps` installs it", why)
}
