package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"github.com/replicante-io/playbooks/agent/wire"
)

const (
	// outputPattern is of the files behind $REPLICANTE_OUTPUT, in the data directory.
	outputPattern = "output-*.json"
	// maxPayload bounds what a command may write to it.
	maxPayload = 64 << 10
	// drainDelay is how long output is read after a command has ended, where something that it left running keeps it open.
	drainDelay = 500 * time.Millisecond
	envPrefix  = "REPLICANTE_"
)

// runCommand runs a command in a session of its own until the command ends or ctx does; the session is then stopped.
func (a *Agent) runCommand(ctx context.Context, t *task, argv, environment []string) wire.State {
	a.mu.Lock()
	action := t.entry.Action
	a.mu.Unlock()
	fail := func(format string, args ...any) wire.State {
		return wire.State{Phase: wire.PhaseFailed, Error: failure(wire.CodeFailed, fmt.Sprintf(format, args...))}
	}
	if ctx.Err() != nil {
		return stopped(ctx)
	}
	input, err := json.Marshal(action)
	if err != nil {
		return fail("the action cannot be encoded for its command: %s", err)
	}
	output, err := createOutput(a.cfg.DataDir)
	if err != nil {
		return fail("the file for the command's output cannot be created: %s", err)
	}
	defer os.Remove(output)

	var stdout, stderr tail
	command := exec.Command(argv[0], argv[1:]...)
	command.Stdin = bytes.NewReader(input)
	command.Stdout, command.Stderr = &stdout, &stderr
	command.Env = slices.Concat(inheritedEnvironment(), a.actionEnvironment(action), environment,
		[]string{envPrefix + "OUTPUT=" + output})
	command.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	command.WaitDelay = drainDelay
	if err := command.Start(); err != nil {
		return fail("the command cannot be started: %s", err)
	}
	a.recordLeader(t, command.Process.Pid)

	var ended, interrupted error
	exit := exited(command.Process.Pid)
	select {
	case <-exit:
	case <-ctx.Done():
		interrupted = ctx.Err()
		if err := a.stopSession(command.Process.Pid); err != nil {
			a.log.Error("processes of an action cannot be listed; its process group is killed", "action", t.id, "error", err)
			_ = syscall.Kill(-command.Process.Pid, syscall.SIGKILL)
		}
	}
	<-exit
	ended = command.Wait()

	var state wire.State
	if interrupted != nil {
		state = stopped(ctx)
	} else {
		state = conclusion(command.ProcessState, ended)
	}
	if command.ProcessState != nil {
		code := exitCode(command.ProcessState)
		state.ExitCode = &code
	}
	state.StdoutTail, state.StderrTail = stdout.String(), stderr.String()
	payload, err := readOutput(output)
	if err != nil && state.Phase == wire.PhaseDone {
		state.Phase = wire.PhaseFailed
		state.Error = failure(wire.CodeFailed, "the command succeeded, but "+err.Error())
	}
	state.Payload = payload
	return state
}

// recordLeader records the process that leads the command's session, for recovery after a crash.
func (a *Agent) recordLeader(t *task, pid int) {
	leader, err := identify(pid)
	if err == nil && a.cfg.DataDir != "" {
		err = a.update(t, true, func(e *entry) { e.Process = &leader })
	}
	if err != nil {
		a.log.Warn("process of an action cannot be recorded: after a crash it can be found by its environment only",
			"action", t.id, "error", err)
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
	case err == nil, errors.Is(err, exec.ErrWaitDelay):
		return wire.State{Phase: wire.PhaseDone}
	case errors.As(err, &exit) || process != nil && !process.Success():
		return wire.State{Phase: wire.PhaseFailed, Error: failure(wire.CodeExit, "the command ended with "+process.String())}
	default:
		return wire.State{Phase: wire.PhaseFailed, Error: failure(wire.CodeFailed, "the command's output cannot be read: "+err.Error())}
	}
}

// exitCode is the exit status as shells report it: 128 and the number of the signal for a process that a signal ended.
func exitCode(process *os.ProcessState) int {
	if status, ok := process.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal())
	}
	return process.ExitCode()
}

func inheritedEnvironment() []string {
	return slices.DeleteFunc(os.Environ(), func(variable string) bool { return strings.HasPrefix(variable, envPrefix) })
}

func (a *Agent) actionEnvironment(action wire.Action) []string {
	environment := []string{
		envActionID + "=" + action.ID,
		envPrefix + "ACTION_KIND=" + action.Kind,
		envPrefix + "NODE_ID=" + a.cfg.NodeID,
		envPrefix + "CLUSTER_ID=" + a.cfg.ClusterID,
	}
	if term, given := action.Metadata[wire.MetaTerm]; given {
		environment = append(environment, envPrefix+"TERM="+term)
	}
	return environment
}

// argEnvironment is a variable for each scalar of args: strings as they are, numbers and booleans as in JSON.
func argEnvironment(args json.RawMessage) ([]string, error) {
	var values map[string]json.RawMessage
	if len(args) > 0 {
		if err := json.Unmarshal(args, &values); err != nil {
			return nil, invalid("args must be an object like {name: value}")
		}
	}
	from := map[string]string{}
	var environment []string
	for _, name := range slices.Sorted(maps.Keys(values)) {
		value := string(values[name])
		switch value[0] {
		case '{', '[', 'n': // an object, a list or null
			continue
		case '"':
			if err := json.Unmarshal(values[name], &value); err != nil {
				return nil, invalid("argument %s: %s", name, err)
			}
			if strings.IndexByte(value, 0) >= 0 {
				return nil, invalid("argument %s contains a NUL, which an environment variable cannot", name)
			}
		}
		variable := envPrefix + "ARG_" + variableName(name)
		if other, taken := from[variable]; taken {
			return nil, invalid("arguments %s and %s would both be the variable %s", other, name, variable)
		}
		from[variable] = name
		environment = append(environment, variable+"="+value)
	}
	return environment, nil
}

func variableName(name string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z':
			return r - 'a' + 'A'
		case r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
			return r
		default:
			return '_'
		}
	}, name)
}

func createOutput(dir string) (string, error) {
	file, err := os.CreateTemp(dir, outputPattern)
	if err != nil {
		return "", err
	}
	if err := file.Close(); err != nil {
		return "", err
	}
	return filepath.Abs(file.Name())
}

// readOutput reads the JSON object that a command wrote, nil where it wrote none.
func readOutput(path string) (json.RawMessage, error) {
	const name = "$REPLICANTE_OUTPUT"
	// A command may have replaced the file: do not wait for a pipe, and follow no link.
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOFOLLOW, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%s cannot be read: %w", name, err)
	}
	defer file.Close()
	if info, err := file.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", name)
	}
	raw, err := io.ReadAll(io.LimitReader(file, maxPayload+1))
	if err != nil {
		return nil, fmt.Errorf("%s cannot be read: %w", name, err)
	}
	if len(raw) > maxPayload {
		return nil, fmt.Errorf("%s contains more than %d bytes", name, maxPayload)
	}
	raw = bytes.TrimSpace(raw)
	if len(raw) == 0 {
		return nil, nil
	}
	var object map[string]json.RawMessage
	if err := json.Unmarshal(raw, &object); err != nil || object == nil || !utf8.Valid(raw) {
		return nil, fmt.Errorf("%s does not contain a JSON object", name)
	}
	return raw, nil
}

func removeAll(paths []string) {
	for _, path := range paths {
		_ = os.Remove(path)
	}
}
