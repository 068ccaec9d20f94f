// Package client talks to a control plane of one or several replicas.
//
// A call goes to one server, and to the next where that one refuses the connection, does not answer or answers that it
// cannot serve, until its patience ends. Writes are repeated too: each carries an Idempotency-Key of its own, by which
// it happens once.
package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/google/uuid"
	"github.com/hashicorp/go-hclog"

	"github.com/replicante-io/playbooks/internal/transport"
)

// ErrNoServer means that no server could answer. What was asked for, if it was a write, may have happened.
var ErrNoServer = errors.New("no server could answer")

// Error is what a server answered instead of what it was asked for.
type Error struct {
	Status   int       `json:"status"`
	Code     string    `json:"code"`
	Message  string    `json:"detail"`
	Problems []Problem `json:"problems"`
}

func (e *Error) Error() string { return e.Message }

// Problem is one thing that is wrong with a text, and where.
type Problem struct {
	File    string `json:"file"`
	Line    int    `json:"line"`
	Column  int    `json:"column"`
	Path    string `json:"path"`
	Code    string `json:"code"`
	Message string `json:"message"`
}

// Config is how servers are talked to.
type Config struct {
	Servers []string // URLs; a name without a scheme is one of http
	Token   string   // bearer token, if any
	Actor   string   // who asks, for the record
	Version string   // of the program, for the servers' logs
	// Patience is how long a call goes on trying; default 45s. Where every server refuses the connection, a twentieth
	// of it; for a stream that broke off, four times as long.
	Patience time.Duration
	// Lost is told why a stream broke off, and nil when it goes on; it may be nil.
	Lost func(error)
	// Waits is told what a stream waits for while the control plane's store does not answer, in plain words, and "" once it
	// goes on; it may be nil.
	Waits func(string)
	Log   hclog.Logger
}

// attempt bounds one try on one server: a server that hangs must not keep us from the next. firstAttempt is for the first
// time that all are tried, of which one may hang while the others would answer.
const (
	firstAttempt = 5 * time.Second
	attempt      = 15 * time.Second
)

// maxAnswer bounds what is read of an answer.
const maxAnswer = 256 << 20

// Client calls a control plane. It may be used by many goroutines.
type Client struct {
	Config
	http    *http.Client
	current atomic.Int64 // the server that answered last
}

// New checks the servers' names; it connects to none.
func New(config Config) (*Client, error) {
	if config.Log == nil {
		config.Log = hclog.NewNullLogger()
	}
	if config.Patience == 0 {
		config.Patience = 45 * time.Second
	}
	servers := []string{}
	for _, name := range config.Servers {
		name = strings.TrimSpace(name)
		if name == "" {
			continue
		}
		if !strings.Contains(name, "://") {
			name = "http://" + name
		}
		parsed, err := url.Parse(name)
		if err != nil || parsed.Host == "" || parsed.Scheme != "http" && parsed.Scheme != "https" {
			return nil, fmt.Errorf("server %q is no address: write it like http://core-1:16016", name)
		}
		servers = append(servers, strings.TrimRight(name, "/"))
	}
	if len(servers) == 0 {
		return nil, errors.New("no server is given: write it like http://core-1:16016")
	}
	config.Servers = servers
	return &Client{Config: config, http: transport.NewClient(transport.ClientConfig{
		DialTimeout: 3 * time.Second, Idle: 100, IdlePerHost: 2, IdleTimeout: 90 * time.Second, ForPeople: true,
	})}, nil
}

// request is one call, the same on every server.
type request struct {
	method, path string
	query        url.Values
	body         []byte
	contentType  string
	key          string
}

// write is a call that changes something, once.
func write(method, path string, body any) (request, error) {
	r := request{method: method, path: path, key: uuid.NewString()}
	if body == nil {
		return r, nil
	}
	text, err := json.Marshal(body)
	if err != nil {
		return r, fmt.Errorf("write the request's body: %w", err)
	}
	r.body, r.contentType = text, "application/json"
	return r, nil
}

func (c *Client) open(ctx context.Context, server string, r request, headers http.Header) (*http.Response, error) {
	target := server + "/api/v1" + r.path
	if len(r.query) > 0 {
		target += "?" + r.query.Encode()
	}
	asked, err := http.NewRequestWithContext(ctx, r.method, target, bytes.NewReader(r.body))
	if err != nil {
		return nil, err
	}
	for name, values := range headers {
		asked.Header[name] = values
	}
	asked.Header.Set("User-Agent", "replictl/"+c.Version)
	for name, value := range map[string]string{"Content-Type": r.contentType, "Idempotency-Key": r.key} {
		if value != "" {
			asked.Header.Set(name, value)
		}
	}
	transport.SetCaller(asked, transport.Caller{Name: c.Actor})
	if c.Token != "" {
		asked.Header.Set("Authorization", "Bearer "+c.Token)
	}
	return c.http.Do(asked)
}

// call asks until a server answers, and reads the answer into answer.
func (c *Client) call(ctx context.Context, r request, answer any) error {
	tries := 0
	return c.patiently(ctx, c.Patience, c.Patience/20, func(server string) error {
		bound := attempt
		if tries++; tries <= len(c.Servers) && len(c.Servers) > 1 {
			bound = firstAttempt
		}
		ctx, cancel := context.WithTimeout(ctx, bound)
		defer cancel()
		got, err := c.open(ctx, server, r, nil)
		if err != nil {
			return again(err)
		}
		defer func() { _ = got.Body.Close() }()
		body, err := transport.ReadAll(got.Body, maxAnswer)
		if err != nil {
			return again(err)
		}
		if got.StatusCode >= 300 {
			return refused(got.StatusCode, body)
		}
		if answer == nil {
			return nil
		}
		if err := json.Unmarshal(body, answer); err != nil {
			return fmt.Errorf("%s answers something else than a control plane does: %w", server, err)
		}
		return nil
	})
}

// unanswered is an error after which another server, or a later moment, may do better.
type unanswered struct{ error }

func (u unanswered) Unwrap() error { return u.error }

func again(err error) error { return unanswered{err} }

// refused is the error of an answer that is no success.
func refused(status int, body []byte) error {
	e := &Error{}
	if json.Unmarshal(body, e) != nil || e.Message == "" {
		e.Message = fmt.Sprintf("the server answered %d %s", status, http.StatusText(status))
	}
	e.Status = status
	switch status {
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return again(e)
	}
	return e
}

// patiently tries servers in turn, from the one that answered last, until one answers or patience ends; where all refuse
// the connection, the shorter deafness does.
func (c *Client) patiently(ctx context.Context, patience, deafness time.Duration, try func(server string) error) error {
	begun := time.Now()
	pause := newPause()
	for {
		deaf := 0
		var last error
		var lastServer string
		first := c.current.Load()
		for i := range c.Servers {
			index := (int(first) + i) % len(c.Servers)
			server := c.Servers[index]
			err := try(server)
			var retry unanswered
			if !errors.As(err, &retry) {
				c.current.Store(int64(index))
				return err
			}
			if ctx.Err() != nil {
				return ctx.Err()
			}
			c.Log.Debug("server cannot answer", "server", server, "error", retry.error)
			if errors.Is(err, syscall.ECONNREFUSED) || isUnknownHost(err) {
				deaf++
			}
			if last == nil || !plain(last) {
				last, lastServer = retry.error, server
			}
		}
		waited := time.Since(begun)
		if waited > patience || deaf == len(c.Servers) && waited > deafness {
			return c.noServer(lastServer, last)
		}
		select {
		case <-time.After(pause.NextBackOff()):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func newPause() *backoff.ExponentialBackOff {
	pause := backoff.NewExponentialBackOff()
	pause.InitialInterval, pause.MaxInterval = 200*time.Millisecond, 2*time.Second
	return pause
}

// plain tells whether err is a server's own words, which say more than a connection's error.
func plain(err error) bool {
	var e *Error
	return errors.As(err, &e)
}

func isUnknownHost(err error) bool {
	var dns *net.DNSError
	return errors.As(err, &dns) && dns.IsNotFound
}

func (c *Client) noServer(server string, err error) error {
	var transport *url.Error
	if errors.As(err, &transport) {
		err = transport.Err // without the method and the URL
	}
	if errors.Is(err, context.DeadlineExceeded) {
		err = errors.New("no answer in time")
	}
	return fmt.Errorf("%w: %s: %w", ErrNoServer, server, err)
}
