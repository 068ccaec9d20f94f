package controller

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/replicante-io/playbooks/controller/policy"
	"github.com/replicante-io/playbooks/internal/failpoint"
	"github.com/replicante-io/playbooks/playbook"
	"github.com/replicante-io/playbooks/record"
	"github.com/replicante-io/playbooks/store"
)

// alone carries a request out while no other one with the same idempotency key is at work. It is carried out to its end
// even if whoever asked has gone: what a repetition is answered must not depend on a word that still waits somewhere.
func (l *leadership) alone(ctx context.Context, key string, do func(ctx context.Context) (record.Run, error)) (record.Run, error) {
	release, err := l.turn(ctx, key)
	if err != nil {
		return record.Run{}, err
	}
	l.mu.Lock()
	closed := l.closed
	if !closed {
		l.work.Add(1)
	}
	l.mu.Unlock()
	if closed {
		release()
		return record.Run{}, ErrNotLeading
	}
	done := make(chan answer, 1)
	go func() {
		defer l.work.Done()
		defer release()
		run, err := do(l.ctx)
		done <- answer{run, err}
	}()
	select {
	case a := <-done:
		return a.run, a.err
	case <-ctx.Done():
		return record.Run{}, fmt.Errorf("no answer in time: %w", store.ErrUnavailable)
	}
}

// turn waits until no other request has the key, and takes it until release.
func (l *leadership) turn(ctx context.Context, key string) (release func(), err error) {
	if key == "" {
		return func() {}, nil
	}
	for {
		l.mu.Lock()
		other := l.keys[key]
		if other == nil {
			mine := make(chan struct{})
			l.keys[key] = mine
			l.mu.Unlock()
			return func() {
				l.mu.Lock()
				delete(l.keys, key)
				l.mu.Unlock()
				close(mine)
			}, nil
		}
		l.mu.Unlock()
		select {
		case <-other:
		case <-ctx.Done():
			return nil, fmt.Errorf("another request with idempotency key %s is at work: %w", key, store.ErrUnavailable)
		}
	}
}

// done answers a request that was already carried out, by its idempotency key. Nil means that it was not.
func (l *leadership) done(ctx context.Context, request record.Request) (*record.Run, error) {
	if request.Key == "" {
		return nil, nil
	}
	effect, err := l.store.IdempotencyRecord(ctx, request.Key, request.Digest)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	run, err := l.store.Run(ctx, effect.RunID)
	if err != nil {
		return nil, fmt.Errorf("read run %s: %w", effect.RunID, err)
	}
	return &run, nil
}

func (l *leadership) start(ctx context.Context, request record.Request, start record.RunRequest) (record.Run, error) {
	create, err := l.prepare(ctx, request, start)
	if err != nil {
		return record.Run{}, err
	}
	if by := l.admission.enter(&create.Run, false, start.IfBusy != "fail"); by != "" {
		return record.Run{}, &record.RejectedError{Status: 409, Code: "cluster_busy", Message: fmt.Sprintf(
			"cluster %s is busy with run %s; leave if_busy out to wait in its queue", start.Cluster, by)}
	}
	err = l.create(create)
	if errors.Is(err, store.ErrExists) { // the same request, carried out by another leader meanwhile
		if run, doneErr := l.done(ctx, request); doneErr != nil || run != nil {
			return orZero(run), doneErr
		}
	}
	if err != nil {
		return record.Run{}, err
	}
	return create.Run, nil
}

// create stores a run and gives it its owner.
func (l *leadership) create(create *record.Commit) error {
	run := &create.Run
	failpoint.Point(failpoint.Creating)
	first := true
	err := retryUnavailable(l.ctx, func() error {
		ctx, cancel := context.WithTimeout(l.ctx, 6*commitTimeout)
		defer cancel()
		err := l.store.Create(ctx, l.term.Term, *create)
		if errors.Is(err, store.ErrExists) && !first { // an earlier try may have landed
			if there, readErr := l.store.Run(ctx, run.ID); readErr == nil && there.CommitID == create.ID {
				return nil
			} else if readErr != nil && !errors.Is(readErr, store.ErrNotFound) {
				return readErr
			}
		}
		first = false
		return err
	})
	if err != nil {
		l.admission.leave(run.Cluster, run.ID)
		if errors.Is(err, store.ErrStaleTerm) {
			l.cancel(err)
		}
		return fmt.Errorf("create run %s: %w", run.ID, err)
	}
	failpoint.Point(failpoint.Created)
	owned := snapshot(*run)
	l.own(&claimed{run: owned, nodes: create.Nodes, anew: true, runner: l.runner(&owned, create.Nodes)})
	return nil
}

// prepare makes the run, with its own copy of the playbook and a record for every known node.
func (l *leadership) prepare(ctx context.Context, request record.Request, start record.RunRequest) (*record.Commit, error) {
	applied, err := l.store.Playbook(ctx, start.Playbook, start.Revision)
	if errors.Is(err, store.ErrNotFound) {
		message := fmt.Sprintf("there is no playbook %s", start.Playbook)
		if start.Revision != 0 {
			message = fmt.Sprintf("there is no revision %d of playbook %s", start.Revision, start.Playbook)
		}
		return nil, &record.RejectedError{Status: 404, Code: "playbook_not_found", Message: message + "; apply it first: replictl apply -f FILE"}
	}
	if err != nil {
		return nil, fmt.Errorf("read playbook %s: %w", start.Playbook, err)
	}
	spec, err := playbook.Load(applied.Spec)
	if err != nil {
		return nil, fmt.Errorf("load playbook %s revision %d: %w", applied.Name, applied.Revision, err)
	}
	params, problems := spec.BindParams(start.Params)
	if len(problems) > 0 {
		return nil, &record.RejectedError{Status: 422, Code: "bad_params", Message: problems.Error(), Problems: problems}
	}
	known := l.inventory.Known(start.Cluster)
	if len(known) == 0 {
		return nil, &record.RejectedError{Status: 422, Code: "no_nodes", Message: fmt.Sprintf(
			"cluster %s has no known nodes; replictl cluster list shows the clusters that have", start.Cluster)}
	}
	id, err := uuid.NewV7()
	if err != nil {
		return nil, err
	}
	now := record.Now()
	run := record.Run{
		ID: id.String(), Cluster: start.Cluster, Params: params, State: record.RunPending, Reason: start.Reason,
		Playbook: record.PlaybookCopy{
			Name: applied.Name, Version: applied.Version, Revision: applied.Revision, Source: applied.Source, Spec: applied.Spec,
		},
		RequestedBy: request.Actor, IdempotencyKey: request.Key, Term: l.term.Term, CreatedTS: now, UpdateTS: now,
		Counts: map[record.NodeState]int{record.NodePending: len(known)}, Concurrency: spec.Concurrency,
		Seq: 1, Rev: 1, CommitID: fmt.Sprintf("%d.1", l.term.Term),
	}
	for _, stage := range spec.Stages {
		run.Stages = append(run.Stages, record.RunStage{Name: stage.Name, State: record.StagePending})
	}
	create := &record.Commit{ID: run.CommitID, Run: run, Nodes: make([]record.RunNode, len(known)), Events: []record.Event{{
		RunID: run.ID, Seq: 1, TS: now, Type: record.EventRunCreated, Actor: request.Actor, Data: record.Document{
			"playbook": applied.Name, "revision": applied.Revision, "nodes": int64(len(known)),
		},
	}}}
	for i := range known {
		create.Nodes[i] = record.RunNode{
			RunID: run.ID, Cluster: run.Cluster, Node: known[i].NodeID,
			State: record.NodePending, Membership: record.MemberKnown, Absent: !known[i].Present,
		}
	}
	if effect := effectOf(request, run.ID); effect != nil {
		create.Idempotency = []record.IdempotencyRecord{*effect}
	}
	return create, nil
}

// command puts an operator's word before the run's runner and waits for its answer, until ctx ends.
func (l *leadership) command(ctx context.Context, request record.Request, runID string, command record.Command) (record.Run, error) {
	word := post{
		input:  policy.Command{Command: command, Actor: request.Actor, Effect: effectOf(request, runID)},
		answer: make(chan answer, 1),
	}
	for {
		r, serve, err := l.runnerOf(ctx, runID)
		if err != nil {
			return record.Run{}, err
		}
		err = r.mailbox.Put(ctx, word)
		serve()
		if err == nil {
			select {
			case a := <-word.answer:
				if !errors.Is(a.err, errClosed) {
					return a.run, a.err
				}
			case <-ctx.Done():
				return record.Run{}, fmt.Errorf("%s run %s: no answer in time: %w", command.Verb, runID, store.ErrUnavailable)
			}
		} else if !errors.Is(err, errClosed) {
			return record.Run{}, fmt.Errorf("%s run %s: %w", command.Verb, runID, store.ErrUnavailable)
		}
		if l.ctx.Err() != nil {
			return record.Run{}, ErrNotLeading
		}
		sleep(ctx, 20*time.Millisecond) // its runner is being replaced
	}
}

// runnerOf is the run's runner, made if the run had ended and needed none. serve is to be called once the runner has its
// word: one that finds none has nothing to do, and goes.
func (l *leadership) runnerOf(ctx context.Context, runID string) (r *runner, serve func(), err error) {
	l.mu.Lock()
	r = l.runners[runID]
	l.mu.Unlock()
	if r != nil {
		return r, func() {}, nil
	}
	run, err := l.store.Run(ctx, runID)
	if err != nil {
		return nil, nil, fmt.Errorf("read run %s: %w", runID, err)
	}
	if run.FinishTS == nil {
		return nil, nil, fmt.Errorf("run %s is being taken over: %w", runID, store.ErrUnavailable)
	}
	c, err := l.claim(ctx, runID)
	if err != nil {
		return nil, nil, err
	}
	return c.runner, func() {
		if !l.own(c) {
			c.runner.mailbox.Close(false) // another word has made one meanwhile, or nobody leads
		}
	}, nil
}
