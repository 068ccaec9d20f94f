package testenv

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// Machine returns the root directory of a machine with systemd, to be copied and booted by systemd-nspawn. script is the path of
// tools/machine.
func Machine(t testing.TB, script string) string {
	t.Helper()
	if os.Geteuid() != 0 {
		absent(t, "machine", "only root can boot a machine")
	}
	if _, err := exec.LookPath("systemd-nspawn"); err != nil {
		absent(t, "machine", "systemd-nspawn is not on PATH")
	}
	out, err := exec.Command(script).Output()
	if err != nil {
		absent(t, "machine", "there is no machine to boot")
	}
	return strings.TrimSpace(string(out))
}
