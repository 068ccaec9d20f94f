package agent

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/hashicorp/go-hclog"

	"github.com/replicante-io/playbooks/agent/wire"
)

var (
	errNotReady   = errors.New("the agent is not ready")
	errQueueFull  = errors.New("the agent's queue is full")
	errAgentStops = errors.New("the agent stopped while the action ran")
	errTimeout    = errors.New("the action's time is over")
)

// invalidError says what is wrong with a request.
type invalidError struct{ message string }

func (e *invalidError) Error() string { return e.message }

func invalid(format string, args ...any) error {
	return &invalidError{message: fmt.Sprintf(format, args...)}
}

// killed is why an action's context ends when a cancel ends it.
type killed struct{ code string }

func (k *killed) Error() string { return "the action was ended on request" }

const (
	maxQueue = 1000
	// journalRetry is how long a worker waits before it writes again what could not be written.
	journalRetry = time.Second
)

// task is an action that was accepted and has not ended. entry and stop are written with Agent.change and Agent.mu held
// and read with either; an entry is replaced, never changed.
type task struct {
	id    string
	kind  string
	entry *entry
	run   execution
	ended chan struct{}
	stop  context.CancelCauseFunc // while it runs
}

var actionID = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$`)

// canonicalID gives UUIDs their usual form, so that one ID has one spelling.
func canonicalID(id string) (string, error) {
	if !actionID.MatchString(id) {
		return "", invalid("%q is no action ID: use a UUID", id)
	}
	if len(id) == 36 && uuid.Validate(id) == nil {
		return strings.ToLower(id), nil
	}
	return id, nil
}

// accept puts an action into the journal and the queue. Its ID is never accepted again.
func (a *Agent) accept(request wire.ActionRequest) (string, error) {
	sender, err := readFence(request.Metadata)
	if err != nil {
		return "", invalid("%s", err)
	}
	id := uuid.NewString()
	if request.ID != "" {
		if id, err = canonicalID(request.ID); err != nil {
			return "", err
		}
	}

	a.change.Lock()
	defer a.change.Unlock()
	if !a.isOpen() {
		return "", errNotReady
	}
	if err := a.admit(sender); err != nil {
		return "", err
	}
	if _, known, err := a.journal.find(id); err != nil {
		return "", fmt.Errorf("look for action %s in the journal: %w", id, err)
	} else if known {
		return "", wire.ErrExists
	}
	run, err := a.prepare(request)
	if err != nil {
		return "", err
	}
	if a.queued() >= maxQueue {
		return "", errQueueFull
	}
	now := time.Now().UTC()
	created := request.CreatedTime.UTC()
	if created.IsZero() {
		created = now
	}
	a.nextSeq++
	t := &task{id: id, kind: request.Kind, run: run, ended: make(chan struct{}), entry: &entry{Seq: a.nextSeq, Action: wire.Action{
		ID: id, Kind: request.Kind, Args: request.Args, Metadata: request.Metadata,
		CreatedTime: created, ScheduledTime: &now, State: wire.State{Phase: wire.PhaseNew},
	}}}
	if err := a.journal.write(change{put: t.entry}); err != nil {
		return "", fmt.Errorf("write action %s to the journal: %w", id, err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.live == nil {
		a.live = map[string]*task{}
	}
	a.live[id] = t
	a.queue = append(a.queue, t)
	if !a.working {
		a.working = true
		a.workers.Go(a.work)
	}
	return id, nil
}

// cancel makes sure that an action does not start any more, and with kill that it ends. ended is closed when it has, nil
// if it was told so already.
func (a *Agent) cancel(id string, request wire.CancelRequest) (ended <-chan struct{}, err error) {
	sender, err := readFence(request.Metadata)
	if err != nil {
		return nil, invalid("%s", err)
	}
	code := request.Code
	switch code {
	case "":
		code = wire.CodeCancelled
	case wire.CodeCancelled, wire.CodeTimeout:
	default:
		return nil, invalid("code is %q: it is %s or %s", code, wire.CodeTimeout, wire.CodeCancelled)
	}

	a.change.Lock()
	defer a.change.Unlock()
	if !a.isOpen() {
		return nil, errNotReady
	}
	if err := a.admit(sender); err != nil {
		return nil, err
	}
	a.mu.Lock()
	t := a.live[id]
	if t != nil && t.stop != nil {
		if request.Kill {
			t.stop(&killed{code: code})
		}
		a.mu.Unlock()
		return t.ended, nil
	}
	a.mu.Unlock()
	if t == nil {
		return nil, a.forbid(id, request)
	}
	e := *t.entry
	e.fail(code, "the action was cancelled before it started")
	if err := a.journal.write(change{put: &e}); err != nil {
		return nil, fmt.Errorf("write the cancel of action %s to the journal: %w", id, err)
	}
	a.conclude(t, &e)
	return nil, nil
}

// forbid remembers an ID that was not seen yet, so that it will be refused. Called with change held.
func (a *Agent) forbid(id string, request wire.CancelRequest) error {
	if _, known, err := a.journal.find(id); err != nil {
		return fmt.Errorf("look for action %s in the journal: %w", id, err)
	} else if known {
		return nil
	}
	now := time.Now().UTC()
	e := &entry{Action: wire.Action{ID: id, Metadata: request.Metadata, CreatedTime: now, ScheduledTime: &now}}
	e.fail(wire.CodeNeverStarted, "the action was cancelled before this agent heard of it")
	if err := a.journal.write(change{put: e}); err != nil {
		return fmt.Errorf("write the cancel of action %s to the journal: %w", id, err)
	}
	return nil
}

// look tells how an action is. ended is closed once it has ended, nil if it has.
func (a *Agent) look(id string) (action wire.Action, ended <-chan struct{}, err error) {
	a.mu.Lock()
	if a.state != stateOpen {
		a.mu.Unlock()
		return action, nil, errNotReady
	}
	if t := a.live[id]; t != nil {
		defer a.mu.Unlock()
		return t.entry.Action, t.ended, nil
	}
	a.mu.Unlock()
	e, _, err := a.journal.find(id)
	if err != nil {
		return action, nil, fmt.Errorf("look for action %s in the journal: %w", id, err)
	}
	if e == nil {
		return action, nil, wire.ErrNotFound
	}
	return e.Action, nil, nil
}

// pending lists what has not ended, in order.
func (a *Agent) pending() ([]wire.ActionSummary, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.state != stateOpen {
		return nil, errNotReady
	}
	list := make([]wire.ActionSummary, len(a.queue))
	for i, t := range a.queue {
		list[i] = t.entry.summary()
	}
	return list, nil
}

func (a *Agent) isOpen() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.state == stateOpen
}

func (a *Agent) queued() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.queue)
}

// work runs what is queued, one after the other, until nothing is or the agent is closed.
func (a *Agent) work() {
	for {
		t, ctx := a.next()
		if t == nil {
			return
		}
		a.facts.expire()
		a.log.Info("action starts", "action", t.id, "kind", t.kind)
		if a.cfg.OnStart != nil {
			a.cfg.OnStart(t.entry.Action)
		}
		state := t.run(ctx, t)
		a.facts.expire()
		a.finish(t, state)
		a.log.Info("action ended", "action", t.id, "phase", state.Phase, "error", hclog.Fmt("%s", state.Error))
	}
}

// next writes down that the first of the queue is started, and returns it. nil: there is nothing to start, and this worker
// is over.
func (a *Agent) next() (*task, context.Context) {
	for {
		t, ctx, err := a.start()
		if err == nil {
			return t, ctx
		}
		a.log.Error("action waits: the journal cannot be written", "error", err)
		a.rest()
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

// amend replaces what is known of a running action; what it says survives a crash once amend returns nil.
func (a *Agent) amend(t *task, durable bool, amendment func(*entry)) error {
	a.change.Lock()
	defer a.change.Unlock()
	e := *t.entry
	amendment(&e)
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

// finish writes down how an action ended, and only then lets it be seen. It does not give up before the agent is closed.
func (a *Agent) finish(t *task, state wire.State) {
	for {
		err := a.tryFinish(t, state)
		if err == nil {
			return
		}
		a.log.Error("the end of an action cannot be written to the journal", "action", t.id, "error", err)
		if !a.rest() {
			return // the next life will find it started, and report it lost
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
	a.purge(time.Now())
	return nil
}

// conclude shows a task's end, which is in the journal.
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

// rest waits before the journal is tried again; false when the agent is closed.
func (a *Agent) rest() bool {
	timer := time.NewTimer(journalRetry)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-a.closing:
		return false
	}
}
