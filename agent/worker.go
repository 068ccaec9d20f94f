package agent

import (
	"context"
	"fmt"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/replicante-io/playbooks/agent/wire"
	"github.com/replicante-io/playbooks/internal/failpoint"
)

// journalInterval is how long a worker waits before it repeats a write to the journal that failed.
const journalInterval = time.Second

// work runs the queued actions, one after the other, until the queue is empty or the agent is closed.
func (a *Agent) work() {
	for {
		t, ctx := a.next()
		if t == nil {
			return
		}
		a.facts.invalidate()
		a.log.Info("action starts", "action", t.id, "kind", t.kind)
		if a.cfg.OnStart != nil {
			a.cfg.OnStart(t.entry.Action)
		}
		state := t.run(ctx, t)
		a.facts.invalidate()
		a.finish(t, state)
		ended := []any{"action", t.id, "phase", state.Phase, "error", hclog.Fmt("%s", state.Error)}
		if line := lastLine(state.StderrTail); line != "" && state.Phase == wire.PhaseFailed {
			ended = append(ended, "stderr", line)
		}
		a.log.Info("action ended", ended...)
	}
}

// next writes the start of the first action of the queue to the journal, and returns the action. It returns nil where there is
// none: this worker then ends.
func (a *Agent) next() (*task, context.Context) {
	for {
		t, ctx, err := a.start()
		if err == nil {
			return t, ctx
		}
		a.log.Error("action cannot start: the journal cannot be written", "error", err)
		a.waitForJournal()
	}
}

func (a *Agent) start() (*task, context.Context, error) {
	a.change.Lock()
	defer a.change.Unlock()
	a.mu.Lock()
	if a.state != stateOpen || len(a.queue) == 0 {
		a.working = false
		a.mu.Unlock()
		return nil, nil, nil
	}
	t := a.queue[0]
	a.mu.Unlock()
	e := *t.entry
	e.Action.State.Phase = wire.PhaseRunning
	if err := a.journal.write(change{put: &e}); err != nil {
		return nil, nil, fmt.Errorf("write the start of action %s to the journal: %w", e.Action.ID, err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	ctx, stop := context.WithCancelCause(context.Background())
	t.entry, t.stop = &e, stop
	return t, ctx, nil
}

// update changes the entry of a running action. With durable, the change survives a crash once update returns nil.
func (a *Agent) update(t *task, durable bool, modify func(*entry)) error {
	a.change.Lock()
	defer a.change.Unlock()
	e := *t.entry
	modify(&e)
	if durable {
		if err := a.journal.write(change{put: &e}); err != nil {
			return err
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	t.entry = &e
	return nil
}

// finish writes the end of an action to the journal, and only then shows it. It repeats that until the agent is closed.
func (a *Agent) finish(t *task, state wire.State) {
	for {
		err := a.tryFinish(t, state)
		if err == nil {
			return
		}
		a.log.Error("end of an action cannot be written to the journal", "action", t.id, "error", err)
		if !a.waitForJournal() {
			return // the next process finds it started, and reports it as lost
		}
	}
}

func (a *Agent) tryFinish(t *task, state wire.State) error {
	a.change.Lock()
	defer a.change.Unlock()
	e := *t.entry
	e.Process = nil
	e.end(state)
	if err := a.journal.write(change{put: &e}); err != nil {
		return err
	}
	t.stop(nil)
	a.conclude(t, &e)
	a.purge(failpoint.Wall())
	return nil
}

// conclude shows the end of a task, which is in the journal.
func (a *Agent) conclude(t *task, e *entry) {
	a.mu.Lock()
	defer a.mu.Unlock()
	t.entry = e
	delete(a.live, e.Action.ID)
	for i, other := range a.queue {
		if other == t {
			a.queue = append(a.queue[:i:i], a.queue[i+1:]...)
			break
		}
	}
	if len(a.queue) == 0 {
		a.queue = nil
	}
	close(t.ended)
}

// waitForJournal waits before a write to the journal is repeated. It returns false where the agent is closed.
func (a *Agent) waitForJournal() bool {
	timer := time.NewTimer(journalInterval)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-a.closing:
		return false
	}
}
