// Package client calls the API of a control plane.
//
// A call goes to one server (a replica), and to the next one where that refuses the connection, does not answer, or answers
// that it cannot serve, until the call's patience ends. Writes are repeated too: each has an Idempotency-Key, under which
// it is carried out once.
package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/google/uuid"
	"github.com/hashicorp/go-hclog"

	"github.com/replicante-io/playbooks/internal/retry"
	"github.com/replicante-io/playbooks/internal/transport"
)

// ErrNoServer means that no server could answer. A write may have been carried out.
var ErrNoServer = errors.New("no server could answer")

// Error is an answer that is not a success.
type Error struct {
	Status   int       `json:"status"`
	Code     string    `json:"code"`
	Message  string    `json:"detail"`
	Problems []Problem `json:"problems"`
}

func (e *Error) Error() string { return e.Message }

// Problem is one thing that is wrong with a text, and where it is.
type Problem struct {
	File    string `json:"file"`
	Line    int    `json:"line"`
	Column  int    `json:"column"`
	Path    string `json:"path"`
	Code    string `json:"code"`
	Message string `json:"message"`
}

// Config says which servers are called, and how.
type Config struct {
	Servers []string // URLs; a name without a scheme is one of http
	Token   string   // bearer token, if any
	Actor   string   // who makes the calls, as is recorded
	Version string   // of the program, for the servers' logs
	// Patience is how long a call is repeated until a server answers; default 45s. Where every server refuses the
	// connection, it is a twentieth of that; for a stream that was interrupted, four times that.
	Patience time.Duration
	// Interrupted is called with the reason when a stream is interrupted, and with nil when it continues; it may be nil.
	Interrupted func(error)
	// Waiting is called with a message for people when a stream waits for the control plane's store, and with "" when that
	// answers again; it may be nil.
	Waiting func(string)
	Log     hclog.Logger
}

// attemptTimeout bounds one call of one server, so that a server that hangs does not keep a call from the next one.
// firstAttemptTimeout is for the first call of each, where there are several.
const (
	firstAttemptTimeout = 5 * time.Second
	attemptTimeout      = 15 * time.Second
)

// maxAnswer bounds an answer.
const maxAnswer = 256 << 20

// Client calls a control plane. It may be used by many goroutines.
type Client struct {
	Config
	http    *http.Client
	current atomic.Int64 // the server that answered last
}

// New checks the servers' addresses; it connects to none.
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
			return nil, fmt.Errorf("%q is not the address of a server: write it like http://core-1:16016", name)
		}
		servers = append(servers, strings.TrimRight(name, "/"))
	}
	if len(servers) == 0 {
		return nil, errors.New("no server is given: give an address like http://core-1:16016")
	}
	config.Servers = servers
	return &Client{Config: config, http: transport.NewClient(transport.ClientConfig{
		DialTimeout: 3 * time.Second, Idle: 100, IdlePerHost: 2, IdleTimeout: 90 * time.Second, ForPeople: true,
	})}, nil
}

// request is a call as it is sent to every server.
type request struct {
	method, path string
	query        url.Values
	body         []byte
	contentType  string
	key          string
	timeout      time.Duration // of one call of one server; 0: as usual
	// want are the keys that the answer's object has; without any, the answer is empty (204).
	want []string
}

// newWrite is a call that is carried out once, however often it is repeated.
func newWrite(method, path string, body any) (request, error) {
	r := request{method: method, path: path, key: uuid.NewString()}
	if body == nil {
		return r, nil
	}
	text, err := json.Marshal(body)
	if err != nil {
		return r, fmt.Errorf("encode the request: %w", err)
	}
	r.body, r.contentType = text, "application/json"
	return r, nil
}

func (c *Client) open(ctx context.Context, server string, r request, headers http.Header) (*http.Response, error) {
	target := server + "/api/v1" + r.path
	if len(r.query) > 0 {
		target += "?" + r.query.Encode()
	}
	call, err := http.NewRequestWithContext(ctx, r.method, target, bytes.NewReader(r.body))
	if err != nil {
		return nil, err
	}
	for name, values := range headers {
		call.Header[name] = values
	}
	call.Header.Set("User-Agent", "replictl/"+c.Version)
	for name, value := range map[string]string{"Content-Type": r.contentType, "Idempotency-Key": r.key} {
		if value != "" {
			call.Header.Set(name, value)
		}
	}
	transport.SetCaller(call, transport.Caller{Name: c.Actor})
	if c.Token != "" {
		call.Header.Set("Authorization", "Bearer "+c.Token)
	}
	return c.http.Do(call)
}

// call calls servers until one answers, and decodes its answer.
func (c *Client) call(ctx context.Context, r request, answer any) error {
	tries := 0
	return c.repeat(ctx, c.Patience, c.Patience/20, func(server string) error {
		timeout := attemptTimeout
		if tries++; tries <= len(c.Servers) && len(c.Servers) > 1 {
			timeout = firstAttemptTimeout
		}
		if r.timeout > 0 {
			timeout = r.timeout
		}
		ctx, cancel := context.WithTimeout(ctx, timeout)
		defer cancel()
		got, err := c.open(ctx, server, r, nil)
		if err != nil {
			return failedCall(server, err)
		}
		defer func() { _ = got.Body.Close() }()
		body, err := transport.ReadAll(got.Body, maxAnswer)
		if err != nil {
			return retryableError{err}
		}
		if got.StatusCode >= 300 {
			return errorOf(got, body)
		}
		if err := decode(r, got, body, answer); err != nil {
			return fmt.Errorf("the answer of %s (%s) is not one of a control plane: %w", server, got.Status, err)
		}
		return nil
	})
}

// decode reads the answer to r, and checks that it is one: a proxy, or another program on the port, also answers 200.
func decode(r request, got *http.Response, body []byte, answer any) error {
	if len(r.want) == 0 {
		if got.StatusCode != http.StatusNoContent {
			return errors.New("it is not 204 No Content")
		}
		return nil
	}
	if media, _, _ := mime.ParseMediaType(got.Header.Get("Content-Type")); media != transport.MediaTypeJSON {
		return fmt.Errorf("it is of type %q, not JSON", got.Header.Get("Content-Type"))
	}
	var keys map[string]json.RawMessage
	if err := json.Unmarshal(body, &keys); err != nil {
		return err
	}
	for _, key := range r.want {
		if value, ok := keys[key]; !ok || string(value) == "null" || string(value) == `""` {
			return fmt.Errorf("it has no %s", key)
		}
	}
	return json.Unmarshal(body, answer)
}

// retryableError is an error after which the call may succeed on another server, or later.
type retryableError struct{ error }

func (e retryableError) Unwrap() error { return e.error }

// failedCall is the error of a call that was not answered. Where the server has redirected it, repeating it does not help.
func failedCall(server string, err error) error {
	var failed *url.Error
	if errors.As(err, &failed) {
		if to, parseErr := url.Parse(failed.URL); parseErr == nil && !strings.HasPrefix(server+"/", to.Scheme+"://"+to.Host+"/") {
			return &Error{Status: http.StatusBadGateway, Message: fmt.Sprintf("%s redirects to %s://%s, which does not answer (%v): use the right address with --server",
				server, to.Scheme, to.Host, failed.Err)}
		}
	}
	return retryableError{err}
}

// errorOf is the error for an answer that is not a success.
func errorOf(answer *http.Response, body []byte) error {
	e := &Error{}
	if json.Unmarshal(body, e) != nil || e.Message == "" {
		e.Message = fmt.Sprintf("the server answered %d %s", answer.StatusCode, http.StatusText(answer.StatusCode))
		if answer.StatusCode == http.StatusNotFound {
			e.Message = fmt.Sprintf("%s answered 404 Not Found, which is no answer of a control plane: give the address of its API with --server, "+
				"not that of an agent or another server", answer.Request.URL.Host)
		}
	}
	if answer.StatusCode < 400 {
		e.Message = fmt.Sprintf("%s answered %d %s, which is no answer of a control plane; nothing was changed",
			answer.Request.URL.Host, answer.StatusCode, http.StatusText(answer.StatusCode))
		if location, err := answer.Location(); err == nil {
			e.Message = fmt.Sprintf("%s redirects to %s://%s; nothing was changed: use that address with --server",
				answer.Request.URL.Host, location.Scheme, location.Host)
		}
	}
	e.Status = answer.StatusCode
	switch answer.StatusCode {
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return retryableError{e}
	}
	return e
}

// repeat tries servers in turn, from the one that answered last, until one answers or patience ends. Where no server accepts
// a connection, it gives up after unreachablePatience.
func (c *Client) repeat(ctx context.Context, patience, unreachablePatience time.Duration, try func(server string) error) error {
	begun := time.Now()
	backoff := newBackoff()
	for {
		unreachable := 0
		var last error
		var lastServer string
		first := c.current.Load()
		for i := range c.Servers {
			index := (int(first) + i) % len(c.Servers)
			server := c.Servers[index]
			err := try(server)
			var retryable retryableError
			if !errors.As(err, &retryable) {
				c.current.Store(int64(index))
				return err
			}
			if ctx.Err() != nil {
				return ctx.Err()
			}
			c.Log.Debug("server cannot answer", "server", server, "error", retryable.error)
			if errors.Is(err, syscall.ECONNREFUSED) || isUnknownHost(err) {
				unreachable++
			}
			if last == nil || !isAnswer(last) {
				last, lastServer = retryable.error, server
			}
		}
		waited := time.Since(begun)
		if waited > patience || unreachable == len(c.Servers) && waited > unreachablePatience {
			return c.noServer(lastServer, last)
		}
		if !backoff.Wait(ctx) {
			return ctx.Err()
		}
	}
}

func newBackoff() *retry.Backoff { return retry.New(200*time.Millisecond, 2*time.Second) }

// isAnswer reports whether err was answered by a server: it says more than the error of a connection.
func isAnswer(err error) bool {
	var e *Error
	return errors.As(err, &e)
}

func isUnknownHost(err error) bool {
	var dns *net.DNSError
	return errors.As(err, &dns) && dns.IsNotFound
}

func (c *Client) noServer(server string, err error) error {
	var failed *url.Error
	if errors.As(err, &failed) {
		err = failed.Err // without the method and the URL
	}
	if errors.Is(err, context.DeadlineExceeded) {
		err = errors.New("no answer in time")
	}
	return fmt.Errorf("%w: %s: %w", ErrNoServer, server, err)
}
