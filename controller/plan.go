package controller

import (
	"context"
	"time"

	"github.com/replicante-io/playbooks/controller/policy"
	"github.com/replicante-io/playbooks/record"
)

// planTime bounds the simulation of a plan; what it has come to by then is the plan.
const planTime = 12 * time.Second

// Plan is what the run would do that a request asks for. It is rejected as Start would reject it, except that a cluster may be busy or frozen.
// Nothing is created.
func (c *Controller) Plan(ctx context.Context, request record.Request, start record.RunRequest) (record.Plan, error) {
	t, err := c.current()
	if err != nil {
		return record.Plan{}, err
	}
	type answer struct {
		plan record.Plan
		err  error
	}
	done := make(chan answer, 1)
	if !t.spawn(func(term context.Context) error {
		term, cancel := context.WithCancel(term)
		defer cancel()
		defer context.AfterFunc(ctx, cancel)()
		plan, err := t.plan(term, request, start)
		done <- answer{plan, err}
		return nil
	}) {
		return record.Plan{}, ErrNotLeading
	}
	select {
	case a := <-done:
		return a.plan, a.err
	case <-ctx.Done():
		return record.Plan{}, ctx.Err()
	}
}

func (t *term) plan(ctx context.Context, request record.Request, start record.RunRequest) (record.Plan, error) {
	create, known, err := t.prepare(ctx, request, start, true)
	if err != nil {
		return record.Plan{}, err
	}
	behind := t.shared.Capacity.InTheWay(&create.Run)
	simulation, err := policy.Simulate(policy.Config{Grace: t.grace}, create, known)
	if err != nil {
		return record.Plan{}, err
	}
	simulating, cancel := context.WithTimeout(ctx, planTime)
	defer cancel()
	var stopped *record.Error
	for simulation.Step() {
		if simulating.Err() != nil {
			stopped = &record.Error{Code: record.CodePlanTime, Data: record.Document{"within": planTime.String()}}
			break
		}
	}
	if ctx.Err() != nil {
		return record.Plan{}, ErrNotLeading // nothing says more to whoever asked
	}
	plan := simulation.Plan(stopped)
	plan.Behind = behind
	if held, until, found := t.freezes.holding(start.Cluster, t.wall()); found {
		plan.Freeze = &record.PlanFreeze{Name: held.Name, Reason: held.Spec.Reason, Until: until}
	}
	return plan, nil
}
