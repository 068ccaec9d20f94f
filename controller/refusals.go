package controller

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/replicante-io/playbooks/controller/policy"
	"github.com/replicante-io/playbooks/record"
	"github.com/replicante-io/playbooks/store"
)

const (
	// maxRefusals is how often what fails for a reason that is not known is tried in all, before it counts as refused.
	maxRefusals = 5
	// refusalMemory is for how long such a failure counts.
	refusalMemory = time.Minute
)

// refusals are what the store has refused of a run in this term. First the nodes whose records it does not take end, then the run.
type refusals struct {
	policy.Refused
	failures int // for reasons that are not known
	last     time.Time
}

// note notes why a runner has ended. It is false when there is nothing left to try.
func (f *refusals) note(err error) bool {
	for _, passes := range []error{store.ErrConflict, store.ErrUnavailable, store.ErrUnusable, store.ErrExists, store.ErrKeyReused, context.DeadlineExceeded} {
		if errors.Is(err, passes) {
			return true
		}
	}
	var of *store.RecordError
	if errors.As(err, &of) && f.Nodes[of.Node] == "" {
		nodes := maps.Clone(f.Nodes)
		if nodes == nil {
			nodes = map[string]string{}
		}
		nodes[of.Node] = record.CleanText(of.Err.Error(), record.MaxReason)
		f.Nodes = nodes
		return true
	}
	if !errors.Is(err, store.ErrNotStorable) {
		if time.Since(f.last) > refusalMemory {
			f.failures = 0
		}
		f.last = time.Now()
		if f.failures++; f.failures < maxRefusals {
			return true
		}
	}
	if f.Run != "" {
		return false
	}
	f.Run, f.failures = record.CleanText(err.Error(), record.MaxReason), 0
	return true
}

// leave has this leader do nothing more about a run: it can be neither advanced nor ended. The run keeps what it has locked, and its
// place among the runs of its cluster, until another leader can do more.
func (t *term) leave(ctx context.Context, id string, err error) {
	t.mu.Lock()
	t.left[id] = &record.RejectedError{Code: record.CodeNotStorable, Data: record.Document{"run": id, "error": err.Error()}}
	t.mu.Unlock()
	t.log.Error("a run can neither be advanced nor ended; this leader leaves it alone, and others of its cluster may wait for it: "+
		"see \"a run that cannot be stored\" in docs/operations.md", "run", id, "error", err)
	t.recordLeft(ctx, id, record.CodeNotStorable, err)
}

// claimOrLeave claims a run; it leaves one whose records cannot be read, which is false.
func (t *term) claimOrLeave(ctx context.Context, id string) (claimed, bool, error) {
	backoff := store.Backoff()
	for try := 1; ; try++ {
		c, err := t.claim(ctx, id)
		switch {
		case err == nil:
			return c, true, nil
		case ctx.Err() != nil, errors.Is(err, store.ErrStaleTerm), errors.Is(err, store.ErrNotFound):
			return c, false, err
		case try == maxRefusals:
			t.leave(ctx, id, err)
			return c, false, nil
		case !backoff.Wait(ctx):
			return c, false, fmt.Errorf("claim run %s: %w", id, ctx.Err())
		}
	}
}
