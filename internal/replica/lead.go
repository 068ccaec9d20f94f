package replica

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	agentclient "github.com/replicante-io/playbooks/agent/client"
	"github.com/replicante-io/playbooks/api"
	"github.com/replicante-io/playbooks/controller"
	"github.com/replicante-io/playbooks/election"
	"github.com/replicante-io/playbooks/internal/failpoint"
	"github.com/replicante-io/playbooks/membership"
	"github.com/replicante-io/playbooks/record"
	"github.com/replicante-io/playbooks/store"
)

const (
	// beginTime bounds the steps between winning an election and leading. A winner that cannot reach the store for so long
	// lets another try.
	beginTime = 30 * time.Second
	// beginTry bounds one try of them.
	beginTry = 10 * time.Second
)

// lead is what a winner of the election does until ctx ends. When it returns, nothing that it started goes on.
func (r *Replica) lead(ctx context.Context, l *election.Leadership) (err error) {
	reign := r.wins()
	defer func() { reign.ends(ctx, err) }()
	term, err := r.begin(ctx, l)
	if err != nil {
		if ctx.Err() == nil {
			r.cannotLead(err)
		}
		return err
	}
	r.fault.Store(nil)
	reign.begins(term.Term)

	agents := agentclient.New(agentclient.Config{})
	defer agents.Close()
	watcher := membership.NewWatcher(membership.WatcherConfig{Client: r.etcd, Prefix: r.config.Etcd.Prefix, Log: r.config.Log})
	work := controller.New(controller.Config{
		Store: r.store, Agents: countedAgents{agents, r.metrics}, Watch: watcher.Run, Log: r.config.Log.Named("controller"),
		Grace: r.config.Membership.Grace, ForgetAfter: r.config.Membership.ForgetAfter,
		Away: r.outage.Away, Ready: reign.leads,
	})
	words := &owner{work}
	r.owner.Store(words)
	resign := func() { r.owner.CompareAndSwap(words, nil) } // words go to the next leader from now on
	working, stop := context.WithCancelCause(ctx)
	defer context.AfterFunc(working, resign)()
	defer resign()
	var yielding sync.WaitGroup
	yielding.Go(func() { r.yield(working, stop) })
	err = work.Run(failpoint.Wrap(failpoint.LeaderContext, working), term)
	if cause := context.Cause(working); errors.Is(cause, errStoreElsewhere) {
		err = cause
	}
	stop(nil)
	yielding.Wait()
	var higher *controller.HigherTermError
	if errors.As(err, &higher) {
		r.surpass(ctx, higher.Term)
	}
	return err
}

// surpass makes the next term, whoever begins it, later than this one, which an agent knows: other replicas would only
// count on from the store's, and could come to the very same term a second time.
func (r *Replica) surpass(ctx context.Context, term int64) {
	r.floor.Store(max(r.floor.Load(), term)) // where the store cannot be asked now
	ctx, cancel := context.WithTimeout(ctx, beginTry)
	defer cancel()
	if _, err := r.store.BeginTerm(ctx, term); err != nil && ctx.Err() == nil {
		r.log.Warn("the store's term is not above the one that an agent knows", "term", term, "error", err)
	}
}

// begin turns a won election into a term, trying again while the store cannot be reached.
func (r *Replica) begin(ctx context.Context, l *election.Leadership) (record.Term, error) {
	ctx, cancel := context.WithTimeout(ctx, beginTime)
	defer cancel()
	retry := store.Backoff()
	for {
		term, err := r.beginOnce(ctx, l)
		if err == nil || !errors.Is(err, store.ErrUnavailable) {
			return term, err
		}
		r.cannotLead(err)
		if !retry.Wait(ctx) {
			return record.Term{}, err
		}
	}
}

// cannotLead remembers why this replica does not lead although it was elected.
func (r *Replica) cannotLead(err error) {
	fault := err.Error()
	r.fault.Store(&fault)
}

// beginOnce begins a term. Only what comes after it may read what is unfinished.
func (r *Replica) beginOnce(ctx context.Context, l *election.Leadership) (record.Term, error) {
	ctx, cancel := context.WithTimeout(ctx, beginTry)
	defer cancel()
	if !r.prepared.Swap(false) {
		if err := r.store.Init(ctx); err != nil {
			return record.Term{}, fmt.Errorf("prepare the primary store: %w", err)
		}
	}
	before, err := r.store.Term(ctx)
	if err != nil {
		return record.Term{}, fmt.Errorf("read the term: %w", err)
	}
	if err := bindInstallation(ctx, r.etcd, r.config.Etcd.Prefix, before, r.config.BindStore); err != nil {
		return record.Term{}, err
	}
	term, err := r.store.BeginTerm(ctx, r.floor.Load())
	if err != nil {
		return record.Term{}, fmt.Errorf("begin a term: %w", err)
	}
	failpoint.Point(failpoint.Elected)
	// A later winner may have begun its term already: its term is then higher, and ours must not claim anything.
	if err := l.Confirm(ctx); err != nil {
		return record.Term{}, fmt.Errorf("begin term %d: %w", term.Term, err)
	}
	if err := l.Announce(ctx, term.Term); err != nil {
		return record.Term{}, err
	}
	return term, nil
}

// owner hands words to the controller. While that does not take them, nobody does: it takes over, or stops.
type owner struct{ controller *controller.Controller }

func (r *Replica) apiOwner() api.Owner {
	if o := r.owner.Load(); o != nil {
		return o
	}
	return nil
}

func (o *owner) Start(ctx context.Context, request record.Request, start record.RunRequest) (record.Run, error) {
	run, err := o.controller.Start(ctx, request, start)
	return run, notLeading(err)
}

func (o *owner) Command(ctx context.Context, request record.Request, runID string, command record.Command) (record.Run, error) {
	run, err := o.controller.Command(ctx, request, runID, command)
	return run, notLeading(err)
}

func (o *owner) Forget(ctx context.Context, request record.Request, key record.NodeKey) error {
	return notLeading(o.controller.Forget(ctx, request, key))
}

func (o *owner) Recall(runID string) (run record.Run, waits, ok bool) {
	return o.controller.Recall(runID)
}

func (o *owner) RecallNodes(runID string) ([]record.RunNode, bool) {
	return o.controller.RecallNodes(runID)
}

func (o *owner) RecallRuns() []record.Run { return o.controller.RecallRuns() }

func notLeading(err error) error {
	if errors.Is(err, controller.ErrNotLeading) {
		return &record.RejectedError{Status: http.StatusServiceUnavailable, Code: "no_leader",
			Message: "the leader changes: try again in a moment"}
	}
	return err
}
