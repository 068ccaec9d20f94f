package controller

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"

	"github.com/replicante-io/playbooks/controller/policy"
	"github.com/replicante-io/playbooks/controller/run"
	"github.com/replicante-io/playbooks/internal/failpoint"
	"github.com/replicante-io/playbooks/playbook"
	"github.com/replicante-io/playbooks/record"
	"github.com/replicante-io/playbooks/store"
)

// replay answers a request that was carried out before.
func (t *term) replay(ctx context.Context, done record.IdempotencyRecord) (record.Run, error) {
	if done.RunID == "" {
		return record.Run{}, nil
	}
	run, err := t.shared.Store.Run(ctx, done.RunID)
	if err != nil {
		return record.Run{}, fmt.Errorf("read run %s: %w", done.RunID, err)
	}
	return run, nil
}

// start creates a run, with a record for every known node, and queues it.
func (t *term) start(ctx context.Context, request record.Request, start record.RunRequest, key *record.IdempotencyRecord) (record.Run, error) {
	overridden, err := t.checkFreeze(start)
	if err != nil {
		return record.Run{}, err
	}
	create, _, err := t.prepare(ctx, request, start, false)
	if err != nil {
		return record.Run{}, err
	}
	if overridden != nil {
		create.Run.Seq++
		overridden.RunID, overridden.Seq, overridden.TS, overridden.Actor = create.Run.ID, create.Run.Seq, create.Run.CreatedTS, request.Actor
		create.Events = append(create.Events, *overridden)
	}
	if key != nil {
		key.RunID = create.Run.ID
		create.Idempotency = []record.IdempotencyRecord{*key}
	}
	if by := t.enter(&create.Run, start.IfBusy == "fail"); by != "" {
		return record.Run{}, &record.RejectedError{Code: record.CodeClusterBusy, Data: record.Document{"cluster": start.Cluster, "run": by}}
	}
	if err := t.create(ctx, create); err != nil {
		t.shared.Capacity.Leave(create.Run.Cluster, create.Run.ID)
		if errors.Is(err, store.ErrStaleTerm) {
			t.fail(err)
		}
		return record.Run{}, fmt.Errorf("create run %s: %w", create.Run.ID, err)
	}
	failpoint.Point(failpoint.Created)
	t.own(t.runner(claimed{run: run.Snapshot(create.Run), nodes: create.Nodes, isNew: true}, policy.Refused{}))
	return run.Snapshot(create.Run), nil
}

// enter gives a new run its place in the queue, unless it has to be approved first. With ifFree it is refused where another run is in the way now.
func (t *term) enter(r *record.Run, ifFree bool) (inTheWay string) {
	if r.State != record.RunPendingApprove {
		return t.shared.Capacity.Enter(r, ifFree)
	}
	if ifFree {
		return t.shared.Capacity.InTheWay(r)
	}
	return ""
}

// create stores a run, and tries again while the store does not answer.
func (t *term) create(ctx context.Context, create *record.Commit) error {
	failpoint.Point(failpoint.Creating)
	first := true
	return retryUnavailable(ctx, func() error {
		ctx, cancel := context.WithTimeout(ctx, 6*run.CommitTimeout)
		defer cancel()
		err := t.shared.Store.Create(ctx, t.shared.Term.Term, *create)
		if errors.Is(err, store.ErrExists) && !first { // an earlier try may have been stored
			if there, readErr := t.shared.Store.Run(ctx, create.Run.ID); readErr == nil && there.CommitID == create.ID {
				return nil
			} else if readErr != nil && !errors.Is(readErr, store.ErrNotFound) {
				return readErr
			}
		}
		first = false
		return err
	})
}

// prepare makes the run, with its own copy of the playbook and a record for every known node, which it returns as well. With looks, their
// agents are asked what they are like now, whether or not a check needs it.
func (t *term) prepare(ctx context.Context, request record.Request, start record.RunRequest, looks bool) (*record.Commit, []record.Node, error) {
	applied, spec, err := t.playbook(ctx, start)
	if err != nil {
		return nil, nil, err
	}
	params, problems := spec.BindParams(start.Params)
	if len(problems) > 0 {
		return nil, nil, &record.RejectedError{Code: record.CodeBadParams, Problems: problems}
	}
	known := t.shared.Inventory.Known(start.Cluster)
	if len(known) == 0 {
		return nil, nil, &record.RejectedError{Code: record.CodeNoNodes, Data: record.Document{"cluster": start.Cluster}}
	}
	selected, known, err := t.selectNodes(ctx, spec, params, start, known, looks)
	if err != nil {
		return nil, nil, err
	}
	if err := t.checkActions(ctx, spec, selectedOf(known, selected)); err != nil {
		return nil, nil, err
	}
	id, err := uuid.NewV7()
	if err != nil {
		return nil, nil, err
	}
	now, term := t.shared.Clock.Now(), t.shared.Term.Term
	run := record.Run{
		ID: id.String(), Cluster: start.Cluster, Params: params, State: record.RunPending, Reason: start.Reason,
		Where: start.Where, Nodes: start.Nodes, OverrideFreeze: start.OverrideFreeze,
		Playbook: record.PlaybookCopy{
			Name: applied.Name, Version: applied.Version, Revision: applied.Revision, Source: applied.Source, Spec: applied.Spec,
		},
		RequestedBy: request.Actor, IdempotencyKey: request.Key, Term: term, CreatedTS: now, UpdateTS: now,
		Counts: map[record.NodeState]int{record.NodePending: len(selected)}, Concurrency: spec.Concurrency,
		Stages: policy.NewStages(spec), Seq: 1, Rev: 1, CommitID: fmt.Sprintf("%d.1", term),
	}
	create := &record.Commit{ID: run.CommitID, Run: run, Nodes: make([]record.RunNode, len(known)), Events: []record.Event{{
		RunID: run.ID, Seq: 1, TS: now, Type: record.EventRunCreated, Actor: request.Actor, Data: record.Document{
			"playbook": applied.Name, "revision": applied.Revision, "nodes": int64(len(selected)),
		},
	}}}
	for i := range known {
		create.Nodes[i] = record.RunNode{
			RunID: run.ID, Cluster: run.Cluster, Node: known[i].NodeID,
			State: record.NodePending, Membership: record.MemberKnown, Absent: !known[i].Present,
		}
	}
	leaveOut(create, selected)
	policy.AwaitApproval(create, spec)
	return create, known, nil
}

// playbook is the revision that a run is requested of.
func (t *term) playbook(ctx context.Context, start record.RunRequest) (record.Playbook, *playbook.Spec, error) {
	applied, err := t.shared.Store.Playbook(ctx, start.Playbook, start.Revision)
	if errors.Is(err, store.ErrNotFound) {
		data := record.Document{"playbook": start.Playbook}
		if start.Revision != 0 {
			data["revision"] = start.Revision
		}
		return applied, nil, &record.RejectedError{Code: record.CodePlaybookNotFound, Data: data}
	}
	if err != nil {
		return applied, nil, fmt.Errorf("read playbook %s: %w", start.Playbook, err)
	}
	spec, err := playbook.Load(applied.Spec)
	if rejected := unknownFeature(err, record.Document{"playbook": applied.Name, "revision": applied.Revision}); rejected != nil {
		return applied, nil, rejected
	}
	if err != nil {
		return applied, nil, fmt.Errorf("load playbook %s revision %d: %w", applied.Name, applied.Revision, err)
	}
	return applied, spec, nil
}
