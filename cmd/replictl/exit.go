package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/replicante-io/playbooks/api/client"
	"github.com/replicante-io/playbooks/record"
)

// Exit codes.
const (
	exitDone        = 0
	exitError       = 1
	exitUsage       = 2
	exitFailed      = 3
	exitCancelled   = 4
	exitNoServer    = 5
	exitNotFinished = 6
	exitInterrupted = 130
)

// exit is an error that decides the exit code. One without err is not printed.
type exit struct {
	code int
	err  error
}

func (e *exit) Error() string {
	if e.err == nil {
		return ""
	}
	return e.err.Error()
}

func (e *exit) Unwrap() error { return e.err }

func usagef(format string, args ...any) error {
	return &exit{code: exitUsage, err: fmt.Errorf(format, args...)}
}

// exitOf is the exit of a command that waited for run.
func exitOf(run record.Run) error {
	switch run.State {
	case record.RunDone:
		return nil
	case record.RunFailed:
		return &exit{code: exitFailed}
	case record.RunCancelled:
		return &exit{code: exitCancelled}
	}
	return &exit{code: exitNotFinished}
}

// flagWords is a message of the API in the words of the command line.
func flagWords(message string) string {
	return strings.NewReplacer("query.state: ", "--state: ", "if_busy: fail", "--if-busy fail").Replace(message)
}

// conclude prints the error that cmd ended with, with what can be typed next, and returns the exit code.
func (t *tool) conclude(ctx context.Context, cmd *cobra.Command, err error) int {
	if err == nil {
		return exitDone
	}
	var chosen *exit
	if errors.As(err, &chosen) {
		if chosen.err != nil {
			t.note("replictl: %v", chosen.err)
		}
		return chosen.code
	}
	if ctx.Err() != nil {
		return exitInterrupted
	}
	var answer *client.Error
	answered := errors.As(err, &answer)
	switch {
	case errors.Is(err, client.ErrNoServer) && answered:
		t.note("replictl: %v", err)
		t.note("Tried %s. A control plane answers but cannot do this now: its /readyz lists what is missing.", list(t.servers))
		return exitNoServer
	case errors.Is(err, client.ErrNoServer):
		t.note("replictl: %v", err)
		t.note("Tried %s. Is a control plane running at this address? Give another one with --server, RCTL_SERVER or a context.",
			list(t.servers))
		return exitNoServer
	case answered:
		for _, p := range answer.Problems {
			if p.Line > 0 { // the message names the others
				t.note("%s:%d:%d: %s", cmp.Or(p.File, "playbook"), p.Line, p.Column, p.Message)
			}
		}
	}
	t.note("replictl: %s", flagWords(err.Error()))
	if answered {
		t.suggest(afterError(answer.Code, cmd.CommandPath(), cmd.Flags().Args(), t.settings.cluster))
	}
	return exitError
}
