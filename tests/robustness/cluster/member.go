package rig

import (
	"context"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Member is one program of an installation. It has one life after another; its methods are for one goroutine at a time.
type Member struct {
	*Process
	Name string
	URL  string // of its HTTP interface

	program string
	args    []string
	env     []string
	log     string // file
	probe   string // path that answers 200 once it serves
	socket  string // where a build that can be broken listens
}

// Launch begins a life, without waiting until it serves. The one before has ended.
func (m *Member) Launch() error {
	if m.Running() {
		return fmt.Errorf("%s runs already", m.Name)
	}
	process, err := Start(m.log, m.env, m.program, m.args...)
	if err != nil {
		return fmt.Errorf("%s: %w", m.Name, err)
	}
	m.Process = process
	return nil
}

// Start begins a life and waits until it serves.
func (m *Member) Start(ctx context.Context) error {
	if err := m.Launch(); err != nil {
		return err
	}
	return m.Serves(ctx)
}

// Serves waits until the member says that it serves.
func (m *Member) Serves(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	if err := until(ctx, m.Process, func() error {
		_, err := m.get(ctx, m.probe)
		return err
	}); err != nil {
		return fmt.Errorf("%s does not serve: %w\n%s", m.Name, err, m.Tail())
	}
	return nil
}

// get is what the member answers, if it does so well and soon.
func (m *Member) get(ctx context.Context, path string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, m.URL+path, nil)
	if err != nil {
		return nil, err
	}
	return answered(http.DefaultClient.Do(request))
}

func answered(answer *http.Response, err error) ([]byte, error) {
	if err != nil {
		return nil, err
	}
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(answer.Body, 1<<20))
	if err == nil && answer.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", answer.Status, text)
	}
	return text, err
}

// Running tells whether the member's latest life goes on; a frozen one does.
func (m *Member) Running() bool {
	if m.Process == nil {
		return false
	}
	select {
	case <-m.Ended():
		return false
	default:
		return true
	}
}

// Trap has the member kill ("kill") or stop ("stop") itself at a point of package fault, the nth time that it passes.
func (m *Member) Trap(ctx context.Context, point string, nth int, do string) error {
	return m.fault(ctx, "point", url.Values{"name": {point}, "nth": {fmt.Sprint(nth)}, "do": {do}})
}

// Untrap takes a Trap away.
func (m *Member) Untrap(ctx context.Context, point string) error {
	return m.Trap(ctx, point, math.MaxInt, "kill")
}

// Cut cuts the member off from a peer of package fault; nothing tells either of them.
func (m *Member) Cut(ctx context.Context, peer string) error {
	return m.fault(ctx, "disconnect", url.Values{"peer": {peer}})
}

// Heal ends a Cut.
func (m *Member) Heal(ctx context.Context, peer string) error {
	return m.fault(ctx, "reconnect", url.Values{"peer": {peer}})
}

func (m *Member) fault(ctx context.Context, what string, form url.Values) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (conn net.Conn, err error) {
			err = until(ctx, m.Process, func() error { // it listens from its first moment, but not before
				conn, err = new(net.Dialer).DialContext(ctx, "unix", m.socket)
				return err
			})
			return conn, err
		},
	}}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://failpoints/"+what, strings.NewReader(form.Encode()))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if _, err := answered(client.Do(request)); err != nil {
		return fmt.Errorf("%s: %s %v: %w", m.Name, what, form, err)
	}
	return nil
}
