package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/replicante-io/playbooks/internal/retry"
)

// Member is one program of an installation, which can be started again after it has ended. Its methods are for one
// goroutine at a time.
type Member struct {
	*Process // the latest
	Name     string
	URL      string // of its HTTP interface

	program string
	args    []string
	env     []string
	log     string // file
	probe   string // path that answers 200 once the program serves
	socket  string // of its failpoints
}

// Launch starts the program without waiting until it serves. It must not be running.
func (m *Member) Launch() error {
	if m.Running() {
		return fmt.Errorf("%s is running already", m.Name)
	}
	process, err := StartProcess(m.log, m.env, m.program, m.args...)
	if err != nil {
		return fmt.Errorf("%s: %w", m.Name, err)
	}
	m.Process = process
	return nil
}

// Start starts the program and waits until it serves.
func (m *Member) Start(ctx context.Context) error {
	if err := m.Launch(); err != nil {
		return err
	}
	return m.WaitServing(ctx)
}

// WaitServing waits until the program serves.
func (m *Member) WaitServing(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	if err := until(ctx, m.Process, func() error {
		_, err := m.get(ctx, m.probe)
		return err
	}); err != nil {
		return fmt.Errorf("%s does not serve: %w\n%s", m.Name, err, m.LogTail())
	}
	return nil
}

// get returns the body of a 200.
func (m *Member) get(ctx context.Context, path string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, m.URL+path, nil)
	if err != nil {
		return nil, err
	}
	return body(http.DefaultClient.Do(request))
}

func body(response *http.Response, err error) ([]byte, error) {
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", response.Status, text)
	}
	return text, err
}

// Running reports whether the program has not ended; a frozen one has not.
func (m *Member) Running() bool {
	if m.Process == nil {
		return false
	}
	select {
	case <-m.Done():
		return false
	default:
		return true
	}
}

// Arm has the program kill or stop itself at a point of package failpoint, the nth time from now that it passes it.
// action is "kill" or "stop".
func (m *Member) Arm(ctx context.Context, point string, nth int, action string) error {
	return m.failpoint(ctx, "point", url.Values{"name": {point}, "nth": {fmt.Sprint(nth)}, "do": {action}})
}

// Disarm undoes Arm.
func (m *Member) Disarm(ctx context.Context, point string) error {
	return m.Arm(ctx, point, math.MaxInt, "kill")
}

// Disconnect cuts the program off from a peer of package failpoint. Neither of them is notified.
func (m *Member) Disconnect(ctx context.Context, peer string) error {
	return m.failpoint(ctx, "disconnect", url.Values{"peer": {peer}})
}

// Reconnect undoes Disconnect.
func (m *Member) Reconnect(ctx context.Context, peer string) error {
	return m.failpoint(ctx, "reconnect", url.Values{"peer": {peer}})
}

// StepClock puts the wall clock of the program so far from that of the machine.
func (m *Member) StepClock(ctx context.Context, by time.Duration) error {
	return m.failpoint(ctx, "clock", url.Values{"by": {by.String()}})
}

func (m *Member) failpoint(ctx context.Context, request string, form url.Values) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (conn net.Conn, err error) {
			err = until(ctx, m.Process, func() error { // a program that was just launched does not listen yet
				conn, err = new(net.Dialer).DialContext(ctx, "unix", m.socket)
				return err
			})
			return conn, err
		},
	}}
	post, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://failpoints/"+request, strings.NewReader(form.Encode()))
	if err != nil {
		return err
	}
	post.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if _, err := body(client.Do(post)); err != nil {
		return fmt.Errorf("%s: %s %v: %w", m.Name, request, form, err)
	}
	return nil
}

// until calls try until it succeeds, ctx ends, or the process does.
func until(ctx context.Context, process *Process, try func() error) error {
	for {
		err := try()
		if err == nil {
			return nil
		}
		select {
		case <-process.Done():
			return errors.New("it has ended")
		default:
		}
		if !retry.Sleep(ctx, 50*time.Millisecond) {
			return fmt.Errorf("%w: %w", ctx.Err(), err)
		}
	}
}
