package agent

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/google/uuid"

	"github.com/replicante-io/playbooks/agent/wire"
	"github.com/replicante-io/playbooks/internal/failpoint"
)

var (
	errNotReady   = errors.New("the agent is not ready")
	errQueueFull  = errors.New("the agent's queue is full")
	errAgentStops = errors.New("the agent stopped while the action ran")
	errTimeout    = errors.New("the action timed out")
)

// invalidError is of a request that can never be carried out.
type invalidError struct{ message string }

func (e *invalidError) Error() string { return e.message }

func invalid(format string, args ...any) error {
	return &invalidError{message: fmt.Sprintf(format, args...)}
}

// killError is the cause of an action's context where a cancel ended it.
type killError struct{ code string }

func (k *killError) Error() string { return "the action was stopped by a cancel request" }

const maxQueue = 1000

// task is an action that was accepted and has not ended. entry and stop are written with both Agent.change and Agent.mu held,
// and read with either. An entry is replaced, never changed.
type task struct {
	id    string
	kind  string
	entry *entry
	run   execution
	ended chan struct{}
	stop  context.CancelCauseFunc // nil before it runs
}

var actionID = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$`)

// canonicalID writes UUIDs in lower case, so that an ID has one spelling.
func canonicalID(id string) (string, error) {
	if !actionID.MatchString(id) {
		return "", invalid("%q is not a valid action ID: use a UUID", id)
	}
	if len(id) == 36 && uuid.Validate(id) == nil {
		return strings.ToLower(id), nil
	}
	return id, nil
}

// accept adds an action to the journal and to the queue. Its ID is never accepted again.
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
		return "", fmt.Errorf("find action %s in the journal: %w", id, err)
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
	now := failpoint.Wall().UTC()
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

// cancel keeps an action from being started, and with Kill stops one that runs. ended is closed when the action has ended; nil
// where it has.
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
		return nil, invalid("code is %q; it must be %s or %s", code, wire.CodeTimeout, wire.CodeCancelled)
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
			t.stop(&killError{code: code})
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

// forbid records an ID that was not seen yet, so that it will be rejected. The caller holds change.
func (a *Agent) forbid(id string, request wire.CancelRequest) error {
	if _, known, err := a.journal.find(id); err != nil {
		return fmt.Errorf("find action %s in the journal: %w", id, err)
	} else if known {
		return nil
	}
	now := failpoint.Wall().UTC()
	e := &entry{Action: wire.Action{ID: id, Metadata: request.Metadata, CreatedTime: now, ScheduledTime: &now}}
	e.fail(wire.CodeNeverStarted, "the action was cancelled before this agent received it")
	if err := a.journal.write(change{put: e}); err != nil {
		return fmt.Errorf("write the cancel of action %s to the journal: %w", id, err)
	}
	return nil
}

// lookUp reads the state of an action. ended is closed when the action has ended; nil where it has.
func (a *Agent) lookUp(id string) (action wire.Action, ended <-chan struct{}, err error) {
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
		return action, nil, fmt.Errorf("find action %s in the journal: %w", id, err)
	}
	if e == nil {
		return action, nil, wire.ErrNotFound
	}
	return e.Action, nil, nil
}

// pending lists the actions that have not ended, in order.
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
