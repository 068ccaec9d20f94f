// Package controller advances runs while this process leads.
//
// policy decides, runner feeds it inputs, commits what it decided under the leader's term, and only
// then acts on what the records now want. A crash therefore repeats a request but never loses or
// invents one.
package controller

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/replicante-io/playbooks/membership"
	"github.com/replicante-io/playbooks/record"
	"github.com/replicante-io/playbooks/store"
)

// ErrNotLeading means that another replica leads, or will.
var ErrNotLeading error = &record.RejectedError{Status: 503, Code: "no_leader", Message: "the leader changes: try again in a moment"}

// HigherTermError means that an agent has seen a later term than the leader's: the next term must start above it.
type HigherTermError struct{ Term int64 }

func (e *HigherTermError) Error() string {
	return fmt.Sprintf("an agent has seen term %d, which is later than ours", e.Term)
}

// Concurrency is how many short calls to agents are made at one time, where the Config does not say.
const Concurrency = 256

// Config is what a controller works with.
type Config struct {
	Store  store.Store
	Agents agents
	// Watch delivers who is there until ctx ends, first as a whole.
	Watch       func(ctx context.Context, deliver func(membership.Update) error) error
	Log         hclog.Logger
	Grace       time.Duration // how long a vanished node may come back, where the playbook does not say
	ForgetAfter time.Duration // how long a known node may stay away; 0: for ever
	// Ready is called once the controller takes words, with how many runs it goes on with; it may be nil.
	Ready func(openRuns int)
	// Away tells since when the store has not answered, zero where it does, and why; it may be nil.
	Away func() (since time.Time, why error)
	// Concurrency bounds the short calls to agents at one time; 0: the constant of this name.
	Concurrency int
}

// Controller takes operators' words while it leads. It is safe for concurrent use.
type Controller struct {
	config Config

	mu   sync.RWMutex
	lead *leadership // nil while another leads
}

// New makes a controller that does nothing until it leads.
func New(config Config) *Controller {
	if config.Concurrency <= 0 {
		config.Concurrency = Concurrency
	}
	return &Controller{config: config}
}

// Run advances all unfinished runs under term until ctx ends (nil), a later term has taken over (store.ErrStaleTerm),
// an agent has seen a higher one (*HigherTermError), or the store or etcd cannot be used. When it returns, nothing that
// it started goes on.
func (c *Controller) Run(ctx context.Context, term record.Term) error {
	l := newLeadership(c.config, term)
	defer func() {
		c.mu.Lock()
		c.lead = nil
		c.mu.Unlock()
	}()
	return l.run(ctx, func(open int) {
		c.mu.Lock()
		c.lead = l
		c.mu.Unlock()
		if c.config.Ready != nil {
			c.config.Ready(open)
		}
	})
}

// leading is the leadership that takes words now.
func (c *Controller) leading() (*leadership, error) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if c.lead == nil {
		return nil, ErrNotLeading
	}
	return c.lead, nil
}

// Start creates a run of the latest or the named revision of a playbook and queues it. The same request again, by its
// idempotency key, answers the same run.
func (c *Controller) Start(ctx context.Context, request record.Request, start record.RunRequest) (record.Run, error) {
	l, err := c.leading()
	if err != nil {
		return record.Run{}, err
	}
	return l.alone(ctx, request.Key, func(ctx context.Context) (record.Run, error) {
		if run, err := l.done(ctx, request); err != nil || run != nil {
			return orZero(run), err
		}
		return l.start(ctx, request, start)
	})
}

// Command tells a run what an operator wants and returns the run once that has landed. A word that the run's state does
// not allow is a *record.RejectedError.
func (c *Controller) Command(ctx context.Context, request record.Request, runID string, command record.Command) (record.Run, error) {
	l, err := c.leading()
	if err != nil {
		return record.Run{}, err
	}
	return l.alone(ctx, request.Key, func(ctx context.Context) (record.Run, error) {
		if run, err := l.done(ctx, request); err != nil || run != nil {
			return orZero(run), err
		}
		return l.command(ctx, request, runID, command)
	})
}

// Forget removes a node that is not there any more from what is known.
func (c *Controller) Forget(ctx context.Context, request record.Request, key record.NodeKey) error {
	l, err := c.leading()
	if err != nil {
		return err
	}
	if request.Key != "" {
		if _, err := l.store.IdempotencyRecord(ctx, request.Key, request.Digest); !errors.Is(err, store.ErrNotFound) {
			return err
		}
	}
	if l.inventory.Present(key) {
		return &record.RejectedError{Status: 409, Code: "node_present", Message: fmt.Sprintf(
			"node %s of cluster %s has a live key: stop its agent first", key.Node, key.Cluster)}
	}
	effect := effectOf(request, "")
	if err := l.store.ForgetNode(ctx, l.term.Term, key, effect); err != nil {
		return fmt.Errorf("forget node %s of cluster %s: %w", key.Node, key.Cluster, err)
	}
	l.inventory.Forget(key)
	return nil
}

func effectOf(request record.Request, runID string) *record.IdempotencyRecord {
	if request.Key == "" {
		return nil
	}
	return &record.IdempotencyRecord{Key: request.Key, Digest: request.Digest, RunID: runID}
}

func orZero(run *record.Run) record.Run {
	if run == nil {
		return record.Run{}
	}
	return *run
}
