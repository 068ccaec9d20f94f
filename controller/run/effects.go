package run

import (
	"context"
	"time"

	"github.com/replicante-io/playbooks/controller/cluster"
	"github.com/replicante-io/playbooks/controller/policy"
	"github.com/replicante-io/playbooks/internal/retry"
	"github.com/replicante-io/playbooks/record"
)

// execute begins to carry out effects and returns what the cluster's capacity answered. It never blocks. With resumed, agents may have
// what is to be started: another leader may have sent it.
func (r *Runner) execute(ctx context.Context, effects policy.Effects, resumed bool) (answers []policy.Input) {
	if effects.WithdrawLocks {
		r.Capacity.Withdraw(r.cluster, r.id)
	}
	if effects.EnterQueue {
		run := r.plan.Run()
		r.Capacity.Enqueue(&run, r.mailbox)
		r.Inventory.WithPresent(r.cluster, func(present []record.Node) { r.mailbox.Members(true, present, nil) }) // an ended run does not follow them
	}
	if len(effects.UnlockNodes) > 0 {
		r.Capacity.Unlock(r.cluster, r.id, effects.UnlockNodes)
	}
	if len(effects.UnsettledNodes) > 0 {
		r.Capacity.MarkUnsettled(r.cluster, r.id, effects.UnsettledNodes)
	}
	for _, node := range effects.AbandonActions {
		r.stopDispatch(node)
	}
	for i := range effects.StartActions {
		r.startDispatch(ctx, effects.StartActions[i], "", resumed)
	}
	for i := range effects.StopActions {
		r.startDispatch(ctx, effects.StopActions[i].ActionOrder, effects.StopActions[i].Code, resumed)
	}
	for _, key := range effects.CancelFacts {
		if stop := r.asking[key]; stop != nil {
			stop()
			delete(r.asking, key)
		}
	}
	for _, request := range effects.RequestFacts {
		askCtx, stop := context.WithCancel(ctx)
		r.asking[request.Key] = stop
		r.requests.Add(1)
		r.work.Go(func() {
			defer r.requests.Add(-1)
			r.askForFacts(askCtx, request)
		})
	}
	for _, request := range effects.LockNodes {
		answers = append(answers, r.lock(request))
	}
	return answers
}

func (r *Runner) stopDispatch(node string) {
	if before, any := r.dispatch[node]; any {
		before.stop()
		delete(r.dispatch, node)
	}
}

// startDispatch has an action sent and followed, or, with a code, stopped, instead of what was done about the node's action before.
func (r *Runner) startDispatch(ctx context.Context, order policy.ActionOrder, stopCode string, resumed bool) {
	before := r.dispatch[order.Node]
	r.stopDispatch(order.Node)
	actionCtx, stop := context.WithCancel(ctx)
	r.dispatch[order.Node] = dispatched{order.Action.ID, stop}
	d := &dispatcher{
		ActionOrder: order, stopCode: stopCode, agents: r.Agents, limiter: r.Limiter, cluster: r.cluster, term: r.Term.Term,
		installation: r.Term.Installation, patience: r.plan.Grace(), sent: resumed || before.actionID == order.Action.ID,
		higherTerm: func(term int64) bool {
			return r.HigherTerm(record.NodeKey{Cluster: r.cluster, Node: order.Node}, term)
		},
		report: func(input policy.Input) bool { return r.mailbox.Put(actionCtx, post{input: input}) == nil },
	}
	r.actions.Add(1)
	r.work.Add(1)
	d.Start(actionCtx, func() {
		stop()
		r.actions.Add(-1)
		r.work.Done()
	})
}

// lock asks the cluster's capacity for the nodes of a batch.
func (r *Runner) lock(request policy.LockRequest) policy.Input {
	answer := r.Capacity.Lock(r.cluster, r.id, cluster.Request{Nodes: request.Nodes, Limit: (*cluster.Limit)(request.Limit)}, r.mailbox)
	switch {
	case len(answer.Out) > 0:
		over := policy.OverLimit{LockRequest: request, Outdated: answer.Outdated}
		for _, out := range answer.Out {
			over.Out = append(over.Out, policy.Out{Node: out.Node, Status: out.Status, Holder: policy.Holder(out.Holder)})
		}
		return over
	case len(answer.Holders) > 0:
		refused := policy.NotLocked{LockRequest: request, Holders: make(map[string]policy.Holder, len(answer.Holders))}
		for node, holder := range answer.Holders {
			refused.Holders[node] = policy.Holder(holder)
		}
		return refused
	}
	request.Nodes = answer.Locked
	return policy.Locked{LockRequest: request}
}

// askForFacts asks agents until the plan needs their answers no longer.
func (r *Runner) askForFacts(ctx context.Context, request policy.FactRequest) {
	look := r.Inventory.NewLook(r.cluster)
	for {
		nodes := request.Nodes
		if request.All {
			nodes = r.Inventory.Names(r.cluster)
		}
		facts := look.Round(ctx, nodes)
		if ctx.Err() != nil || r.mailbox.Put(ctx, post{input: policy.Facts{Key: request.Key, ID: request.ID, Nodes: facts}}) != nil {
			return
		}
		if !retry.Sleep(ctx, max(request.Every, 100*time.Millisecond)) {
			return
		}
	}
}

// Members tells the run which nodes of its cluster have a live key. It does not block.
func (r *Runner) Members(complete bool, present []record.Node, gone []string) {
	r.mailbox.Members(complete, present, gone)
}

// Post gives the run what an operator wants, also before it runs, and returns what waits for the answer.
func (r *Runner) Post(ctx context.Context, input policy.Input) (wait func(ctx context.Context) (record.Run, error)) {
	p := post{input: input, answer: make(chan answer, 1)}
	err := r.mailbox.Put(ctx, p)
	return func(ctx context.Context) (record.Run, error) {
		if err != nil {
			return record.Run{}, err
		}
		return p.wait(ctx)
	}
}

// Command tells the run what an operator wants, and returns the run once that is committed. A command that the run's state does not
// allow is a *record.RejectedError. ErrClosed means that the runner has ended first.
func (r *Runner) Command(ctx context.Context, command policy.Command) (record.Run, error) {
	return r.Post(ctx, command)(ctx)
}

// Forget has what may still run on a node written off, and returns once that is committed: an operator forgets the node. ErrClosed
// means that the runner has ended first.
func (r *Runner) Forget(ctx context.Context, node, actor string) error {
	_, err := r.Post(ctx, policy.Forgotten{Node: node, Actor: actor})(ctx)
	return err
}

// wait waits for the answer to a command.
func (p *post) wait(ctx context.Context) (record.Run, error) {
	select {
	case a := <-p.answer:
		return a.run, a.err
	case <-ctx.Done():
		return record.Run{}, ctx.Err()
	}
}
