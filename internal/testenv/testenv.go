// Package testenv starts the real servers that tests need: MongoDB, alone or as a replica set, and finds others, such as Redis, etcd and PostgreSQL.
//
// It installs nothing. A test whose server is not on this machine is skipped with a message that says how to install it;
// where the environment variable REQUIRE names the server (REQUIRE=mongo,redis,etcd,postgresql), it fails instead. Servers are stopped
// when the test ends, shared ones when Main returns, and all of them when the test's process ends in any other way.
package testenv

import (
	"os"
	"slices"
	"strings"
	"testing"
)

// shared is what the tests of a package share.
var shared struct {
	used  bool
	stops []func()
}

// Main runs a package's tests and then stops the servers that they share. Call it from TestMain and exit with its result.
func Main(m *testing.M) int {
	shared.used = true
	code := m.Run()
	for _, stop := range slices.Backward(shared.stops) {
		stop()
	}
	return code
}

// absent skips or fails a test whose server is not on this machine.
func absent(t testing.TB, server, reason string) {
	t.Helper()
	if slices.Contains(strings.Split(os.Getenv("REQUIRE"), ","), server) {
		t.Fatalf("%s, and REQUIRE names %s: `make test-deps` installs it", reason, server)
	}
	t.Skipf("SKIPPED: %s; `make test-deps` installs it", reason)
}
