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
)

// An action's processes are those of the session that its command leads. A process that made a session of its own
// (a daemon) outlives a timeout; it does not outlive the recovery after a crash of the agent, which ends everything that
// carries the action's ID in its environment, because nobody knows any more whether that is a daemon or the work itself.

// envActionID marks an action's processes.
const envActionID = "REPLICANTE_ACTION_ID"

// process names a process so that no later one is taken for it.
type process struct {
	PID   int    `json:"pid"`
	Start uint64 `json:"start"` // clock ticks since boot
	Boot  string `json:"boot"`
}

// endPoll is how often it is looked whether processes are gone.
const endPoll = 10 * time.Millisecond

// status is what /proc/PID/stat tells of a process; proc(5).
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

// processes are all that there are, zombies included.
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
		if s, err := readStatus(pid); err == nil { // else it has gone meanwhile
			all = append(all, s)
		}
	}
	return all, nil
}

func bootID() string {
	raw, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(raw))
}

// identify names a process that exists.
func identify(pid int) (process, error) {
	s, err := readStatus(pid)
	return process{PID: pid, Start: s.start, Boot: bootID()}, err
}

// signal sends sig to the very process that s describes.
func (s status) signal(sig syscall.Signal) {
	p, err := os.FindProcess(s.pid) // holds on to the process by a pidfd
	if err != nil {
		return
	}
	defer func() { _ = p.Release() }()
	if now, err := readStatus(s.pid); err == nil && now.start == s.start {
		_ = p.Signal(sig)
	}
}

// endSession ends the session led by a child that was not waited for yet, whose number can therefore be nobody else's.
// It returns when nothing of it runs any more.
func (a *Agent) endSession(leader int) error {
	return a.endAll(context.Background(), func() ([]status, error) {
		all, err := processes()
		return slices.DeleteFunc(all, func(s status) bool {
			return s.zombie || s.session != leader && s.group != leader
		}), err
	}, func(sig syscall.Signal) { _ = syscall.Kill(-leader, sig) })
}

// endRemains ends what an earlier life of the agent left running of an action. It returns when nothing is left, or ctx
// ends.
func (a *Agent) endRemains(ctx context.Context, e *entry) error {
	if !strings.HasPrefix(e.Action.Kind, wire.KindExternalPrefix) {
		return nil
	}
	mark := []byte(envActionID + "=" + e.Action.ID)
	sessions := map[int]bool{} // the action's: its command led one, and what it started may have made more
	find := func() ([]status, error) {
		all, err := processes()
		if err != nil {
			return nil, err
		}
		marked, foreign := map[int]bool{}, map[int]bool{}
		for _, s := range all {
			marked[s.pid] = !s.zombie && carries(s.pid, mark)
			if e.Process != nil && s.pid == e.Process.PID && s.start == e.Process.Start && e.Process.Boot == bootID() {
				sessions[s.session] = true
			} else if s.pid == s.session {
				foreign[s.session] = !s.zombie && !marked[s.pid] // led by one that only took the mark's bearer in
			}
		}
		for _, s := range all {
			if marked[s.pid] && !foreign[s.session] {
				sessions[s.session] = true
			}
		}
		spared := lineage(all, os.Getpid())
		return slices.DeleteFunc(all, func(s status) bool {
			return s.zombie || spared[s.pid] || !marked[s.pid] && !sessions[s.session] && !sessions[s.group]
		}), nil
	}
	return a.endAll(ctx, find, func(syscall.Signal) {})
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

func carries(pid int, mark []byte) bool {
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

// endAll sends SIGTERM to what find finds, and SIGKILL after the grace, again and again until find finds nothing. group
// is signalled first, so that what forks meanwhile is reached too.
func (a *Agent) endAll(ctx context.Context, find func() ([]status, error), group func(syscall.Signal)) error {
	begun, told := time.Now(), false
	sig := syscall.SIGTERM
	terminated := map[int]uint64{}
	wait := endPoll
	for {
		left, err := find()
		if err != nil || len(left) == 0 {
			return err
		}
		if sig == syscall.SIGTERM && time.Since(begun) >= a.cfg.KillGrace {
			sig, wait = syscall.SIGKILL, endPoll
		}
		if len(terminated) == 0 || sig == syscall.SIGKILL {
			group(sig)
		}
		for _, s := range left {
			if sig == syscall.SIGKILL || terminated[s.pid] != s.start {
				terminated[s.pid] = s.start
				s.signal(sig)
			}
		}
		if !told && time.Since(begun) > a.cfg.KillGrace+30*time.Second {
			told = true
			a.log.Warn("processes of an action do not end", "pid", left[0].pid, "count", len(left))
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
		wait = min(wait*2, 200*time.Millisecond, max(endPoll, a.cfg.KillGrace/4))
	}
}
