//go:build integration

package systemd

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/replicante-io/playbooks/internal/testenv"
)

// patience is how long the machine may take for everything.
const patience = 3 * time.Minute

// TestInstalledUnitsWorkUnderSystemd boots a machine with what `make install` installs. testdata/inside.sh runs on it, and
// writes what it found as lines NAME=VALUE.
func TestInstalledUnitsWorkUnderSystemd(t *testing.T) {
	machine := testenv.Machine(t, "../../tools/machine")
	root := filepath.Join(t.TempDir(), "root")
	run(t, "cp", "-a", machine, root)
	run(t, "make", "-C", "../..", "-s", "install", "DESTDIR="+root, "PREFIX=/usr")
	run(t, "go", "build", "-o", filepath.Join(root, "root/etcd"), "../robustness/cluster/etcd")
	run(t, "cp", "-a", "testdata/.", root)
	wants := filepath.Join(root, "etc/systemd/system/multi-user.target.wants")
	run(t, "mkdir", "-p", wants)
	run(t, "ln", "-sf", "../inside.service", filepath.Join(wants, "inside.service"))

	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	boot := exec.CommandContext(ctx, "systemd-nspawn", "-q", "-D", root, "-b", "--register=no", "--keep-unit", "--private-network")
	boot.Env = append(os.Environ(), "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1")
	boot.Cancel = func() error { return boot.Process.Signal(os.Interrupt) }
	output, _ := boot.CombinedOutput()

	result, err := os.ReadFile(filepath.Join(root, "root/result"))
	if err != nil || !strings.HasSuffix(string(result), "complete=yes\n") {
		t.Fatalf("the machine did not complete: %v\n%s\n%s", err, result, output)
	}
	want := strings.TrimSpace(`
units=active active active
restarted=DONE
redis_was_restarted=yes
payload=DONE
payload_user="user":"redis"
killed=DONE
killed_starts=1
hung=DONE
hung_starts=2
escape=FAILED
escaped=no
agent_killed=active
agent_killed_escaped=no
cgroups_left=0
complete=yes`)
	var got []string
	for line := range strings.Lines(string(result)) {
		if !strings.HasPrefix(line, "#") {
			got = append(got, strings.TrimSpace(line))
		}
	}
	if text := strings.Join(got, "\n"); text != want {
		t.Errorf("got:\n%s\nwant:\n%s\nall:\n%s", text, want, result)
	}
}

func run(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
}
