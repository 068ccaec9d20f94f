package faults

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/replicante-io/playbooks/internal/retry"
)

// breakMongod breaks and repairs members of the replica set.
func (in *Injector) breakMongod(ctx context.Context, f Fault) (string, error) {
	set := in.Installation.ReplicaSet
	primary, err := set.Primary()
	if err != nil {
		return "", fmt.Errorf("%w: %w", errMissed, err)
	}
	chosen := []int{primary}
	switch f.Target {
	case Secondary:
		chosen = []int{(primary + 1 + f.Nth%(len(set.Members)-1)) % len(set.Members)}
	case MongodQuorum:
		for i := range len(set.Members) / 2 {
			chosen = append(chosen, (primary+1+i)%len(set.Members))
		}
	}
	names := ""
	for _, i := range chosen {
		m := set.Members[i]
		names += fmt.Sprintf(" mongod-%d", i+1)
		switch f.Action {
		case Kill:
			m.Kill()
		case Terminate:
			_ = m.Terminate(terminateTimeout)
		case Freeze:
			m.Freeze()
			defer m.Thaw()
		}
	}
	retry.Sleep(ctx, f.Lasts)
	if f.Action == Freeze {
		return names[1:], nil
	}
	var starting sync.WaitGroup
	errs := make([]error, len(chosen))
	for at, i := range chosen {
		starting.Go(func() { errs[at] = set.Members[i].Start() })
	}
	starting.Wait()
	if err := errors.Join(errs...); err != nil {
		in.wrong("%v", err)
	}
	return names[1:], nil
}
