package replica

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"

	agentclient "github.com/replicante-io/playbooks/agent/client"
	"github.com/replicante-io/playbooks/controller"
	"github.com/replicante-io/playbooks/election"
	"github.com/replicante-io/playbooks/internal/failpoint"
	"github.com/replicante-io/playbooks/membership"
	"github.com/replicante-io/playbooks/record"
)

// leading is the controller of a leader.
type leading struct {
	controller *controller.Controller
	ended      <-chan struct{} // closed when the controller must stop
}

// controller returns false while this replica does not lead.
func (r *Replica) controller() (_ *controller.Controller, leads bool) {
	l := r.leading.Load()
	if l == nil {
		return nil, false
	}
	select {
	case <-l.ended:
		return nil, false
	default:
		return l.controller, true
	}
}

// lead is what an elected replica does until ctx ends. When it returns, nothing that it started is still running.
func (r *Replica) lead(ctx context.Context, l *election.Leadership) (err error) {
	entry := r.history.elected()
	defer func() { entry.ended(context.Cause(ctx), err) }()
	term, err := r.beginTerm(ctx, l)
	if err != nil {
		if ctx.Err() == nil {
			r.cannotLead(err)
		}
		return err
	}
	r.whyNotLeading.Store(nil)
	entry.termBegan(term.Term)

	err = r.control(ctx, term, entry.gained)
	var higher *controller.HigherTermError
	if errors.As(err, &higher) {
		r.raiseTerm(ctx, higher)
	}
	return err
}

// control runs the controller, for the API to use, until ctx ends, the controller fails, or this replica steps down.
func (r *Replica) control(ctx context.Context, term record.Term, ready func(openRuns int)) error {
	agents := agentclient.New(agentclient.Config{})
	defer agents.Close()
	watcher := membership.NewWatcher(membership.WatcherConfig{Client: r.etcd, Prefix: r.config.Etcd.Prefix, Log: r.config.Log})
	c := controller.New(controller.Config{
		Store: r.store, Agents: countedAgents{agents, r.metrics}, Watch: watcher.Run, Log: r.config.Log.Named("controller"),
		Grace: r.config.Membership.Grace, ForgetAfter: r.config.Membership.ForgetAfter,
		StoreUnavailable: r.monitor.Unavailable, Ready: ready, SetAside: slices.Collect(maps.Keys(r.raisedTerm)),
		Wall: record.Now, ScheduleResult: r.metrics.scheduleResult,
	})
	outer := ctx
	ctx, stepDown := context.WithCancelCause(outer)
	r.leading.Store(&leading{controller: c, ended: ctx.Done()})
	defer r.leading.Store(nil)
	var watching sync.WaitGroup
	watching.Go(func() { r.stepDownForStore(ctx, stepDown) })
	watching.Go(func() { r.stepDownForUnusableStore(ctx, stepDown) })
	watching.Go(func() { r.stepDownForLaterTerm(ctx, term.Term, stepDown) })
	defer watching.Wait()
	defer stepDown(nil)

	err := c.Run(failpoint.Wrap(failpoint.LeaderContext, ctx), term)
	if cause := context.Cause(ctx); cause != nil && outer.Err() == nil {
		return cause // this replica has stepped down
	}
	return r.notAlone(err)
}

// cannotLead remembers why this replica does not lead although it was elected.
func (r *Replica) cannotLead(err error) {
	why := err.Error()
	r.whyNotLeading.Store(&why)
}
