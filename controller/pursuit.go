package controller

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/replicante-io/playbooks/agent/wire"
	"github.com/replicante-io/playbooks/controller/policy"
	"github.com/replicante-io/playbooks/internal/failpoint"
	"github.com/replicante-io/playbooks/record"
)

const (
	callTimeout = 5 * time.Second
	// cancelTimeout is longer: an agent holds its answer while it stops what runs.
	cancelTimeout = 15 * time.Second
	// quickWait is how long an answer is awaited before the action is called accepted: most short ones end within it.
	quickWait = 20 * time.Millisecond
	// holdWait is how long an agent that is cut off can be taken for one whose action runs.
	holdWait = 10 * time.Second
	// silentAfter is when a run says that it waits for an agent; giveUpAfter when an action that was certainly never sent
	// is given up.
	silentAfter = 3 * time.Second
	giveUpAfter = 15 * time.Second
	maxPoll     = 2 * time.Second
	maxBackoff  = 5 * time.Second
)

// Agents' codes are ours: a policy knows only records.
var _ = map[bool]struct{}{
	false: {},
	record.CodeTimeout == wire.CodeTimeout && record.CodeCancelled == wire.CodeCancelled && record.CodeExit == wire.CodeExit &&
		record.CodeLost == wire.CodeLost && record.CodeNeverStarted == wire.CodeNeverStarted && record.CodeFailed == wire.CodeFailed: {},
}

// agents is what is asked of agents; agent/client does it. Its errors are those of agent/wire.
type agents interface {
	Post(ctx context.Context, agentURL string, action wire.ActionRequest) error
	Get(ctx context.Context, agentURL, id string, wait time.Duration) (wire.Action, error)
	Cancel(ctx context.Context, agentURL, id string, request wire.CancelRequest) (wire.CancelAnswer, error)
	NodeInfo(ctx context.Context, agentURL string) (wire.NodeInfo, error)
	StoreInfo(ctx context.Context, agentURL string) (wire.StoreInfo, error)
	ShardsInfo(ctx context.Context, agentURL string) (wire.ShardsInfo, error)
}

// pursuit is one action on its way: it repeats requests until its end is known, and never sends what it was not given.
type pursuit struct {
	policy.Pursuit
	agents       agents
	turns        *turns
	term         int64
	installation string
	// sent is true once the agent may have heard of the action; fresh actions start without.
	sent     bool
	accepted bool
	tell     func(policy.Input) bool // false: stop
	higher   func(term int64)        // an agent has seen a higher term

	asked   time.Time     // when it was asked last
	held    time.Duration // for how long it may hold its answer
	failing time.Time     // since when the agent has not answered
	silent  bool
	backoff time.Duration
}

// Start pursues the action until its end is told or ctx ends, and then calls over. It does not block, and has no goroutine
// before its turn, nor after it where the action ends at once.
func (p *pursuit) Start(ctx context.Context, over func()) {
	p.accepted = p.Action.State == record.ActionRunning
	if p.Cancel != "" {
		go func() {
			defer over()
			p.cancel(ctx)
		}()
		return
	}
	p.turns.Do(ctx, func() {
		delivered, await := p.tryDeliver(ctx)
		if delivered && !await {
			over()
			return
		}
		go func() {
			defer over()
			if delivered || p.deliver(ctx) {
				p.await(ctx)
			}
		}()
	}, over)
}

func (p *pursuit) metadata() map[string]string {
	metadata := map[string]string{wire.MetaTerm: strconv.FormatInt(p.term, 10), wire.MetaInstallation: p.installation}
	if p.Action.JournalID != "" {
		metadata[wire.MetaJournal] = p.Action.JournalID
	}
	return metadata
}

// deliver tries again until the agent has the action. It is false when there is nothing to await.
func (p *pursuit) deliver(ctx context.Context) bool {
	for ctx.Err() == nil {
		p.wait(ctx)
		var done, await bool
		p.turns.Wait(ctx, func() { done, await = p.tryDeliver(ctx) })
		if done {
			return await
		}
	}
	return false
}

// tryDeliver is one try, in its turn. done: there is no need for another; await: the agent has the action.
func (p *pursuit) tryDeliver(ctx context.Context) (done, await bool) {
	if p.sent {
		switch action, err := p.get(ctx, 0); {
		case err == nil:
			return true, !p.heard(action)
		case !errors.Is(err, wire.ErrNotFound):
			p.failed(err)
			return false, false
		case p.accepted:
			p.forgotten()
			return true, false
		}
	}
	failpoint.Point(failpoint.Sending)
	err := p.post(ctx)
	var fenced *wire.Fenced
	switch {
	case err == nil:
		p.sent, p.accepted = true, true
		failpoint.Point(failpoint.Sent)
		p.answered()
		action, err := p.get(ctx, quickWait)
		if err == nil && p.heard(action) {
			return true, false
		}
		await = p.tell(policy.Accepted{Node: p.Node, ActionID: p.Action.ID})
		if err != nil && !errors.Is(err, wire.ErrNotFound) {
			p.failed(err)
		}
		return true, await
	case errors.Is(err, wire.ErrExists):
		p.sent = true // what it has is looked at by the next try
		return false, false
	case errors.Is(err, wire.ErrRejected):
		p.end(record.ActionFailed, record.CodeRejected, "its agent rejects step "+p.Action.Step+": "+err.Error(), false)
		return true, false
	case errors.As(err, &fenced):
		return p.fenced(fenced), false
	case errors.Is(err, wire.ErrNotSent):
		p.failed(err)
		if !p.sent && time.Since(p.failing) > giveUpAfter {
			p.end(record.ActionFailed, record.CodeUnreachable, fmt.Sprintf("its agent at %s cannot be reached: %v", p.URL, err), false)
			return true, false
		}
	default:
		p.sent = true
		p.failed(err)
	}
	return false, false
}

func (p *pursuit) post(ctx context.Context) error {
	metadata := p.metadata()
	metadata[wire.MetaTimeout] = p.Action.DeadlineTS.Sub(p.Action.StartTS).String()
	args, err := json.Marshal(p.Action.Args)
	if err != nil {
		return fmt.Errorf("%w: %v", wire.ErrRejected, err)
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	p.asked, p.held = time.Now(), 0
	return p.agents.Post(ctx, p.URL, wire.ActionRequest{
		ID: p.Action.ID, Kind: p.Action.Kind, Args: args, CreatedTime: p.Action.StartTS, Metadata: metadata,
	})
}

func (p *pursuit) get(ctx context.Context, wait time.Duration) (wire.Action, error) {
	ctx, cancel := context.WithTimeout(ctx, wait+callTimeout)
	defer cancel()
	p.asked, p.held = time.Now(), wait
	return p.agents.Get(ctx, p.URL, p.Action.ID, wait)
}

// fenced tells what an agent's refusal means. It is true when the pursuit is over.
func (p *pursuit) fenced(fenced *wire.Fenced) bool {
	if fenced.Reason == wire.FencedJournal {
		if p.sent {
			p.end(record.ActionUnknown, record.CodeJournalChanged, "its agent has lost its journal: nobody knows whether step "+p.Action.Step+" ran", true)
		} else {
			p.end(record.ActionFailed, record.CodeJournalChanged, "its agent has another journal than the one that step "+p.Action.Step+" was meant for", false)
		}
		return true
	}
	if fenced.Term > p.term {
		p.higher(fenced.Term)
		return true
	}
	p.failed(fenced)
	return false
}

// forgotten is told by an agent that had accepted the action.
func (p *pursuit) forgotten() {
	p.end(record.ActionUnknown, record.CodeForgotten, "its agent no longer knows the action of step "+p.Action.Step+" that it had accepted", true)
}

// await hears of the action's end: by a held request, or by asking more and more rarely where the agent does not hold.
func (p *pursuit) await(ctx context.Context) {
	poll := 50 * time.Millisecond
	for ctx.Err() == nil {
		asked := time.Now()
		action, err := p.get(ctx, holdWait)
		switch {
		case err == nil && p.heard(action):
			return
		case err == nil:
			if p.answered(); time.Since(asked) < holdWait/2 {
				sleep(ctx, poll)
				poll = min(2*poll, maxPoll)
			}
		case errors.Is(err, wire.ErrNotFound):
			p.forgotten()
			return
		default:
			p.failed(err)
			p.wait(ctx)
		}
	}
}

// cancel makes the agent stop the action, or never start it, until it says that the action is over.
func (p *pursuit) cancel(ctx context.Context) {
	for ctx.Err() == nil {
		if p.tryCancel(ctx) {
			return
		}
		p.wait(ctx)
	}
}

func (p *pursuit) tryCancel(ctx context.Context) bool {
	p.asked, p.held = time.Now(), cancelTimeout-callTimeout
	callCtx, stop := context.WithTimeout(ctx, cancelTimeout)
	answer, err := p.agents.Cancel(callCtx, p.URL, p.Action.ID,
		wire.CancelRequest{Kill: p.Kill, Code: p.Cancel, Metadata: p.metadata()})
	stop()
	var fenced *wire.Fenced
	switch {
	case err == nil && answer.State.Phase.Ended():
		return p.heard(wire.Action{ID: p.Action.ID, Kind: p.Action.Kind, State: answer.State})
	case errors.As(err, &fenced) && fenced.Reason == wire.FencedJournal && !p.Action.State.InFlight():
		p.failed(fenced) // this agent cannot know whether the action is over; the one that can may come back
		return false
	case errors.As(err, &fenced):
		return p.fenced(fenced)
	case err != nil && !errors.Is(err, wire.ErrNotFound):
		p.failed(err)
		return false
	}
	// It is stopping, or the agent cannot cancel: its end is told in time.
	if action, err := p.get(ctx, 2*time.Second); err == nil {
		return p.heard(action)
	}
	return false
}

// heard tells an end that an agent reports. It is false while there is none.
func (p *pursuit) heard(action wire.Action) bool {
	p.answered()
	if action.Kind != p.Action.Kind {
		p.end(record.ActionFailed, record.CodeConflict, fmt.Sprintf("its agent has another action under this ID, of kind %s", action.Kind), false)
		return true
	}
	if !action.State.Phase.Ended() {
		return false
	}
	failpoint.Point(failpoint.Answered)
	ended := policy.Ended{
		Node: p.Node, ActionID: p.Action.ID, State: record.ActionDone, Payload: payload(action.State.Payload),
		ExitCode: action.State.ExitCode, StdoutTail: action.State.StdoutTail, StderrTail: action.State.StderrTail,
	}
	if action.State.Phase == wire.PhaseFailed {
		ended.State, ended.Error = record.ActionFailed, failure(action.State.Error)
		if ended.Error.Code == wire.CodeLost {
			ended.State = record.ActionUnknown
		}
	}
	p.tell(ended)
	return true
}

func (p *pursuit) end(state record.ActionState, code, message string, unsettled bool) {
	p.tell(policy.Ended{
		Node: p.Node, ActionID: p.Action.ID, State: state, Unsettled: unsettled,
		Error: &record.Error{Code: code, Message: message},
	})
}

// payload is an agent's payload as a document; what is no object stands under "value".
func payload(raw json.RawMessage) record.Document {
	if len(raw) == 0 || string(raw) == "null" {
		return nil
	}
	var object record.Document
	if json.Unmarshal(raw, &object) == nil {
		return object
	}
	wrapped := append(append([]byte(`{"value":`), raw...), '}')
	if json.Unmarshal(wrapped, &object) != nil {
		return record.Document{"value": string(raw)}
	}
	return object
}

// failure is an agent's error in our words; agents of others put anything there.
func failure(raw json.RawMessage) *record.Error {
	var known wire.Error
	if json.Unmarshal(raw, &known) == nil && known.Code != "" {
		return &record.Error{Code: known.Code, Message: known.Message}
	}
	var text string
	if json.Unmarshal(raw, &text) != nil {
		if text = string(raw); text == "" || text == "null" {
			text = "its agent gave no reason"
		}
	}
	return &record.Error{Code: wire.CodeFailed, Message: text}
}

// failed notes that the agent did not answer, and says so after a while.
func (p *pursuit) failed(err error) {
	if p.failing.IsZero() {
		p.failing = time.Now()
		if errors.Is(err, wire.ErrNotSent) {
			p.failing = p.asked
		} else if due := p.asked.Add(p.held); due.Before(p.failing) {
			p.failing = due
		}
	}
	if !p.silent && time.Since(p.failing) > silentAfter {
		p.silent = p.tell(policy.Silent{Node: p.Node, Why: err.Error()})
	}
}

func (p *pursuit) answered() {
	p.failing, p.backoff = time.Time{}, 0
	if p.silent {
		p.silent = false
		p.tell(policy.Silent{Node: p.Node})
	}
}

// wait spaces repetitions.
func (p *pursuit) wait(ctx context.Context) {
	if p.backoff == 0 {
		p.backoff = 50 * time.Millisecond
	}
	sleep(ctx, p.backoff)
	p.backoff = min(2*p.backoff, maxBackoff)
}

func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
