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

	"github.com/replicante-io/playbooks/controller/cluster"
	"github.com/replicante-io/playbooks/controller/policy"
	"github.com/replicante-io/playbooks/controller/run"
	"github.com/replicante-io/playbooks/internal/idempotency"
	"github.com/replicante-io/playbooks/record"
	"github.com/replicante-io/playbooks/store"
)

// term is one term of leading: the runners of all open runs and what they share.
type term struct {
	shared run.Shared
	grace  time.Duration
	watch  func(ctx context.Context) error
	log    hclog.Logger
	keys   idempotency.Keys // of the requests that are being carried out

	freezes        freezes
	scheduler      *scheduler
	wall           func() time.Time                            // the wall clock: schedules and freezes follow it
	scheduleResult func(state record.FiringState, code string) // may be nil
	// changing holds one token, which is taken while schedules or freezes are written: what is known of them follows in the same order.
	changing chan struct{}

	// work is what is to be done in the term, by a goroutine that run waits for; over is closed once nothing more is.
	work chan func(ctx context.Context) error
	over chan struct{}
	// fail ends the term for a reason.
	fail context.CancelCauseFunc

	// mu is taken after the inventory's lock, which calls members, and before those of mailboxes.
	mu      sync.Mutex
	runners map[string]*run.Runner
	left    map[string]error // runs that this version cannot advance, with why

	// reviving holds one token, which is taken while an ended run is claimed for a command: two commands make one runner.
	reviving chan struct{}

	setAsideMu sync.Mutex              // no other lock is taken under it
	setAside   map[record.NodeKey]bool // nodes whose terms are not believed; true: logged
}

func newTerm(config Config, of record.Term) *term {
	clock := record.StartClock()
	t := &term{
		grace: config.Grace, log: config.Log.With("term", of.Term),
		work: make(chan func(ctx context.Context) error), over: make(chan struct{}),
		fail:     func(error) {},
		runners:  map[string]*run.Runner{},
		left:     map[string]error{},
		setAside: map[record.NodeKey]bool{},
		reviving: make(chan struct{}, 1),
		changing: make(chan struct{}, 1), scheduleResult: config.ScheduleResult,
	}
	t.scheduler = newScheduler(t)
	if t.wall = config.Wall; t.wall == nil {
		t.wall = clock.Now
	}
	t.shared = run.Shared{
		Store: config.Store, Agents: config.Agents, Term: of, Clock: clock,
		Limiter: cluster.NewLimiter(config.Concurrency), Capacity: cluster.NewCapacity(clock),
		Inventory: cluster.NewInventory(cluster.InventoryConfig{
			Store: config.Store, Agents: config.Agents, Term: of.Term, Clock: clock, ForgetAfter: config.ForgetAfter,
			Concurrency: config.Concurrency, Log: t.log, Changed: t.members,
		}),
		HigherTerm: t.higherTerm,
	}
	for _, node := range config.SetAside {
		t.setAside[node] = false
	}
	t.watch = func(ctx context.Context) error { return config.Watch(ctx, t.shared.Inventory.Deliver) }
	return t
}

// run leads until ctx ends (nil) or leading has become pointless. ready is called once commands can be taken, with how many runs
// are open.
func (t *term) run(ctx context.Context, ready func(open int)) error {
	ctx, t.fail = context.WithCancelCause(ctx)
	defer t.fail(nil)
	defer t.shared.Limiter.Finish()
	inventory := t.shared.Inventory
	if err := retryUnavailable(ctx, func() error { return inventory.Load(ctx) }); err != nil {
		close(t.over)
		return t.reason(ctx, err)
	}
	group, groupCtx := errgroup.WithContext(ctx)
	group.Go(func() error { return t.watch(groupCtx) })
	group.Go(func() error { return inventory.Save(groupCtx) })
	group.Go(func() error {
		if err := t.takeOver(groupCtx, ready); err != nil {
			return err
		}
		group.Go(func() error { return t.scheduler.Run(groupCtx) })
		return inventory.Expire(groupCtx, t.shared.Capacity)
	})
	group.Go(func() error {
		defer close(t.over)
		for {
			select {
			case work := <-t.work:
				group.Go(func() error { return work(groupCtx) })
			case <-groupCtx.Done():
				return nil
			}
		}
	})
	return t.reason(ctx, group.Wait())
}

// reason is why the term ended, where it ended with err; nil when it was told to.
func (t *term) reason(ctx context.Context, err error) error {
	ended := func(err error) bool {
		return err == nil || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
	}
	if cause := context.Cause(ctx); !ended(cause) {
		return cause
	}
	if ctx.Err() != nil && ended(err) {
		return nil
	}
	return err
}

// higherTerm decides about a later term that a node's agent reports. It ends this term, so that the next can start above it; but
// not for a term that no election can have reached, nor for a node that has ended a term before: no single agent raises terms
// without bound, or makes leaders step down again and again. Where it is false the node's agent cannot be used by this leader.
func (t *term) higherTerm(node record.NodeKey, reported int64) bool {
	t.setAsideMu.Lock()
	defer t.setAsideMu.Unlock()
	logged, again := t.setAside[node]
	if !again && reported-t.shared.Term.Term <= store.MaxTermRaise {
		t.fail(&HigherTermError{Node: node, Term: reported})
		return true
	}
	if !logged {
		t.setAside[node] = true
		t.log.Warn("an agent reports a later term that is not believed; actions on its node fail: see \"a term that was driven up\" in docs/operations.md",
			"cluster", node.Cluster, "node", node.Node, "reported_term", reported, "raised_before", again)
	}
	return false
}

// spawn has work done in the term. It is false when the term is over. An error of work ends the term.
func (t *term) spawn(work func(ctx context.Context) error) bool {
	select {
	case t.work <- work:
		return true
	case <-t.over:
		return false
	}
}

// claimed is a run as a claim has read it, or as it was created.
type claimed struct {
	run   record.Run
	nodes []record.RunNode // by name
	isNew bool             // created by this leader just now: there is nothing to take over
}

// own keeps a runner for a run until the run needs none. It is false where the run has one already, or the term is over.
func (t *term) own(r *run.Runner) bool {
	t.mu.Lock()
	if t.runners[r.ID()] != nil {
		t.mu.Unlock()
		return false
	}
	t.runners[r.ID()] = r
	t.mu.Unlock()
	if !t.spawn(func(ctx context.Context) error { return t.keep(ctx, r) }) {
		t.disown(r)
		return false
	}
	return true
}

func (t *term) disown(r *run.Runner) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.runners, r.ID())
}

// keep runs a run's runner until the run needs none, and claims the run again whenever its plan is in doubt. A run that is gone from
// the store is over.
func (t *term) keep(ctx context.Context, r *run.Runner) error {
	defer func() { t.disown(r) }()
	backoff := store.Backoff()
	var refused refusals
	for {
		err := r.Run(ctx)
		switch {
		case err == nil || ctx.Err() != nil:
			return nil
		case errors.Is(err, store.ErrStaleTerm):
			return fmt.Errorf("advance run %s: %w", r.ID(), err)
		case errors.Is(err, store.ErrNotFound): // the claim finds out whether it is the run
		case !refused.note(err):
			t.leave(ctx, r.ID(), err)
			return nil
		default:
			t.log.Warn("the last commit of a run is refused, or it is in doubt whether it is stored; claiming and reading the run again",
				"run", r.ID(), "error", err)
		}
		if !backoff.Wait(ctx) {
			return nil
		}
		c, readable, err := t.claimOrLeave(ctx, r.ID())
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, store.ErrNotFound):
			t.drop(r)
			return nil
		case err != nil:
			return err
		case !readable:
			return nil
		}
		r = t.runner(c, refused.Refused)
		t.mu.Lock()
		t.runners[r.ID()] = r
		t.mu.Unlock()
	}
}

// drop gives up a run that is gone from the store.
func (t *term) drop(r *run.Runner) {
	t.shared.Capacity.RestoreLocks(r.Cluster(), r.ID(), nil, nil)
	t.shared.Capacity.Leave(r.Cluster(), r.ID())
	t.log.Warn("a run is gone from the primary store: somebody deleted it; it is over, and its nodes are free for other runs",
		"run", r.ID(), "cluster", r.Cluster())
}

// claim takes a run for this term and locks the nodes on which something of it may run.
func (t *term) claim(ctx context.Context, id string) (claimed, error) {
	var c claimed
	err := retryUnavailable(ctx, func() (err error) {
		c.run, c.nodes, err = t.shared.Store.Claim(ctx, t.shared.Term.Term, id)
		return err
	})
	if err != nil {
		return c, fmt.Errorf("claim run %s: %w", id, err)
	}
	t.shared.Capacity.RestoreLocks(c.run.Cluster, id, policy.Busy(c.nodes), policy.Unsettled(c.nodes))
	return c, nil
}

// runner makes the runner of a run of which the store has refused what refused says.
func (t *term) runner(c claimed, refused policy.Refused) *run.Runner {
	return run.New(run.Config{
		Shared: t.shared, Run: c.run, Nodes: c.nodes, Log: t.log,
		Policy: policy.Config{Grace: t.grace, Claimed: !c.isNew, Refused: refused},
	})
}

// members tells the runs of a cluster which of its nodes have a live key.
func (t *term) members(cluster string, complete bool, present []record.Node, gone []string) {
	for _, r := range t.all() {
		if r.Cluster() == cluster {
			r.Members(complete, present, gone)
		}
	}
}

// all are the runners of this term.
func (t *term) all() []*run.Runner {
	t.mu.Lock()
	defer t.mu.Unlock()
	runners := make([]*run.Runner, 0, len(t.runners))
	for _, r := range t.runners {
		runners = append(runners, r)
	}
	return slices.Clip(runners)
}

// retryUnavailable repeats do while the store does not answer, until ctx ends.
func retryUnavailable(ctx context.Context, do func() error) error {
	backoff := store.Backoff()
	for {
		err := do()
		if err == nil || !errors.Is(err, store.ErrUnavailable) || !backoff.Wait(ctx) {
			return err
		}
	}
}
