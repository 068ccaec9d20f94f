package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// run executes one command line, and returns what it printed, its error, and whether its arguments were valid.
func run(t *testing.T, args ...string) (out string, err error, valid bool) {
	t.Helper()
	root, entered := command(nil)
	var b bytes.Buffer
	root.SetOut(&b)
	root.SetErr(&b)
	root.SetArgs(args)
	err = root.ExecuteContext(t.Context())
	return b.String(), err, *entered
}

func TestInvalidArgumentsAreDistinguishedFromOtherErrors(t *testing.T) {
	for _, args := range [][]string{{"sever"}, {"server", "--cofnig", "x"}, {"server", "x"}, {"dev", "--agents", "many"}, {"store", "mend"}} {
		if _, err, valid := run(t, args...); err == nil || valid {
			t.Errorf("%v: got %v, valid %v", args, err, valid)
		}
	}
	if _, err, valid := run(t, "server", "--config", "/not/there"); err == nil || !valid {
		t.Errorf("got %v, valid %v", err, valid)
	}
}

func TestServerReportsThePlaceOfAnErrorInItsFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "replicore.yaml")
	if err := os.WriteFile(file, []byte("stor: {url: x}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err, _ := run(t, "server", "--config", file)
	if err == nil || !strings.Contains(err.Error(), "replicore.yaml:1:1: stor: unknown key; did you mean store?") {
		t.Errorf("got %v", err)
	}
}

func TestStoreInitPreparesAStoreThatCheckRejects(t *testing.T) {
	url := "--store-url=sqlite://" + filepath.Join(t.TempDir(), "core.db")
	if _, err, _ := run(t, "store", "adopt-etcd", url, "--etcd-endpoints=http://127.0.0.1:1"); err == nil {
		t.Error("an empty store was adopted")
	}
	if _, err, _ := run(t, "store", "check", url); err == nil {
		t.Error("a store that does not exist has no problems")
	}
	if out, err, _ := run(t, "store", "init", url); err != nil || !strings.Contains(out, "is prepared: installation ") {
		t.Errorf("init: %q, %v", out, err)
	}
	if out, err, _ := run(t, "store", "check", url); err != nil || !strings.Contains(out, "has no problems") {
		t.Errorf("check: %q, %v", out, err)
	}
	if out, err, _ := run(t, "store", "init", url, "--runs-finished-ttl=1h"); err != nil || !strings.Contains(out, "kept for 336h") ||
		!strings.Contains(out, "add --set-finished-ttl") {
		t.Errorf("init with another TTL: %q, %v", out, err)
	}
	if out, err, _ := run(t, "store", "init", url, "--runs-finished-ttl=1h", "--set-finished-ttl"); err != nil || !strings.Contains(out, "kept for 1h") {
		t.Errorf("init that changes the TTL: %q, %v", out, err)
	}
	if out, err, _ := run(t, "store", "init", url, "--runs-finished-ttl=59m", "--set-finished-ttl"); err == nil {
		t.Errorf("init with a TTL that is too short: %q", out)
	}
}

func TestDevListensOnLoopbackOnly(t *testing.T) {
	if _, err, _ := run(t, "dev", "--listen", "0.0.0.0:16016"); err == nil || !strings.Contains(err.Error(), "127.0.0.1:16016") {
		t.Errorf("got %v", err)
	}
}
