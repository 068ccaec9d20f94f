package agent

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

// process identifies the process of a command: no later one is mistaken for it.
type process struct {
	PID    int    `json:"pid"`
	Start  uint64 `json:"start"` // clock ticks since boot
	Boot   string `json:"boot"`
	Cgroup string `json:"cgroup,omitempty"` // the directory of the action's cgroup
}

// status is of a process in /proc/PID/stat; proc(5).
type status struct {
	pid, parent, group, session int
	name                        string
	zombie                      bool
	start                       uint64
}

func readStatus(pid int) (status, error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return status{}, err
	}
	// The second field, the command's name in parentheses, may hold anything.
	opened, closed := bytes.IndexByte(raw, '('), bytes.LastIndexByte(raw, ')')
	fields := strings.Fields(string(raw[closed+1:]))
	if opened < 0 || closed < opened || len(fields) < 20 {
		return status{}, fmt.Errorf("read the status of process %d: %q", pid, raw)
	}
	s := status{pid: pid, name: string(raw[opened+1 : closed]), zombie: fields[0] == "Z" || fields[0] == "X"}
	var errs [4]error
	s.parent, errs[0] = strconv.Atoi(fields[1])
	s.group, errs[1] = strconv.Atoi(fields[2])
	s.session, errs[2] = strconv.Atoi(fields[3])
	s.start, errs[3] = strconv.ParseUint(fields[19], 10, 64)
	return s, errors.Join(errs[:]...)
}

// processes are all processes, zombies included.
func processes() ([]status, error) {
	directory, err := os.Open("/proc")
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	defer directory.Close()
	names, err := directory.Readdirnames(-1)
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	var all []status
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		if s, err := readStatus(pid); err == nil { // else it has ended
			all = append(all, s)
		}
	}
	return all, nil
}

var bootID = sync.OnceValue(func() string {
	raw, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(raw))
})

// identify identifies an existing process.
func identify(pid int) (process, error) {
	s, err := readStatus(pid)
	return process{PID: pid, Start: s.start, Boot: bootID()}, err
}

// signal sends sig to the process that s describes, and to no later one with its PID.
func (s status) signal(sig syscall.Signal) {
	p, err := os.FindProcess(s.pid) // holds the process by a pidfd
	if err != nil {
		return
	}
	defer func() { _ = p.Release() }()
	if now, err := readStatus(s.pid); err == nil && now.start == s.start {
		_ = p.Signal(sig)
	}
}

// lineage is the process and its ancestors: an agent may have been started by an action.
func lineage(all []status, pid int) map[int]bool {
	parents := map[int]int{}
	for _, s := range all {
		parents[s.pid] = s.parent
	}
	line := map[int]bool{}
	for pid != 0 && !line[pid] {
		line[pid] = true
		pid = parents[pid]
	}
	return line
}

func hasVariable(pid int, mark []byte) bool {
	environment, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	if err != nil {
		return false
	}
	for variable := range bytes.SplitSeq(environment, []byte{0}) {
		if bytes.Equal(variable, mark) {
			return true
		}
	}
	return false
}
