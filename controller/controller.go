// Package controller is one term of leading: it takes over the open runs, starts new ones, passes operators' commands on, and keeps
// a runner for every run that is not over.
//
// controller/policy decides what a run does, controller/run carries that out, controller/cluster is what runs share.
package controller

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/replicante-io/playbooks/agent/wire"
	"github.com/replicante-io/playbooks/internal/idempotency"
	"github.com/replicante-io/playbooks/membership"
	"github.com/replicante-io/playbooks/record"
	"github.com/replicante-io/playbooks/store"
)

// ErrNotLeading means that another replica has to be asked.
var ErrNotLeading error = &record.RejectedError{Code: record.CodeNotLeading}

// HigherTermError means that a node's agent has seen a later term than the leader's: the next term must start above it.
type HigherTermError struct {
	Node record.NodeKey
	Term int64
}

func (e *HigherTermError) Error() string {
	return fmt.Sprintf("the agent of node %s of cluster %s has seen term %d, which is later than this leader's",
		e.Node.Node, e.Node.Cluster, e.Term)
}

// Concurrency is how many short calls to agents are made at one time, where the Config does not say.
const Concurrency = 256

// agents is what is asked of agents; agent/client does it. Its errors are those of agent/wire.
type agents interface {
	Post(ctx context.Context, agentURL string, action wire.ActionRequest, wait time.Duration) (wire.Action, error)
	Get(ctx context.Context, agentURL, id string, wait time.Duration) (wire.Action, error)
	Cancel(ctx context.Context, agentURL, id string, request wire.CancelRequest) (wire.CancelAnswer, error)
	NodeInfo(ctx context.Context, agentURL string) (wire.NodeInfo, error)
	StoreInfo(ctx context.Context, agentURL string) (wire.StoreInfo, error)
	ShardsInfo(ctx context.Context, agentURL string) (wire.ShardsInfo, error)
	ActionsInfo(ctx context.Context, agentURL string) (wire.ActionsInfo, error)
}

// Config is what a controller works with.
type Config struct {
	Store  store.Store
	Agents agents
	// Watch delivers which nodes have a live key until ctx ends, first all of them.
	Watch       func(ctx context.Context, deliver func(membership.Update) error) error
	Log         hclog.Logger
	Grace       time.Duration // how long a vanished node may come back, where the playbook does not say
	ForgetAfter time.Duration // how long a known node may have no key
	// Ready is called once the controller takes commands, with how many runs it continues; it may be nil.
	Ready func(openRuns int)
	// StoreUnavailable reports since when the store has not answered, zero where it does, and why; it may be nil.
	StoreUnavailable func() (since time.Time, reason error)
	// Wall is the wall clock, which schedules follow also when it is set; nil: the clock of the term.
	Wall func() time.Time
	// ScheduleResult is told what became of each due time of a schedule, with the code of the reason; it may be nil.
	ScheduleResult func(state record.FiringState, code string)
	// Concurrency bounds the short calls to agents at one time; 0: the constant of this name.
	Concurrency int
	// SetAside are nodes whose agents have raised the term before: a higher term that they report again is not believed.
	SetAside []record.NodeKey
}

// Controller takes requests and commands while it leads. It is safe for concurrent use.
type Controller struct {
	config Config

	mu   sync.RWMutex
	term *term // nil while it does not lead
}

// New makes a controller that does nothing until it leads.
func New(config Config) *Controller {
	if config.Concurrency <= 0 {
		config.Concurrency = Concurrency
	}
	return &Controller{config: config}
}

// Run advances all open runs under a term until ctx ends (nil), a later term has begun (store.ErrStaleTerm), an agent has seen a
// higher one (*HigherTermError), or the store or etcd cannot be used. When it returns, nothing that it started still runs.
func (c *Controller) Run(ctx context.Context, of record.Term) error {
	t := newTerm(c.config, of)
	defer c.setTerm(nil)
	return t.run(ctx, func(open int) {
		c.setTerm(t)
		if c.config.Ready != nil {
			c.config.Ready(open)
		}
	})
}

func (c *Controller) setTerm(t *term) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.term = t
}

// current is the term in which this controller takes commands now.
func (c *Controller) current() (*term, error) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if c.term == nil {
		return nil, ErrNotLeading
	}
	return c.term, nil
}

// Start creates a run of the latest or the named revision of a playbook and queues it. The same request again, by its
// idempotency key, answers the same run.
func (c *Controller) Start(ctx context.Context, request record.Request, start record.RunRequest) (record.Run, error) {
	return c.write(ctx, request, func(ctx context.Context, t *term, key *record.IdempotencyRecord) (record.Run, error) {
		return t.start(ctx, request, start, key)
	})
}

// Command tells a run what an operator wants and returns the run once that is committed. A command that the run's state does
// not allow is a *record.RejectedError.
func (c *Controller) Command(ctx context.Context, request record.Request, runID string, command record.Command) (record.Run, error) {
	return c.write(ctx, request, func(ctx context.Context, t *term, key *record.IdempotencyRecord) (record.Run, error) {
		return t.command(ctx, request.Actor, runID, command, key)
	})
}

// Forget removes a node that has no live key from what is known. What may still run on it is written off.
func (c *Controller) Forget(ctx context.Context, request record.Request, node record.NodeKey) error {
	_, err := c.write(ctx, request, func(ctx context.Context, t *term, key *record.IdempotencyRecord) (record.Run, error) {
		return record.Run{}, t.forget(ctx, request.Actor, node, key)
	})
	return err
}

// once carries a request out under its key, unless it was before.
func (t *term) once(ctx context.Context, request record.Request,
	do func(ctx context.Context, key *record.IdempotencyRecord) (record.Run, error)) (record.Run, error) {
	return idempotency.Do(ctx, &t.keys, idempotency.Write[record.Run]{
		Request: request,
		Find:    t.shared.Store.IdempotencyRecord,
		Replay:  t.replay,
		Do:      do,
	})
}

// write carries a request out once under its key, to its end even if whoever asked has gone: what a repetition is answered must not
// depend on how long the first caller waited.
func (c *Controller) write(ctx context.Context, request record.Request,
	do func(ctx context.Context, t *term, key *record.IdempotencyRecord) (record.Run, error)) (record.Run, error) {
	t, err := c.current()
	if err != nil {
		return record.Run{}, err
	}
	type answer struct {
		run record.Run
		err error
	}
	done := make(chan answer, 1)
	if !t.spawn(func(ctx context.Context) error {
		run, err := t.once(ctx, request, func(ctx context.Context, key *record.IdempotencyRecord) (record.Run, error) { return do(ctx, t, key) })
		if err != nil && ctx.Err() != nil && !errors.As(err, new(*record.RejectedError)) {
			err = ErrNotLeading // nothing says more to whoever asked
		}
		done <- answer{run, err}
		return nil
	}) {
		return record.Run{}, ErrNotLeading
	}
	select {
	case a := <-done:
		return a.run, a.err
	case <-ctx.Done():
		return record.Run{}, fmt.Errorf("no answer in time: %w", store.ErrUnavailable)
	}
}
