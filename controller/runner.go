package controller

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/replicante-io/playbooks/controller/policy"
	"github.com/replicante-io/playbooks/internal/failpoint"
	"github.com/replicante-io/playbooks/record"
	"github.com/replicante-io/playbooks/store"
)

// maxDrain bounds the inputs of one commit.
const maxDrain = 1024

// commitTimeout bounds one try of a commit; a try that is in doubt is repeated.
const commitTimeout = 10 * time.Second

// runner owns one run: it is the only writer of the run's records.
type runner struct {
	id      string
	cluster string
	lead    *leadership
	log     hclog.Logger
	mailbox *mailbox
	landed  *landed
	// ended is true once nobody waits for the run any more, though an action of it may be unsettled.
	ended atomic.Bool

	plan     *policy.Plan
	stamped  bool
	pursuits map[string]pursued            // by node
	asking   map[string]context.CancelFunc // by key of observation
	work     sync.WaitGroup
}

// pursued is what is done about a node's action.
type pursued struct {
	actionID string
	stop     context.CancelFunc
}

// Run advances the run until it has ended and nothing is left to do for it (nil), ctx ends (nil), or a later leader has
// claimed it (store.ErrStaleTerm). Any other error leaves the plan in doubt: drop the runner, claim, read again.
func (r *runner) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer r.work.Wait()
	defer cancel()
	r.pursuits, r.asking = map[string]pursued{}, map[string]context.CancelFunc{}
	commit, wants := r.plan.Resume(record.Now())
	if err := r.land(ctx, commit); err != nil {
		return err
	}
	r.pursue(ctx, wants, true)
	for {
		if done, err := r.rest(ctx); done || err != nil {
			return err
		}
		wake := wants.Wake
		if wants.Again {
			wake = time.Unix(1, 0)
		}
		posts, ok := r.mailbox.Drain(ctx, wake, maxDrain)
		if !ok {
			return nil
		}
		inputs := make([]policy.Input, len(posts))
		for i := range posts {
			inputs[i] = posts[i].input
		}
		var refused map[int]*record.RejectedError
		commit, wants, refused = r.plan.Apply(record.Now(), inputs)
		if err := r.land(ctx, commit); err != nil {
			answerAll(posts, answer{err: err})
			return err
		}
		r.answer(posts, refused)
		r.pursue(ctx, wants, false)
	}
}

// rest stamps an ended run and tells whether the runner can go.
func (r *runner) rest(ctx context.Context) (bool, error) {
	run := r.plan.Run()
	if run.FinishTS == nil {
		return false, nil
	}
	if !r.ended.Swap(true) {
		r.lead.reservations.ended(r)
		r.lead.admission.leave(r.cluster, r.id)
	}
	retry := store.Backoff()
	for !r.stamped {
		failpoint.Point(failpoint.Stamping)
		err := r.lead.store.StampFinished(ctx, r.lead.term.Term, r.id)
		switch {
		case err == nil:
			r.stamped = true
		case ctx.Err() != nil:
			return true, nil
		case !errors.Is(err, store.ErrUnavailable):
			return true, fmt.Errorf("stamp run %s: %w", r.id, err)
		case !retry.Wait(ctx):
			return true, nil
		}
	}
	return run.Unsettled == 0 && r.mailbox.Close(true), nil
}

// land commits, and repeats the same commit while the store cannot be reached: nothing is pursued before it landed.
func (r *runner) land(ctx context.Context, commit record.Commit) error {
	if commit.Empty() {
		return nil
	}
	failpoint.Point(failpoint.Decided)
	retry := store.Backoff()
	for try := 1; ; try++ {
		tryCtx, cancel := context.WithTimeout(ctx, commitTimeout)
		err := r.lead.store.Commit(tryCtx, r.lead.term.Term, commit)
		cancel()
		if err == nil {
			break
		}
		err = fmt.Errorf("commit run %s: %w", r.id, err)
		r.landed.waits(err)
		if ctx.Err() != nil || !errors.Is(err, store.ErrUnavailable) && !errors.Is(err, context.DeadlineExceeded) {
			return err
		}
		if try == 1 {
			r.log.Warn("the store does not answer; the run waits for it", "error", err)
		}
		if !retry.Wait(ctx) {
			return err
		}
	}
	failpoint.Point(failpoint.Committed)
	r.landed.take(&commit)
	r.stamped = false
	r.story(commit.Events)
	return nil
}

// story tells what happened in about one line per batch.
func (r *runner) story(events []record.Event) {
	for i := range events {
		e := &events[i]
		switch e.Type {
		case record.EventRunStarted, record.EventRunPausing, record.EventRunPaused, record.EventRunResumed, record.EventRunCancelling,
			record.EventRunFinished, record.EventStageStarted, record.EventStageFinished, record.EventRunClaimed:
			r.log.Info("run: "+string(e.Type), pairs(e, "stage", e.Stage)...)
		case record.EventBatchStarted:
			r.log.Info("run: "+string(e.Type), "stage", e.Stage, "batch", e.Data["batch"], "size", e.Data["size"])
		case record.EventActionFailed, record.EventActionUnknown:
			r.log.Warn("run: "+string(e.Type), pairs(e, "node", e.Node, "stage", e.Stage, "step", e.Step)...)
		}
	}
}

func pairs(e *record.Event, with ...any) []any {
	var args []any
	for i := 0; i < len(with); i += 2 {
		if with[i+1] != "" {
			args = append(args, with[i], with[i+1])
		}
	}
	for _, key := range slices.Sorted(maps.Keys(e.Data)) {
		if key != "nodes" {
			args = append(args, key, e.Data[key])
		}
	}
	return args
}

func (r *runner) answer(posts []post, refused map[int]*record.RejectedError) {
	for i, p := range posts {
		if p.answer == nil {
			continue
		}
		if refusal := refused[i]; refusal != nil {
			p.answer <- answer{err: refusal}
		} else {
			p.answer <- answer{run: snapshot(r.plan.Run())}
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

// snapshot is a copy of what a plan goes on changing.
func snapshot(run record.Run) record.Run {
	run.Counts = maps.Clone(run.Counts)
	run.Stages = slices.Clone(run.Stages)
	for i := range run.Stages {
		run.Stages[i].Counts = maps.Clone(run.Stages[i].Counts)
	}
	return run
}

// pursue sets going what the records want. It never blocks.
func (r *runner) pursue(ctx context.Context, wants policy.Wants, resumed bool) {
	for _, node := range wants.Release {
		r.lead.reservations.release(record.NodeKey{Cluster: r.cluster, Node: node}, r)
	}
	for i := range wants.Actions {
		want := wants.Actions[i]
		before, any := r.pursuits[want.Node]
		if any {
			before.stop()
			delete(r.pursuits, want.Node)
		}
		if want.Action.ID == "" {
			continue
		}
		actionCtx, stop := context.WithCancel(ctx)
		r.pursuits[want.Node] = pursued{want.Action.ID, stop}
		p := &pursuit{
			Pursuit: want, agents: r.lead.agents, turns: r.lead.turns, term: r.lead.term.Term,
			installation: r.lead.term.Installation, sent: resumed || before.actionID == want.Action.ID, higher: r.lead.higherTerm,
			tell: func(input policy.Input) bool { return r.mailbox.Put(actionCtx, post{input: input}) == nil },
		}
		r.work.Add(1)
		p.Start(actionCtx, r.work.Done)
	}
	for _, key := range wants.Forget {
		if stop := r.asking[key]; stop != nil {
			stop()
			delete(r.asking, key)
		}
	}
	for _, want := range wants.Observe {
		askCtx, stop := context.WithCancel(ctx)
		r.asking[want.Key] = stop
		r.work.Go(func() { r.observe(askCtx, want) })
	}
}

// observe asks for facts until the plan needs them no more.
func (r *runner) observe(ctx context.Context, want policy.Observation) {
	for ctx.Err() == nil {
		facts := r.lead.inventory.Observe(ctx, r.cluster, want.Nodes)
		if ctx.Err() != nil {
			return
		}
		if r.mailbox.Put(ctx, post{input: policy.Observed{Key: want.Key, Ask: want.Ask, Facts: facts}}) != nil {
			return
		}
		sleep(ctx, max(want.Every, 100*time.Millisecond))
	}
}
