package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"

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

// exit is an error that decides the exit code. A silent one has told its story already.
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

// ended is the exit of a command that waited for run.
func ended(run record.Run) error {
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

// conclude tells err and returns the exit code for it.
func conclude(ctx context.Context, err error, w io.Writer, servers []string) int {
	if err == nil {
		return exitDone
	}
	var chosen *exit
	if errors.As(err, &chosen) {
		if chosen.err != nil {
			_, _ = fmt.Fprintln(w, "replictl:", chosen.err)
		}
		return chosen.code
	}
	if ctx.Err() != nil {
		return exitInterrupted
	}
	var answer *client.Error
	if errors.Is(err, client.ErrNoServer) {
		_, _ = fmt.Fprintln(w, "replictl:", err)
		if errors.As(err, &answer) {
			_, _ = fmt.Fprintf(w, "Tried %s. A control plane answers but cannot do this now: its /readyz says what it misses.\n", list(servers))
			return exitNoServer
		}
		_, _ = fmt.Fprintf(w, "Tried %s. Is a control plane running there? Name it with --server, RCTL_SERVER or a context.\n", list(servers))
		return exitNoServer
	}
	if errors.As(err, &answer) {
		for _, p := range answer.Problems {
			if p.Line > 0 { // the message says the others
				_, _ = fmt.Fprintf(w, "%s:%d:%d: %s\n", cmp.Or(p.File, "playbook"), p.Line, p.Column, p.Message)
			}
		}
		_, _ = fmt.Fprintln(w, "replictl:", err)
		return exitError
	}
	_, _ = fmt.Fprintln(w, "replictl:", err)
	return exitError
}
