package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/replicante-io/playbooks/agent/wire"
)

const (
	// maxProbeOutput bounds what a probe may print.
	maxProbeOutput = 1 << 20
	// drainDelay is how long the output of a probe is read after it has ended, where something that it left running keeps it open.
	drainDelay = 500 * time.Millisecond
)

// CommandProbe is a probe that runs a command which prints an Info as JSON. Where the command exits with another status than 0,
// the node is UNAVAILABLE; where it cannot be started, takes longer than timeout or prints anything else, the node is UNKNOWN.
// reaper is that of the agent.
func CommandProbe(argv []string, timeout time.Duration, reaper *Reaper) func(context.Context) (Info, error) {
	return func(ctx context.Context) (Info, error) {
		if len(argv) == 0 {
			return Info{}, errors.New("the probe has no command")
		}
		ctx, cancel := context.WithTimeout(ctx, timeout)
		defer cancel()
		var stdout limited
		var stderr tail
		command := exec.CommandContext(ctx, argv[0], argv[1:]...)
		command.Stdout, command.Stderr = &stdout, &stderr
		command.Env = append(inheritedEnvironment(), envProbe+"=1")
		command.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		command.Cancel = func() error { return syscall.Kill(-command.Process.Pid, syscall.SIGKILL) }
		command.WaitDelay = drainDelay
		err := reaper.start(command)
		if err == nil {
			err = reaper.wait(command)
		}
		var exit *exec.ExitError
		switch {
		case ctx.Err() != nil:
			return Info{}, fmt.Errorf("the probe did not end within %s; see probe.timeout", timeout)
		case errors.As(err, &exit):
			reason := "the probe ended with " + exit.String()
			if line := firstLine(stderr.String()); line != "" {
				reason += ": " + line
			}
			return Info{Status: wire.StatusUnavailable, Reason: reason}, nil
		case err != nil && !errors.Is(err, exec.ErrWaitDelay):
			return Info{}, fmt.Errorf("run the probe: %w", err)
		case stdout.over:
			return Info{}, fmt.Errorf("the probe printed more than %d bytes", maxProbeOutput)
		}
		return parseInfo(stdout.buffer.Bytes())
	}
}

// limited keeps what is written to it up to a limit.
type limited struct {
	buffer bytes.Buffer
	over   bool
}

func (l *limited) Write(p []byte) (int, error) {
	if l.buffer.Len()+len(p) > maxProbeOutput {
		l.over = true
		return len(p), nil
	}
	return l.buffer.Write(p)
}

// firstLine is the first line of a text, cut where it is long, for a reason.
func firstLine(text string) string {
	const most = 200
	line, _, _ := strings.Cut(strings.TrimSpace(text), "\n")
	line = strings.ReplaceAll(strings.ToValidUTF8(strings.TrimSpace(line), "\uFFFD"), "\x00", "\uFFFD")
	if len(line) > most {
		line = strings.ToValidUTF8(line[:most], "") + "…"
	}
	return line
}
