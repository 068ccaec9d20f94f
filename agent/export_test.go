package agent

import (
	"os/exec"
	"path/filepath"
	"syscall"
)

// DisableCgroups makes the agents of this process use no cgroups.
func DisableCgroups() { ownCgroup = func() string { return "" } }

// HasCgroups reports whether a process can be started in a cgroup of its own. name is unique.
func HasCgroups(name string) bool {
	group, _ := startInCgroup(filepath.Base(filepath.Dir(name)), func(attributes *syscall.SysProcAttr) error {
		command := exec.Command("true")
		command.SysProcAttr = attributes
		return command.Run()
	})
	group.remove()
	return group != nil
}
