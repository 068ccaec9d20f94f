package faults

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/replicante-io/playbooks/internal/failpoint"
	"github.com/replicante-io/playbooks/internal/retry"
	"github.com/replicante-io/playbooks/tests/robustness/cluster"
)

// pointTimeout bounds how long a failpoint is armed.
const pointTimeout = 8 * time.Second

// passedByWinner reports whether a point is passed by a replica that has just won the election.
func passedByWinner(point string) bool {
	return point == failpoint.Elected || point == failpoint.Claimed
}

// breakAtPoint arms a failpoint in these replicas, waits until the first of them is killed or stopped there, and repairs it.
func (in *Injector) breakAtPoint(ctx context.Context, f Fault, members ...*cluster.Member) (string, error) {
	do := "kill"
	if f.Action == StopAtPoint {
		do = "stop"
	}
	var armed []*cluster.Member
	for _, m := range members {
		if m.Running() && m.Arm(ctx, f.Point, f.Nth, do) == nil {
			armed = append(armed, m)
		}
	}
	defer func() { in.disarm(context.WithoutCancel(ctx), f.Point, armed) }()
	if passedByWinner(f.Point) {
		for _, m := range in.Installation.Replicas {
			if slices.Contains(members, m) {
				continue
			}
			m.Kill() // the leader, so that one of the others wins
			defer func() {
				if err := m.Launch(); err != nil {
					in.wrong("%v", err)
				}
			}()
		}
	}
	if f.Point == failpoint.Creating || f.Point == failpoint.Created {
		in.StartExtraRun()
	}
	for deadline := time.Now().Add(pointTimeout); ; {
		for i, m := range armed {
			killed, stopped := !m.Running(), m.Frozen()
			if !killed && !stopped {
				continue
			}
			in.disarm(ctx, f.Point, append(armed[:i:i], armed[i+1:]...))
			armed = nil
			if stopped {
				defer m.Thaw()
				findCtx, cancel := context.WithTimeout(ctx, 4*in.LeaseTTL)
				_, _ = in.Installation.Leader(findCtx) // the stopped one does not answer
				cancel()
			}
			retry.Sleep(ctx, f.Lasts)
			if killed {
				return m.Name, m.Launch()
			}
			return m.Name, nil
		}
		if time.Now().After(deadline) || !retry.Sleep(ctx, 10*time.Millisecond) {
			return "", fmt.Errorf("%w: the point was not passed", errMissed)
		}
	}
}

// disarm disarms a failpoint. A replica that was killed or stopped meanwhile is repaired at once.
func (in *Injector) disarm(ctx context.Context, point string, members []*cluster.Member) {
	for _, m := range members {
		if m.Running() && !m.Frozen() {
			_ = m.Disarm(ctx, point)
		}
		m.Thaw()
		if !m.Running() {
			if err := m.Launch(); err != nil {
				in.wrong("%v", err)
			}
		}
	}
}
