package agent

import (
	"bufio"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

// cgroup is a cgroup v2 with all processes of one action, those included that hide from everything else. Only the service manager
// takes a process out of it.
type cgroup struct{ dir string }

const cgroupPrefix = "replicante-action-"

// ownCgroup is the directory of the agent's own cgroup v2, "" where there is none.
var ownCgroup = sync.OnceValue(func() string {
	mount, root := cgroupMount()
	if mount == "" {
		return ""
	}
	lines, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(lines)) {
		if path, ok := strings.CutPrefix(strings.TrimSpace(line), "0::"); ok {
			below, err := filepath.Rel(root, path)
			if err != nil || strings.HasPrefix(below, "..") {
				return ""
			}
			return filepath.Join(mount, below)
		}
	}
	return ""
})

// cgroupMount is where cgroup v2 is mounted, and which cgroup is there; proc_pid_mountinfo(5).
func cgroupMount() (mount, root string) {
	file, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return "", ""
	}
	defer file.Close()
	for scanner := bufio.NewScanner(file); scanner.Scan(); {
		of, kind, _ := strings.Cut(scanner.Text(), " - ")
		if fields := strings.Fields(of); strings.HasPrefix(kind, "cgroup2 ") && len(fields) >= 5 {
			return fields[4], fields[3]
		}
	}
	return "", ""
}

func cgroupOf(id string) *cgroup {
	if own := ownCgroup(); own != "" {
		return &cgroup{dir: filepath.Join(own, cgroupPrefix+id)}
	}
	return nil
}

// startInCgroup starts a command in a new cgroup of an action, below the agent's own. It returns nil where that is not possible.
func startInCgroup(id string, start func(*syscall.SysProcAttr) error) (*cgroup, error) {
	c := cgroupOf(id)
	if c == nil {
		return nil, nil
	}
	if err := os.Mkdir(c.dir, 0o755); err != nil {
		return nil, err
	}
	dir, err := os.Open(c.dir)
	if err == nil {
		err = start(&syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(dir.Fd())})
		_ = dir.Close()
	}
	if err != nil {
		c.remove()
		return nil, err
	}
	return c, nil
}

// processes are the PIDs in the cgroup and below it.
func (c *cgroup) processes() map[int]bool {
	if c == nil {
		return nil
	}
	found := map[int]bool{}
	_ = filepath.WalkDir(c.dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.IsDir() {
			return nil
		}
		raw, _ := os.ReadFile(filepath.Join(path, "cgroup.procs"))
		for line := range strings.Lines(string(raw)) {
			if pid, err := strconv.Atoi(strings.TrimSpace(line)); err == nil {
				found[pid] = true
			}
		}
		return nil
	})
	return found
}

// kill kills every process in the cgroup, those included that are forked meanwhile.
func (c *cgroup) kill() {
	if c != nil {
		_ = os.WriteFile(filepath.Join(c.dir, "cgroup.kill"), []byte("1"), 0)
	}
}

// remove removes the cgroup, which must have no process, and those that were created below it.
func (c *cgroup) remove() {
	if c == nil {
		return
	}
	var dirs []string
	_ = filepath.WalkDir(c.dir, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() {
			dirs = append(dirs, path)
		}
		return nil
	})
	for i := len(dirs) - 1; i >= 0; i-- {
		if err := os.Remove(dirs[i]); err != nil && !errors.Is(err, os.ErrNotExist) {
			return
		}
	}
}
