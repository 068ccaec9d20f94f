package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"syscall"
	"time"

	"github.com/replicante-io/playbooks/agent/wire"
)

// maxProbeOutput bounds what a probe may print.
const maxProbeOutput = 1 << 20

// CommandProbe is a probe that runs a command which prints an Info as JSON. Where the command exits with another status than 0,
// the node is UNAVAILABLE; where it cannot be started, takes longer than timeout or prints anything else, the node is UNKNOWN.
func CommandProbe(argv []string, timeout time.Duration) func(context.Context) (Info, error) {
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
		command.Env = inheritedEnvironment()
		command.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		command.Cancel = func() error { return syscall.Kill(-command.Process.Pid, syscall.SIGKILL) }
		command.WaitDelay = drainDelay
		err := command.Run()
		var exit *exec.ExitError
		switch {
		case ctx.Err() != nil:
			return Info{}, fmt.Errorf("the probe did not end within %s", timeout)
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
		var info Info
		decoder := json.NewDecoder(&stdout.buffer)
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(&info); err != nil {
			return Info{}, fmt.Errorf("decode the output of the probe: %w", err)
		}
		if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
			return Info{}, errors.New("the probe printed more than one JSON object")
		}
		return info, nil
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

func firstLine(text string) string {
	line, _, _ := bytes.Cut(bytes.TrimSpace([]byte(text)), []byte("\n"))
	if len(line) > 200 {
		line = line[:200]
	}
	return string(line)
}
