// Package client calls the HTTP API of agents.
//
// Its errors distinguish a request of which no part was sent (wire.ErrNotSent), a rejection by the agent (wire.ErrExists,
// wire.ErrRejected, *wire.Fenced), and an ID that the agent does not know (wire.ErrNotFound). After any other error it is
// not known whether the agent has acted. A request of which any part may have been sent is never repeated here, and no
// redirect is followed.
package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/replicante-io/playbooks/agent/wire"
	"github.com/replicante-io/playbooks/internal/failpoint"
	"github.com/replicante-io/playbooks/internal/jsonkeys"
	"github.com/replicante-io/playbooks/internal/transport"
)

// Config says how to connect to agents. The zero value is valid.
type Config struct {
	// DialTimeout bounds connecting; 5 s by default. The caller's context bounds everything else.
	DialTimeout time.Duration
	// IdlePerHost is how many idle connections are kept to one host and port, which may serve many agents; 256 by default.
	IdlePerHost int
	// PerHost bounds the connections to one host and port; 0 does not. A held Get takes one connection.
	PerHost int
	// IdleTimeout is how long a connection is kept idle; 90 s by default.
	IdleTimeout time.Duration
}

// maxAnswer bounds an answer; maxRejection, one that is not a success; maxQuote, what an error quotes of it.
const (
	maxAnswer    = 4 << 20
	maxRejection = 64 << 10
	maxQuote     = 300
)

// Client calls any number of agents. It is safe for concurrent use.
type Client struct {
	http *http.Client
}

// New makes a client. It connects to nothing yet.
func New(cfg Config) *Client {
	if cfg.DialTimeout <= 0 {
		cfg.DialTimeout = 5 * time.Second
	}
	if cfg.IdlePerHost <= 0 {
		cfg.IdlePerHost = 256
	}
	if cfg.IdleTimeout <= 0 {
		cfg.IdleTimeout = 90 * time.Second
	}
	return &Client{http: transport.NewClient(transport.ClientConfig{
		Peer: failpoint.Agents, DialTimeout: cfg.DialTimeout,
		IdlePerHost: cfg.IdlePerHost, PerHost: cfg.PerHost, IdleTimeout: cfg.IdleTimeout,
		KeepSpare: true,
	})}
}

// Close drops the idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Post sends an action to an agent. No error means that the agent has accepted it. The agent holds its answer for up to wait until the
// action has ended, and then answers with the action. Otherwise, and from agents that do not know wait, the action that is returned
// has no phase.
func (c *Client) Post(ctx context.Context, agentURL string, action wire.ActionRequest, wait time.Duration) (wire.Action, error) {
	var answer wire.Action
	err := c.do(ctx, agentURL, http.MethodPost, []string{"action"}, waitQuery(wait), action, &answer)
	if err == nil && !strings.EqualFold(answer.ID, action.ID) {
		err = fmt.Errorf("agent %s answered with action %q for action %s", agentURL, quote(answer.ID), action.ID)
	}
	return answer, err
}

// Get reads the state of an action. The agent holds its answer for up to wait until the action has ended; agents that do not
// know wait answer at once.
func (c *Client) Get(ctx context.Context, agentURL, id string, wait time.Duration) (wire.Action, error) {
	var action wire.Action
	err := c.do(ctx, agentURL, http.MethodGet, []string{"action", id}, waitQuery(wait), nil, &action)
	if err == nil && !strings.EqualFold(action.ID, id) {
		err = fmt.Errorf("agent %s answered with action %q for action %s", agentURL, quote(action.ID), id)
	}
	return action, err
}

func waitQuery(wait time.Duration) string {
	if wait <= 0 {
		return ""
	}
	return "wait=" + wait.String()
}

// Cancel keeps an agent from starting an action, and with Kill stops one that runs.
func (c *Client) Cancel(ctx context.Context, agentURL, id string, request wire.CancelRequest) (wire.CancelAnswer, error) {
	var answer wire.CancelAnswer
	err := c.do(ctx, agentURL, http.MethodPost, []string{"action", id, "cancel"}, "", request, &answer)
	if err == nil && !strings.EqualFold(answer.ID, id) {
		err = fmt.Errorf("agent %s answered with action %q for the cancel of action %s", agentURL, quote(answer.ID), id)
	}
	return answer, err
}

// NodeInfo reads the facts of the node.
func (c *Client) NodeInfo(ctx context.Context, agentURL string) (wire.NodeInfo, error) {
	var info wire.NodeInfo
	err := c.do(ctx, agentURL, http.MethodGet, []string{"info", "node"}, "", nil, &info)
	return info, err
}

// ActionsInfo reads which kinds of actions the agent can run. Agents of others do not know the question (404).
func (c *Client) ActionsInfo(ctx context.Context, agentURL string) (wire.ActionsInfo, error) {
	var info wire.ActionsInfo
	err := c.do(ctx, agentURL, http.MethodGet, []string{"info", "actions"}, "", nil, &info)
	return info, err
}

// StoreInfo reads the facts of the node's datastore.
func (c *Client) StoreInfo(ctx context.Context, agentURL string) (wire.StoreInfo, error) {
	var info wire.StoreInfo
	err := c.do(ctx, agentURL, http.MethodGet, []string{"info", "store"}, "", nil, &info)
	return info, err
}

// ShardsInfo reads the shards of the node.
func (c *Client) ShardsInfo(ctx context.Context, agentURL string) (wire.ShardsInfo, error) {
	var info wire.ShardsInfo
	err := c.do(ctx, agentURL, http.MethodGet, []string{"info", "shards"}, "", nil, &info)
	return info, err
}

func (c *Client) do(ctx context.Context, agentURL, method string, path []string, query string, body, into any) error {
	at := func() string { return where(agentURL, path) }
	if err := wire.CheckURL(agentURL); err != nil {
		return fmt.Errorf("%w: %w: %w", wire.ErrNotSent, wire.ErrBadURL, err)
	}
	var content io.Reader
	if body != nil {
		raw, err := json.Marshal(body)
		if err != nil {
			return fmt.Errorf("%w: %w (%s)", wire.ErrNotSent, err, at())
		}
		content = bytes.NewReader(raw)
	}
	// Nothing is sent before there is a connection.
	var connected atomic.Bool
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { connected.Store(true) }})
	request, err := http.NewRequestWithContext(ctx, method, locate(agentURL, path, query), content)
	if err != nil {
		return fmt.Errorf("%w: %w (%s)", wire.ErrNotSent, err, at())
	}
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	response, err := c.http.Do(request)
	if err != nil {
		var wrapped *url.Error
		if errors.As(err, &wrapped) {
			err = wrapped.Err // without the method and the URL, which at adds
		}
		if transport.IsNoDescriptors(err) {
			c.http.CloseIdleConnections() // for those that are wanted now
			err = fmt.Errorf("%w: %w", wire.ErrCannotCall, err)
		}
		if !connected.Load() {
			return fmt.Errorf("%w: %w (%s)", wire.ErrNotSent, err, at())
		}
		return fmt.Errorf("%w (%s)", err, at())
	}
	defer response.Body.Close()
	if response.StatusCode/100 != 2 {
		return fmt.Errorf("%w (%s)", rejection(response, path), at())
	}
	raw, err := transport.ReadAll(response.Body, maxAnswer)
	if err != nil {
		return fmt.Errorf("read the answer: %w (%s)", err, at())
	}
	if path[0] == "info" { // the payload of an action is checked where its end is reported
		if !utf8.Valid(raw) {
			return fmt.Errorf("the answer %q is not UTF-8 (%s)", quote(string(raw)), at())
		}
		if err := jsonkeys.Check(raw); err != nil {
			return fmt.Errorf("the answer is not valid: %w (%s)", err, at())
		}
	}
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber() // a whole number among the attributes stays one
	if err := decoder.Decode(into); err != nil {
		return fmt.Errorf("read the answer %q: %w (%s)", quote(string(raw)), err, at())
	}
	return nil
}

// where names an agent in errors, after the cause: by its URL, and what was asked for where that is not one action.
func where(agentURL string, path []string) string {
	name := strings.TrimRight(agentURL, "/")
	if path[0] == "action" {
		return name
	}
	return name + wire.Base + "/" + strings.Join(path, "/")
}

// locate is the URL of a path under an agent's, which may have a path of its own.
func locate(agentURL string, path []string, query string) string {
	if end := strings.IndexAny(agentURL, "?#"); end >= 0 {
		agentURL = agentURL[:end]
	}
	var target strings.Builder
	target.Grow(len(agentURL) + 96)
	target.WriteString(strings.TrimRight(agentURL, "/"))
	target.WriteString(wire.Base)
	for _, element := range path {
		target.WriteByte('/')
		target.WriteString(url.PathEscape(element))
	}
	if query != "" {
		target.WriteByte('?')
		target.WriteString(query)
	}
	return target.String()
}

// rejection is the error for an answer that is not a success.
func rejection(response *http.Response, path []string) error {
	raw, err := transport.ReadAll(response.Body, maxRejection)
	if err != nil {
		return fmt.Errorf("status %s, and its body cannot be read: %w", response.Status, err)
	}
	reason := reasonOf(raw)
	switch response.StatusCode {
	case http.StatusPreconditionFailed:
		fenced := &wire.Fenced{}
		if json.Unmarshal(raw, fenced) == nil && fenced.Reason != "" {
			return fenced
		}
	case http.StatusBadRequest:
		return &wire.RejectedError{Reason: reason}
	case http.StatusConflict:
		return wire.ErrExists
	case http.StatusNotFound:
		// The 404 of an agent has no body; another is of a proxy, or of a server that is not an agent.
		if path[0] == "action" && len(path) > 1 && len(raw) == 0 {
			return wire.ErrNotFound
		}
	}
	return fmt.Errorf("status %s: %s", response.Status, reason)
}

// reasonOf is the reason in the body of a rejection.
func reasonOf(raw []byte) string {
	var rejected wire.Rejection
	if json.Unmarshal(raw, &rejected) == nil && rejected.Error != "" {
		return quote(rejected.Error)
	}
	if text := strings.TrimSpace(string(raw)); text != "" {
		return quote(text)
	}
	return "the answer is empty"
}

// quote bounds a text that an agent has sent.
func quote(text string) string {
	text = strings.ToValidUTF8(text, "\uFFFD")
	if len(text) > maxQuote {
		return strings.ToValidUTF8(text[:maxQuote], "") + "…"
	}
	return text
}
