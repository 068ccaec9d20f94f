// Package run executes one run: it feeds a policy with inputs, commits what that decides, and only then carries out the effects.
//
// A crash therefore repeats a request but never loses or invents one. One Runner is the only writer of its run's records; others
// reach it through its mailbox, and read what it has committed.
package run

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/replicante-io/playbooks/controller/cluster"
	"github.com/replicante-io/playbooks/controller/policy"
	"github.com/replicante-io/playbooks/internal/failpoint"
	"github.com/replicante-io/playbooks/record"
	"github.com/replicante-io/playbooks/store"
)

// maxDrain bounds the inputs of one commit; policy.CommitBytes bounds what they add to it.
const maxDrain = 1024

// CommitTimeout bounds one try of a commit; a try that is in doubt is repeated.
const CommitTimeout = 10 * time.Second

// Shared is what the runners of a term share.
type Shared struct {
	Store     store.Store
	Agents    agents
	Limiter   *cluster.Limiter
	Inventory *cluster.Inventory
	Capacity  *cluster.Capacity
	Term      record.Term
	// Clock measures the whole term: elapsed time is the leader's own.
	Clock record.Clock
	// HigherTerm is told of a term that a node's agent knows and that is later than Term. It is false where the leader continues
	// without this agent. It must not block.
	HigherTerm func(node record.NodeKey, term int64) bool
}

// Config is what a runner works with.
type Config struct {
	Shared
	Policy policy.Config
	Run    record.Run
	Nodes  []record.RunNode // by name
	Log    hclog.Logger
}

// Runner owns one run: it is the only writer of the run's records.
type Runner struct {
	Shared
	id        string
	cluster   string
	policy    policy.Config
	log       hclog.Logger
	mailbox   *mailbox
	committed *committed
	actions   atomic.Int64 // that are being sent, followed or stopped
	requests  atomic.Int64 // for facts, that are being asked

	// Of Run, which alone uses them.
	plan     *policy.Plan
	ended    bool // the cluster's capacity knows that the run has ended
	stamped  bool
	dispatch map[string]dispatched // by node
	asking   map[policy.FactKey]context.CancelFunc
	work     sync.WaitGroup
}

// dispatched is what is being done about a node's action.
type dispatched struct {
	actionID string
	stop     context.CancelFunc
}

// New makes the runner of a run as a claim has read it, or as it was created.
func New(config Config) *Runner {
	r := &Runner{
		Shared: config.Shared, id: config.Run.ID, cluster: config.Run.Cluster, policy: config.Policy,
		log: config.Log.With("run", config.Run.ID), mailbox: newMailbox(), stamped: config.Run.Stamped,
		committed: newCommitted(config.Run, config.Nodes),
		dispatch:  map[string]dispatched{}, asking: map[policy.FactKey]context.CancelFunc{},
	}
	return r
}

// ID is the run's.
func (r *Runner) ID() string { return r.id }

// Cluster is the run's.
func (r *Runner) Cluster() string { return r.cluster }

// Run advances the run until it is finished and nothing is left to do for it (nil), ctx ends (nil), or a later leader has
// claimed it (store.ErrStaleTerm). Any other error leaves the plan in doubt: drop the runner, claim, read again. After
// store.ErrNotStorable, the next plan must know what was refused, or it decides the same again.
func (r *Runner) Run(ctx context.Context) error {
	defer r.mailbox.Close()
	run, nodes := r.committed.whole()
	var err error
	if r.plan, err = policy.Load(r.policy, run, nodes, r.Inventory.Known(r.cluster)); err != nil {
		return err
	}
	r.Capacity.Attach(r.cluster, r.id, r.mailbox)
	r.Inventory.WithPresent(r.cluster, func(present []record.Node) { r.mailbox.Members(true, present, nil) })
	ctx, cancel := context.WithCancel(ctx)
	defer r.work.Wait()
	defer cancel()
	return r.loop(ctx)
}

func (r *Runner) loop(ctx context.Context) error {
	commit, effects := r.plan.Resume(r.Clock.Now())
	effects, err := r.carryOut(ctx, commit, effects, true)
	if err != nil {
		return err
	}
	for {
		if done, err := r.stampIfFinished(ctx); done || err != nil {
			return err
		}
		posts, ok := r.mailbox.Drain(ctx, r.Clock, effects.WakeAt, effects.Continue, r.plan.Weight)
		if !ok {
			return nil
		}
		inputs := make([]policy.Input, len(posts))
		for i := range posts {
			inputs[i] = posts[i].input
		}
		commit, next, rejected := r.plan.Apply(r.Clock.Now(), inputs)
		if err := r.commitWithRetry(ctx, commit); err != nil {
			if errors.As(err, new(*store.RecordError)) {
				answerAll(posts, answer{err: ErrClosed}) // it is a node's fault: the next runner can carry the commands out
			} else {
				answerAll(posts, answer{err: err})
			}
			return err
		}
		r.answer(posts, rejected)
		if effects, err = r.carryOut(ctx, record.Commit{}, next, false); err != nil {
			return err
		}
	}
}

// carryOut commits, and carries out the effects. What the cluster's capacity answers to them is given to the plan at once. It returns
// the last effects, of which WakeAt and Continue are still to be heeded.
func (r *Runner) carryOut(ctx context.Context, commit record.Commit, effects policy.Effects, resumed bool) (policy.Effects, error) {
	for {
		if err := r.commitWithRetry(ctx, commit); err != nil {
			return effects, err
		}
		answers := r.execute(ctx, effects, resumed)
		if len(answers) == 0 {
			return effects, nil
		}
		resumed = false
		commit, effects, _ = r.plan.Apply(r.Clock.Now(), answers)
	}
}

// stampIfFinished gives up the place of a run that has ended, stamps the records of one that is finished, and reports whether nothing is
// left to do for it.
func (r *Runner) stampIfFinished(ctx context.Context) (bool, error) {
	run := r.plan.Run()
	if run.State.Final() && !r.ended {
		r.ended = true
		r.Capacity.Ended(r.cluster, r.id)
		r.Capacity.Leave(r.cluster, r.id)
	}
	r.ended = run.State.Final()
	if run.FinishTS == nil {
		return false, nil
	}
	for backoff := store.Backoff(); !r.stamped; {
		failpoint.Point(failpoint.Stamping)
		err := r.Store.StampFinished(ctx, r.Term.Term, r.id)
		switch {
		case err == nil:
			r.stamped = true
		case ctx.Err() != nil:
			return true, nil
		case !errors.Is(err, store.ErrUnavailable):
			return true, fmt.Errorf("stamp the records of run %s: %w", r.id, err)
		case !backoff.Wait(ctx):
			return true, nil
		}
	}
	return r.mailbox.CloseIfEmpty(), nil
}

// commitWithRetry commits, and repeats the same commit while the store does not answer: no effect is carried out before.
func (r *Runner) commitWithRetry(ctx context.Context, commit record.Commit) error {
	if commit.Empty() {
		return nil
	}
	failpoint.Point(failpoint.Decided)
	backoff := store.Backoff()
	for try := 1; ; try++ {
		tryCtx, cancel := context.WithTimeout(ctx, CommitTimeout)
		err := r.Store.Commit(tryCtx, r.Term.Term, commit)
		cancel()
		if err == nil {
			break
		}
		err = fmt.Errorf("commit run %s: %w", r.id, err)
		if ctx.Err() != nil || !errors.Is(err, store.ErrUnavailable) && !errors.Is(err, context.DeadlineExceeded) {
			return err
		}
		r.committed.delayed(err)
		if try == 1 {
			r.log.Warn("the primary store does not answer; the run waits for it", "error", err)
		}
		if !backoff.Wait(ctx) {
			return err
		}
	}
	failpoint.Point(failpoint.Committed)
	r.committed.take(&commit)
	r.stamped = false
	logEvents(r.log, commit.Events)
	return nil
}

func (r *Runner) answer(posts []post, rejected map[int]*record.RejectedError) {
	for i, p := range posts {
		if p.answer == nil {
			continue
		}
		if refusal := rejected[i]; refusal != nil {
			p.answer <- answer{err: refusal}
		} else {
			p.answer <- answer{run: Snapshot(r.plan.Run())}
		}
	}
}

func answerAll(posts []post, a answer) {
	for _, p := range posts {
		if p.answer != nil {
			p.answer <- a
		}
	}
}
