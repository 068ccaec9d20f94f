package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/replicante-io/playbooks/agent/wire"
	"github.com/replicante-io/playbooks/internal/retry"
)

// runningCommand is a command that has been started.
type runningCommand struct {
	*files
	command   *exec.Cmd
	exited    <-chan struct{}
	processes *actionProcesses
	// left is what was still running when the command had exited, as text.
	left string
}

// runCommand runs a command until it and every process that it started has ended. When ctx ends, they are all stopped.
func (a *Agent) runCommand(ctx context.Context, t *task, configured Command, environment []string) wire.State {
	a.mu.Lock()
	action := t.entry.Action
	a.mu.Unlock()
	if ctx.Err() != nil {
		return stopped(ctx)
	}
	e, err := a.startCommand(t, action, configured, environment)
	if err != nil {
		return wire.State{Phase: wire.PhaseFailed, Error: failure(wire.CodeFailed, err.Error())}
	}
	defer e.close()
	interrupted := a.waitForProcesses(ctx, t, e)
	ended := a.cfg.Reaper.wait(e.command)
	e.processes.cgroup.remove()
	state := conclusion(e.command.ProcessState, ended)
	if interrupted {
		state = stopped(ctx)
		if e.left != "" {
			state.Error = failure(errorOf(state).Code, fmt.Sprintf("%s: its command ended with %s, but what it had started was still running: %s; "+
				"a daemon must be started by a service manager such as systemd", context.Cause(ctx), e.command.ProcessState, e.left))
		}
	}
	code := exitCode(e.command.ProcessState)
	state.ExitCode = &code
	state.StdoutTail, state.StderrTail = e.tail(e.stdout), e.tail(e.stderr)
	if state.Payload, err = readOutput(e.output); err != nil {
		state = withoutPayload(state, err)
	}
	return state
}

// withoutPayload is the state of an action whose payload is refused.
func withoutPayload(state wire.State, reason error) wire.State {
	message := "the command succeeded, but " + reason.Error()
	code := wire.CodeFailed
	if state.Phase == wire.PhaseFailed {
		code, message = errorOf(state).Code, errorOf(state).Message+"; "+reason.Error()
	}
	state.Phase, state.Error = wire.PhaseFailed, failure(code, message)
	return state
}

// startCommand starts the command in a session and, where possible, a cgroup of its own.
func (a *Agent) startCommand(t *task, action wire.Action, configured Command, environment []string) (*runningCommand, error) {
	credential, account, err := become(configured.User)
	if err != nil {
		return nil, fmt.Errorf("the command cannot be started: %w", err)
	}
	f, err := createFiles(a.cfg.DataDir, action)
	if err != nil {
		return nil, fmt.Errorf("the files of the command cannot be created: %w", err)
	}
	e := &runningCommand{files: f}
	start := func(attributes *syscall.SysProcAttr) error {
		attributes.Setsid, attributes.Credential = true, credential
		e.command = exec.Command(configured.Command[0], configured.Command[1:]...)
		e.command.Stdin, e.command.Stdout, e.command.Stderr = f.stdin, f.stdout, f.stderr
		e.command.Env = slices.Concat(inheritedEnvironment(), account, a.actionEnvironment(action), environment,
			[]string{envPrefix + "OUTPUT=" + f.output})
		e.command.SysProcAttr = attributes
		return a.cfg.Reaper.start(e.command)
	}
	group, err := startInCgroup(action.ID, start)
	if group == nil {
		err = start(&syscall.SysProcAttr{})
	}
	if err != nil {
		f.close()
		return nil, fmt.Errorf("the command cannot be started: %w", err)
	}
	e.exited = exited(e.command.Process.Pid)
	e.processes = newActionProcesses(action.ID, a.recordLeader(t, e.command.Process.Pid, group), group, a.cfg.Reaper)
	return e, nil
}

// recordLeader records the process of the command, for recovery after a crash.
func (a *Agent) recordLeader(t *task, pid int, group *cgroup) *process {
	leader, err := identify(pid)
	if group != nil {
		leader.Cgroup = group.dir
	}
	if err == nil && a.cfg.DataDir != "" {
		err = a.update(t, true, func(e *entry) { e.Process = &leader })
	}
	if err != nil {
		a.log.Warn("process of an action cannot be recorded: after a crash it can be found by its environment only",
			"action", t.id, "error", err)
	}
	return &leader
}

// waitForProcesses waits until no process of the action is left. It returns true where ctx ended before, and they were stopped.
func (a *Agent) waitForProcesses(ctx context.Context, t *task, e *runningCommand) (interrupted bool) {
	trimmed := make(chan struct{})
	trimming, stopTrimming := context.WithCancel(context.Background())
	go func() {
		defer close(trimmed)
		for retry.Sleep(trimming, trimInterval) {
			e.trim()
		}
	}()
	defer func() {
		stopTrimming()
		<-trimmed
	}()
	select {
	case <-e.exited:
		if a.waitForRest(ctx, t, e) {
			return false
		}
	case <-ctx.Done():
	}
	_ = a.stop(context.Background(), t.id, e.processes)
	<-e.exited
	return true
}

// waitForRest waits for what the command left running when it exited. It returns false where ctx ends before.
func (a *Agent) waitForRest(ctx context.Context, t *task, e *runningCommand) bool {
	for wait := minPollInterval; ; wait = min(2*wait, maxPollInterval) {
		left, err := e.processes.find()
		if err == nil && len(left) == 0 {
			return true
		}
		text := describe(left)
		if err != nil {
			text = err.Error()
		}
		if e.left == "" {
			a.log.Info("command of an action has exited, but what it started is still running", "action", t.id, "processes", text)
			_ = a.update(t, false, func(e *entry) {
				e.Action.State.Waiting = "the command has exited, but what it started is still running: " + text
			})
		}
		e.left = text
		if !retry.Sleep(ctx, wait) {
			return false
		}
	}
}

// exited is closed when a child has ended. The child stays a zombie and keeps its PID until it is waited for.
func exited(pid int) <-chan struct{} {
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			if err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil); !errors.Is(err, unix.EINTR) {
				return
			}
		}
	}()
	return done
}

func conclusion(process *os.ProcessState, err error) wire.State {
	var exit *exec.ExitError
	switch {
	case err == nil:
		return wire.State{Phase: wire.PhaseDone}
	case errors.As(err, &exit) || process != nil && !process.Success():
		return wire.State{Phase: wire.PhaseFailed, Error: failure(wire.CodeExit, "the command ended with "+process.String())}
	default:
		return wire.State{Phase: wire.PhaseFailed, Error: failure(wire.CodeFailed, "the command's end cannot be read: "+err.Error())}
	}
}

// exitCode is the exit status as shells report it: 128 and the number of the signal for a process that a signal ended.
func exitCode(process *os.ProcessState) int {
	if status, ok := process.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal())
	}
	return process.ExitCode()
}
