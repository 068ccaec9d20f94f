package controller

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sync/errgroup"

	"github.com/replicante-io/playbooks/controller/policy"
	"github.com/replicante-io/playbooks/internal/failpoint"
	"github.com/replicante-io/playbooks/record"
	"github.com/replicante-io/playbooks/store"
)

// leadership is one term of leading: the runners of all open runs and what they share.
type leadership struct {
	store        store.Store
	agents       agents
	term         record.Term
	grace        time.Duration
	watch        func(ctx context.Context) error
	log          hclog.Logger
	turns        *turns // of the short calls of all pursuits
	inventory    *inventory
	reservations *reservations
	admission    *admission

	ctx    context.Context // ends with the term; set by run, before anyone else can see the leadership
	cancel context.CancelCauseFunc
	work   sync.WaitGroup // the owners of runs

	mu      sync.Mutex
	closed  bool
	runners map[string]*runner
	keys    map[string]chan struct{} // idempotency keys in work; closed when done
}

func newLeadership(config Config, term record.Term) *leadership {
	l := &leadership{
		store: config.Store, agents: config.Agents, term: term, grace: config.Grace,
		log:          config.Log.With("term", term.Term),
		turns:        &turns{width: config.Concurrency},
		reservations: &reservations{nodes: map[record.NodeKey]*reservation{}},
		admission:    &admission{clusters: map[string][]*place{}},
		runners:      map[string]*runner{},
		keys:         map[string]chan struct{}{},
	}
	l.inventory = &inventory{
		store: config.Store, agents: config.Agents, term: term.Term, forgetAfter: config.ForgetAfter,
		log: l.log, slots: make(chan struct{}, config.Concurrency), tell: l.members,
		nodes: map[string]map[string]*record.Node{}, dirty: map[record.NodeKey]struct{}{},
		save: make(chan struct{}, 1), ready: make(chan struct{}),
	}
	l.watch = func(ctx context.Context) error { return config.Watch(ctx, l.inventory.Deliver) }
	return l
}

// run leads until ctx ends or leading has become pointless. ready is called once words can be taken, with how many runs
// are open.
func (l *leadership) run(ctx context.Context, ready func(open int)) error {
	ctx, l.cancel = context.WithCancelCause(ctx)
	defer l.cancel(nil)
	l.ctx = ctx
	group, groupCtx := errgroup.WithContext(ctx)
	if err := retryUnavailable(ctx, func() error { return l.inventory.Load(ctx) }); err != nil {
		return l.because(ctx, err)
	}
	group.Go(func() error { return l.watch(groupCtx) })
	group.Go(func() error { return l.inventory.Save(groupCtx) })
	group.Go(func() error {
		err := l.takeOver(groupCtx, ready)
		if err != nil {
			return err
		}
		return l.inventory.Expire(groupCtx)
	})
	go func() { // what fails in the group ends the term for the owners of runs too
		<-groupCtx.Done()
		l.cancel(context.Cause(groupCtx))
	}()
	err := group.Wait()
	l.cancel(err)
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	l.work.Wait()
	return l.because(ctx, err)
}

// because is why the leadership ended; nil when it was told to.
func (l *leadership) because(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) && !errors.Is(cause, context.DeadlineExceeded) {
		return cause
	}
	if ctx.Err() != nil && (err == nil || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)) {
		return nil
	}
	return err
}

// takeOver claims all open runs before any goes on: what is in flight on a node keeps other runs from it. None goes on
// before it is known who is there.
func (l *leadership) takeOver(ctx context.Context, ready func(open int)) error {
	var open []record.Run
	err := retryUnavailable(ctx, func() (err error) {
		open, err = l.store.OpenRuns(ctx)
		return err
	})
	if err != nil {
		return fmt.Errorf("list unfinished runs: %w", err)
	}
	owned := make([]*claimed, 0, len(open))
	for i := range open {
		c, err := l.claim(ctx, open[i].ID)
		if errors.Is(err, store.ErrNotFound) {
			continue // it expired
		}
		if err != nil {
			return err
		}
		owned = append(owned, c)
		if c.run.FinishTS == nil {
			l.admission.enter(&c.run, c.run.State != record.RunPending, true)
		}
	}
	failpoint.Point(failpoint.Claimed)
	select {
	case <-l.inventory.ready:
	case <-ctx.Done():
		return nil
	}
	for _, c := range owned {
		l.own(c)
	}
	ready(len(owned))
	return nil
}

// claimed is a run as a claim has read it, or as it was created.
type claimed struct {
	run    record.Run
	nodes  []record.RunNode
	anew   bool // created by this leader just now: nothing to take over
	runner *runner
}

// claim takes a run for this term and reserves the nodes on which something of it may run.
func (l *leadership) claim(ctx context.Context, id string) (*claimed, error) {
	var c claimed
	err := retryUnavailable(ctx, func() (err error) {
		c.run, c.nodes, err = l.store.Claim(ctx, l.term.Term, id)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("claim run %s: %w", id, err)
	}
	c.runner = l.runner(&c.run, c.nodes)
	busy := map[string]bool{}
	for i := range c.nodes {
		if actions := c.nodes[i].Actions; len(actions) > 0 {
			if last := actions[len(actions)-1]; last.State.InFlight() || last.Unsettled {
				busy[c.nodes[i].Node] = true
			}
		}
	}
	l.reservations.restore(c.runner, busy)
	return &c, nil
}

// runner makes the runner of a run, with nodes, its records by name.
func (l *leadership) runner(run *record.Run, nodes []record.RunNode) *runner {
	r := &runner{
		id: run.ID, cluster: run.Cluster, lead: l, log: l.log.With("run", run.ID), mailbox: newMailbox(), stamped: run.Stamped,
		landed: newLanded(run, slices.Clone(nodes)),
	}
	r.ended.Store(run.FinishTS != nil)
	return r
}

// plan prepares a claimed run for its runner.
func (l *leadership) plan(c *claimed) error {
	r := c.runner
	plan, err := policy.Load(policy.Config{
		Grace:   l.grace,
		Claimed: !c.anew,
		Reserve: func(node string) (policy.Holder, bool) {
			return l.reservations.reserve(record.NodeKey{Cluster: c.run.Cluster, Node: node}, r)
		},
	}, c.run, c.nodes, l.inventory.Known(c.run.Cluster))
	r.plan, c.nodes = plan, nil
	return err
}

// own runs a run's runner until the run needs none, claiming it anew whenever a plan is in doubt. It is false where the
// run has a runner, or the leadership has ended.
func (l *leadership) own(c *claimed) bool {
	l.mu.Lock()
	if l.closed || l.ctx.Err() != nil || l.runners[c.run.ID] != nil {
		l.mu.Unlock()
		return false
	}
	l.runners[c.run.ID] = c.runner
	l.work.Add(1)
	l.mu.Unlock()
	go func() {
		defer l.work.Done()
		if err := l.keep(c); err != nil && l.ctx.Err() == nil {
			l.cancel(fmt.Errorf("go on with run %s: %w", c.run.ID, err))
		}
	}()
	return true
}

func (l *leadership) keep(c *claimed) error {
	retry := store.Backoff()
	for {
		err := l.plan(c)
		if err == nil {
			l.mu.Lock()
			l.runners[c.run.ID] = c.runner
			l.mu.Unlock()
			l.admission.attach(c.runner)
			l.inventory.Introduce(c.run.Cluster, func(present []record.Node) {
				c.runner.mailbox.Members(true, present, nil)
			})
			err = c.runner.Run(l.ctx)
		}
		c.runner.mailbox.Close(false)
		if err == nil || l.ctx.Err() != nil {
			l.mu.Lock()
			delete(l.runners, c.run.ID)
			l.mu.Unlock()
			return nil
		}
		if errors.Is(err, store.ErrStaleTerm) {
			return err
		}
		l.log.Warn("a run is in doubt; reading it again", "run", c.run.ID, "error", err)
		if !retry.Wait(l.ctx) {
			return nil
		}
		if c, err = l.claim(l.ctx, c.run.ID); err != nil {
			return err
		}
	}
}

// members tells the runs of a cluster who is there.
func (l *leadership) members(cluster string, complete bool, present []record.Node, gone []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range l.runners {
		if r.cluster == cluster {
			r.mailbox.Members(complete, present, gone)
		}
	}
}

// higherTerm ends the leadership: an agent has seen a later term.
func (l *leadership) higherTerm(term int64) { l.cancel(&HigherTermError{Term: term}) }

// retryUnavailable repeats do while the store cannot be reached, until ctx ends.
func retryUnavailable(ctx context.Context, do func() error) error {
	retry := store.Backoff()
	for {
		err := do()
		if err == nil || !errors.Is(err, store.ErrUnavailable) || !retry.Wait(ctx) {
			return err
		}
	}
}
