package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/replicante-io/playbooks/agent/wire"
	"github.com/replicante-io/playbooks/internal/retry"
)

// An action's processes are those of the session that its command leads. A process that created a session of its own (a
// daemon) survives a timeout. It does not survive the recovery after a crash of the agent: that stops everything that has the
// action's ID in its environment, because it is no longer known whether that is a daemon or the action itself.

// envActionID marks an action's processes.
const envActionID = "REPLICANTE_ACTION_ID"

// process identifies a process: no later one is mistaken for it.
type process struct {
	PID   int    `json:"pid"`
	Start uint64 `json:"start"` // clock ticks since boot
	Boot  string `json:"boot"`
}

// minPollInterval is how soon it is checked again whether processes have ended.
const minPollInterval = 10 * time.Millisecond

// status is of a process in /proc/PID/stat; proc(5).
type status struct {
	pid, parent, group, session int
	zombie                      bool
	start                       uint64
}

func readStatus(pid int) (status, error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return status{}, err
	}
	// The second field, the command's name in parentheses, may hold anything.
	fields := strings.Fields(string(raw[bytes.LastIndexByte(raw, ')')+1:]))
	if len(fields) < 20 {
		return status{}, fmt.Errorf("read the status of process %d: %q", pid, raw)
	}
	s := status{pid: pid, zombie: fields[0] == "Z" || fields[0] == "X"}
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

func bootID() string {
	raw, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(raw))
}

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

// stopSession stops the session that is led by a child which was not waited for yet, so that no other process can have its PID.
// It returns when nothing of it is running.
func (a *Agent) stopSession(leader int) error {
	return a.stopAll(context.Background(), func() ([]status, error) {
		all, err := processes()
		return slices.DeleteFunc(all, func(s status) bool {
			return s.zombie || s.session != leader && s.group != leader
		}), err
	}, func(sig syscall.Signal) { _ = syscall.Kill(-leader, sig) })
}

// stopRemaining stops what an earlier process of the agent left running of an action. It returns when nothing is left, or ctx
// ends.
func (a *Agent) stopRemaining(ctx context.Context, e *entry) error {
	if !strings.HasPrefix(e.Action.Kind, wire.KindExternalPrefix) {
		return nil
	}
	mark := []byte(envActionID + "=" + e.Action.ID)
	sessions := map[int]bool{} // of the action: the one its command led, and those that its processes created
	find := func() ([]status, error) {
		all, err := processes()
		if err != nil {
			return nil, err
		}
		marked, foreign := map[int]bool{}, map[int]bool{}
		for _, s := range all {
			marked[s.pid] = !s.zombie && hasVariable(s.pid, mark)
			if e.Process != nil && s.pid == e.Process.PID && s.start == e.Process.Start && e.Process.Boot == bootID() {
				sessions[s.session] = true
			} else if s.pid == s.session {
				foreign[s.session] = !s.zombie && !marked[s.pid] // its leader is not of the action
			}
		}
		for _, s := range all {
			if marked[s.pid] && !foreign[s.session] {
				sessions[s.session] = true
			}
		}
		kept := lineage(all, os.Getpid())
		return slices.DeleteFunc(all, func(s status) bool {
			return s.zombie || kept[s.pid] || !marked[s.pid] && !sessions[s.session] && !sessions[s.group]
		}), nil
	}
	return a.stopAll(ctx, find, func(syscall.Signal) {})
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

// stopAll sends SIGTERM to what find returns, and SIGKILL after the grace, until find returns nothing. signalGroup is called first,
// so that it reaches processes that are forked meanwhile.
func (a *Agent) stopAll(ctx context.Context, find func() ([]status, error), signalGroup func(syscall.Signal)) error {
	start, warned := time.Now(), false
	sig := syscall.SIGTERM
	terminated := map[int]uint64{}
	wait := minPollInterval
	for {
		left, err := find()
		if err != nil || len(left) == 0 {
			return err
		}
		if sig == syscall.SIGTERM && time.Since(start) >= a.cfg.KillGrace {
			sig, wait = syscall.SIGKILL, minPollInterval
		}
		if len(terminated) == 0 || sig == syscall.SIGKILL {
			signalGroup(sig)
		}
		for _, s := range left {
			if sig == syscall.SIGKILL || terminated[s.pid] != s.start {
				terminated[s.pid] = s.start
				s.signal(sig)
			}
		}
		if !warned && time.Since(start) > a.cfg.KillGrace+30*time.Second {
			warned = true
			a.log.Warn("processes of an action do not end", "pid", left[0].pid, "count", len(left))
		}
		if !retry.Sleep(ctx, wait) {
			return ctx.Err()
		}
		wait = min(wait*2, 200*time.Millisecond, max(minPollInterval, a.cfg.KillGrace/4))
	}
}
