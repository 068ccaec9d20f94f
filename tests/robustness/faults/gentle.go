package faults

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/replicante-io/playbooks/internal/retry"
	"github.com/replicante-io/playbooks/tests/robustness/cluster"
)

// node is the node of an agent.
func (in *Injector) node(agent *cluster.Member) string {
	return in.Installation.Nodes[slices.Index(in.Installation.Agents, agent)]
}

func (in *Injector) slowProbe(ctx context.Context, f Fault, node string) error {
	if err := in.SetProbe(node, f.By); err != nil {
		return err
	}
	retry.Sleep(ctx, f.Lasts)
	return in.SetProbe(node, 0)
}

func stepClock(ctx context.Context, f Fault, m *cluster.Member) error {
	if err := m.StepClock(ctx, f.By); err != nil {
		return fmt.Errorf("%w: %w", errMissed, err)
	}
	retry.Sleep(ctx, f.Lasts)
	return m.StepClock(context.WithoutCancel(ctx), 0)
}

// skewNextLeader steps the clocks of the followers and kills the leader. The clock of the one that leads then is stepped back during
// its term.
func (in *Injector) skewNextLeader(ctx context.Context, f Fault) (string, error) {
	findCtx, cancel := context.WithTimeout(ctx, findTimeout)
	leader, err := in.Installation.Leader(findCtx)
	cancel()
	if err != nil {
		return "", fmt.Errorf("%w: %w", errMissed, err)
	}
	for _, m := range in.Installation.Replicas {
		if m == leader {
			continue
		}
		if err := m.StepClock(ctx, f.By); err != nil {
			return "", fmt.Errorf("%w: %w", errMissed, err)
		}
		defer func() {
			if err := m.StepClock(context.WithoutCancel(ctx), 0); err != nil {
				in.wrong("%v", err)
			}
		}()
	}
	leader.Kill()
	findCtx, cancel = context.WithTimeout(ctx, findTimeout)
	_, _ = in.Installation.Leader(findCtx)
	cancel()
	retry.Sleep(ctx, f.Lasts)
	return leader.Name, leader.Launch()
}

// makeHostile has a foreign agent say something that cannot be stored, or is too much.
func (in *Injector) makeHostile(ctx context.Context, f Fault) (string, error) {
	if len(in.Foreign) == 0 {
		return "", errMissed
	}
	agent := in.Foreign[f.Nth%len(in.Foreign)]
	values := cluster.HostileValues()
	names := slices.Sorted(maps.Keys(values))
	name := names[f.Nth%len(names)]
	// Without etcd the key stays as it is; the answers are hostile all the same.
	if err := agent.SetHostile(ctx, values[name]); err != nil {
		in.Log("%v", err)
	}
	retry.Sleep(ctx, f.Lasts)
	if err := agent.SetHostile(context.WithoutCancel(ctx), ""); err != nil {
		in.Log("%v", err)
	}
	return agent.Node + " with " + name, nil
}
