package run

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/replicante-io/playbooks/agent/wire"
	"github.com/replicante-io/playbooks/controller/cluster"
	"github.com/replicante-io/playbooks/controller/policy"
	"github.com/replicante-io/playbooks/internal/failpoint"
	"github.com/replicante-io/playbooks/internal/jsonkeys"
	"github.com/replicante-io/playbooks/internal/retry"
	"github.com/replicante-io/playbooks/record"
)

const (
	callTimeout = 5 * time.Second
	// cancelTimeout is longer: an agent holds its answer while it stops what runs.
	cancelTimeout = 15 * time.Second
	// quickWait is how long an agent may hold its answer to a POST: most short actions end within it, and need one request.
	quickWait = 20 * time.Millisecond
	// holdWait is how long an agent may hold an answer; so long an agent that is cut off can be taken for one whose action runs.
	holdWait = 10 * time.Second
	// maxPayload, maxTail, maxMessage and maxCode bound, in bytes, what an agent's answer puts into a record.
	maxPayload = 256 << 10
	maxTail    = 32 << 10
	maxMessage = 4 << 10
	maxCode    = 64
	// silentAfter is after how long the run is told that an agent does not answer.
	silentAfter = 3 * time.Second
	// firstPoll and maxPoll are how often an agent is asked that does not hold its answers; maxBackoff is how often one that does not
	// answer.
	firstPoll  = 50 * time.Millisecond
	maxPoll    = 2 * time.Second
	maxBackoff = 5 * time.Second
)

// Agents' codes are those of records: a policy knows no others. This does not compile where one differs.
var _ = map[bool]struct{}{
	false: {},
	record.CodeTimeout == wire.CodeTimeout && record.CodeCancelled == wire.CodeCancelled && record.CodeExit == wire.CodeExit &&
		record.CodeLost == wire.CodeLost && record.CodeNeverStarted == wire.CodeNeverStarted && record.CodeFailed == wire.CodeFailed: {},
}

// agents is what is asked of agents about actions; agent/client does it. Its errors are those of agent/wire.
type agents interface {
	Post(ctx context.Context, agentURL string, action wire.ActionRequest, wait time.Duration) (wire.Action, error)
	Get(ctx context.Context, agentURL, id string, wait time.Duration) (wire.Action, error)
	Cancel(ctx context.Context, agentURL, id string, request wire.CancelRequest) (wire.CancelAnswer, error)
	NodeInfo(ctx context.Context, agentURL string) (wire.NodeInfo, error)
}

// dispatcher sends one action to its agent and follows it until its end is known, or, with a stopCode, has its agent stop it.
// It never sends what it was not given.
type dispatcher struct {
	policy.ActionOrder
	stopCode     string
	agents       agents
	limiter      *cluster.Limiter
	cluster      string
	term         int64
	installation string
	// patience is how long an agent is tried to which the action was certainly never sent.
	patience time.Duration
	// sent is true once the agent may have the action.
	sent       bool
	accepted   bool
	identified bool                    // the agent is that of the node, as far as it says
	report     func(policy.Input) bool // false: stop
	higherTerm func(term int64) bool   // the agent has seen a higher term; false: it is not believed

	asked   time.Time     // when the agent was asked last
	held    time.Duration // for how long it may hold its answer
	failing time.Time     // since when the agent has not answered
	silent  bool
	backoff *retry.Backoff
}

// Start does the work until the end of the action is reported or ctx ends, and then calls done. It does not block, and has no goroutine
// before there is room for its first call, nor after it where the action ends at once.
func (d *dispatcher) Start(ctx context.Context, done func()) {
	d.backoff = retry.New(firstPoll, maxBackoff)
	d.accepted = d.Action.State == record.ActionRunning
	if d.stopCode != "" {
		go func() {
			defer done()
			d.stop(ctx)
		}()
		return
	}
	d.limiter.Do(ctx, d.cluster, func() {
		delivered, follow := d.tryDeliver(ctx)
		if delivered && !follow {
			done()
			return
		}
		go func() {
			defer done()
			if delivered || d.deliver(ctx) {
				d.follow(ctx)
			}
		}()
	}, done)
}

func (d *dispatcher) metadata() map[string]string {
	metadata := map[string]string{wire.MetaTerm: strconv.FormatInt(d.term, 10), wire.MetaInstallation: d.installation}
	if d.Action.JournalID != "" {
		metadata[wire.MetaJournal] = d.Action.JournalID
	}
	return metadata
}

// deliver tries again until the agent has the action. It is false when there is nothing to follow.
func (d *dispatcher) deliver(ctx context.Context) bool {
	for d.backoff.Wait(ctx) {
		var done, follow bool
		d.limiter.Wait(ctx, d.cluster, func() { done, follow = d.tryDeliver(ctx) })
		if done {
			return follow
		}
	}
	return false
}

// tryDeliver is one try. done: there is no need for another; follow: the agent has the action.
func (d *dispatcher) tryDeliver(ctx context.Context) (done, follow bool) {
	if d.sent {
		switch action, err := d.get(ctx, 0); {
		case err == nil:
			return true, !d.reportEnd(action) && d.reportAccepted()
		case d.neverSent(err):
			d.unreachable(err)
			return true, false
		case !errors.Is(err, wire.ErrNotFound):
			d.failed(err)
			return false, false
		case d.accepted:
			d.forgotten()
			return true, false
		}
	}
	if d.identify(ctx) {
		return true, false
	}
	failpoint.Point(failpoint.Sending)
	action, err := d.post(ctx)
	var fenced *wire.Fenced
	var rejected *wire.RejectedError
	switch {
	case err == nil:
		d.sent = true
		failpoint.Point(failpoint.Sent)
		d.answered()
		if action.State.Phase == "" && time.Since(d.asked) < quickWait { // the agent does not hold its answer to a POST
			action, err = d.get(ctx, quickWait)
		}
		if err == nil && action.State.Phase != "" && d.reportEnd(action) {
			return true, false
		}
		follow = d.reportAccepted()
		if err != nil && !errors.Is(err, wire.ErrNotFound) {
			d.failed(err)
		}
		return true, follow
	case errors.Is(err, wire.ErrExists):
		d.sent = true // what it has is looked at by the next try
		return false, false
	case errors.As(err, &rejected):
		d.end(record.ActionFailed, record.CodeRejected, false, record.Document{"agent_url": d.URL, "error": record.CleanText(rejected.Reason, maxMessage)})
		return true, false
	case errors.As(err, &fenced):
		return d.fenced(fenced), false
	case d.neverSent(err):
		d.unreachable(err)
		return true, false
	case errors.Is(err, wire.ErrCannotCall):
		d.sent = d.sent || !errors.Is(err, wire.ErrNotSent)
		d.failed(err)
	case errors.Is(err, wire.ErrNotSent):
		d.failed(err)
		if !d.sent && time.Since(d.failing) > d.patience {
			d.unreachable(err)
			return true, false
		}
	default:
		d.sent = true
		d.failed(err)
	}
	return false, false
}

// reportAccepted reports, once, that the agent has the action. It is false when there is nothing to follow.
func (d *dispatcher) reportAccepted() bool {
	if d.accepted {
		return true
	}
	d.accepted = true
	return d.report(policy.Accepted{Node: d.Node, ActionID: d.Action.ID})
}

// neverSent reports whether no leader can have sent the action: no agent can be called at its URL.
func (d *dispatcher) neverSent(err error) bool {
	return errors.Is(err, wire.ErrBadURL) && d.URL == d.Action.AgentURL
}

// unreachable ends an action that was certainly never sent.
func (d *dispatcher) unreachable(err error) {
	d.end(record.ActionFailed, record.CodeUnreachable, false, record.Document{"agent_url": d.URL, "error": record.CleanText(err.Error(), maxMessage)})
}

// post sends the action. The action that is returned has no phase unless it has ended.
func (d *dispatcher) post(ctx context.Context) (wire.Action, error) {
	metadata := d.metadata()
	metadata[wire.MetaTimeout] = d.Action.Timeout
	args, err := json.Marshal(d.Action.Args)
	if err != nil {
		return wire.Action{}, &wire.RejectedError{Reason: "its arguments cannot be encoded: " + err.Error()}
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	d.asked, d.held = time.Now(), quickWait
	return d.agents.Post(ctx, d.URL, wire.ActionRequest{
		ID: d.Action.ID, Kind: d.Action.Kind, Args: args, CreatedTime: d.Action.StartTS, Metadata: metadata,
	}, quickWait)
}

func (d *dispatcher) get(ctx context.Context, wait time.Duration) (wire.Action, error) {
	ctx, cancel := context.WithTimeout(ctx, wait+callTimeout)
	defer cancel()
	d.asked, d.held = time.Now(), wait
	return d.agents.Get(ctx, d.URL, d.Action.ID, wait)
}

// fenced decides what an agent's refusal means. It is true when there is nothing more to do.
func (d *dispatcher) fenced(fenced *wire.Fenced) bool {
	switch {
	case fenced.Reason == wire.FencedJournal:
		d.refused(record.CodeJournalChanged, record.Document{})
	case fenced.Reason == wire.FencedTermJump, fenced.Term > d.term && !d.higherTerm(fenced.Term):
		d.refused(record.CodeTermRefused, record.Document{"term": d.term, "agent_term": fenced.Term})
	case fenced.Term <= d.term:
		d.failed(fenced)
		return false
	}
	return true
}

// refused ends an action that its agent refuses for good. What was sent before may run.
func (d *dispatcher) refused(code string, data record.Document) {
	data["sent"] = d.sent
	if d.sent {
		d.end(record.ActionUnknown, code, true, data)
	} else {
		d.end(record.ActionFailed, code, false, data)
	}
}

// forgotten is reported of an agent that had accepted the action and does not know it.
func (d *dispatcher) forgotten() {
	d.end(record.ActionUnknown, record.CodeForgotten, true, record.Document{})
}

// follow learns the action's end: by a held request, or by asking more and more rarely where the agent does not hold.
func (d *dispatcher) follow(ctx context.Context) {
	poll := retry.New(firstPoll, maxPoll)
	for ctx.Err() == nil {
		asked := time.Now()
		action, err := d.get(ctx, holdWait)
		switch {
		case err == nil && d.reportEnd(action):
			return
		case err == nil:
			if d.answered(); time.Since(asked) < holdWait/2 {
				poll.Wait(ctx)
			}
		case errors.Is(err, wire.ErrNotFound):
			d.forgotten()
			return
		default:
			d.failed(err)
			d.backoff.Wait(ctx)
		}
	}
}

// stop makes the agent stop the action, or never start it, until it says that the action has ended.
func (d *dispatcher) stop(ctx context.Context) {
	for !d.tryStop(ctx) && d.backoff.Wait(ctx) {
	}
}

func (d *dispatcher) tryStop(ctx context.Context) bool {
	d.asked, d.held = time.Now(), cancelTimeout-callTimeout
	callCtx, cancel := context.WithTimeout(ctx, cancelTimeout)
	answer, err := d.agents.Cancel(callCtx, d.URL, d.Action.ID,
		wire.CancelRequest{Kill: true, Code: d.stopCode, Metadata: d.metadata()})
	cancel()
	var fenced *wire.Fenced
	switch {
	case err == nil && answer.State.Phase.Ended():
		return d.reportEnd(wire.Action{ID: d.Action.ID, Kind: d.Action.Kind, State: answer.State})
	case errors.As(err, &fenced) && fenced.Reason == wire.FencedJournal && !d.Action.State.InFlight():
		d.failed(fenced) // this agent cannot know whether the action has ended; the one that can may come back
		return false
	case errors.As(err, &fenced):
		return d.stopRefused(ctx, fenced)
	case d.neverSent(err):
		d.unreachable(err)
		return true
	case err != nil && !errors.Is(err, wire.ErrNotFound):
		d.failed(err)
		if errors.Is(err, wire.ErrNotSent) || errors.Is(err, context.DeadlineExceeded) {
			return false
		}
	}
	// It is stopping, or the agent cannot cancel, which agents that others wrote say in many ways: its end is known in time.
	if action, err := d.get(ctx, 2*time.Second); err == nil {
		return d.reportEnd(action)
	}
	return false
}

// stopRefused looks at an action that its agent does not stop. It is true when there is nothing more to do.
func (d *dispatcher) stopRefused(ctx context.Context, fenced *wire.Fenced) bool {
	if fenced.Reason == wire.FencedTerm || fenced.Reason == wire.FencedTermJump {
		if action, err := d.get(ctx, 0); err == nil && d.reportEnd(action) {
			return true
		}
	}
	if !d.Action.State.InFlight() { // it was written off as unknown; the agent may report its end later
		if fenced.Reason == wire.FencedTerm && fenced.Term > d.term && d.higherTerm(fenced.Term) {
			return true
		}
		d.failed(fenced)
		return false
	}
	return d.fenced(fenced)
}

// reportEnd reports an end that the agent knows. It is false while there is none.
func (d *dispatcher) reportEnd(action wire.Action) bool {
	d.answered()
	if action.Kind != d.Action.Kind {
		d.end(record.ActionFailed, record.CodeConflict, false, record.Document{"kind": record.CleanText(action.Kind, maxCode)})
		return true
	}
	if !action.State.Phase.Ended() {
		return false
	}
	failpoint.Point(failpoint.Answered)
	content, bad := payload(action.State.Payload)
	ended := policy.Ended{
		Node: d.Node, ActionID: d.Action.ID, State: record.ActionDone, Payload: content,
		ExitCode: action.State.ExitCode, StdoutTail: record.CleanText(action.State.StdoutTail, maxTail),
		StderrTail: record.CleanText(action.State.StderrTail, maxTail),
	}
	if action.State.Phase == wire.PhaseFailed {
		ended.State, ended.Error = record.ActionFailed, failure(action.State.Error)
		if ended.Error.Code == wire.CodeLost {
			ended.State = record.ActionUnknown
		}
	}
	if bad != nil && ended.State == record.ActionDone {
		ended.State = record.ActionFailed
		ended.Error = &record.Error{Code: record.CodeBadPayload, Data: record.Document{"step": d.Action.Step, "error": bad.Error()}}
	}
	d.report(ended)
	return true
}

func (d *dispatcher) end(state record.ActionState, code string, unsettled bool, data record.Document) {
	data["step"] = d.Action.Step
	d.report(policy.Ended{
		Node: d.Node, ActionID: d.Action.ID, State: state, Unsettled: unsettled, Error: &record.Error{Code: code, Data: data},
	})
}

// payload is an agent's payload as a document; what is no object stands under "value". The error says why it cannot be stored.
func payload(raw json.RawMessage) (record.Document, error) {
	if len(raw) == 0 || string(raw) == "null" {
		return nil, nil
	}
	if !utf8.Valid(raw) {
		return nil, errors.New("it is not UTF-8")
	}
	if err := jsonkeys.Check(raw); err != nil {
		return nil, err
	}
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber()
	var value any
	if err := decoder.Decode(&value); err != nil {
		return nil, err
	}
	normal, err := record.Normalize(value)
	if err != nil {
		return nil, err
	}
	object, isObject := normal.(map[string]any)
	if !isObject {
		object = map[string]any{"value": normal}
	}
	if err := record.CheckStorable(object, maxPayload); err != nil {
		return nil, err
	}
	return object, nil
}

// failure is an agent's error as records have it: the agent's words are data. Agents of others put anything there.
func failure(raw json.RawMessage) *record.Error {
	var known wire.Error
	if json.Unmarshal(raw, &known) == nil && known.Code != "" {
		return &record.Error{Code: record.CleanText(known.Code, maxCode), Data: agentWords(known.Message)}
	}
	var text string
	if json.Unmarshal(raw, &text) != nil {
		if text = string(raw); text == "null" {
			text = ""
		}
	}
	return &record.Error{Code: wire.CodeFailed, Data: agentWords(text)}
}

func agentWords(text string) record.Document {
	if text == "" {
		return nil
	}
	return record.Document{"message": record.CleanText(text, maxMessage)}
}

// failed notes that the agent did not answer, and reports it after a while.
func (d *dispatcher) failed(err error) {
	if errors.Is(err, wire.ErrCannotCall) {
		d.failing = time.Time{} // it is no silence of the agent
		return
	}
	if d.failing.IsZero() {
		d.failing = time.Now()
		if errors.Is(err, wire.ErrNotSent) {
			d.failing = d.asked
		} else if due := d.asked.Add(d.held); due.Before(d.failing) {
			d.failing = due
		}
	}
	if !d.silent && time.Since(d.failing) > silentAfter {
		d.silent = d.report(policy.AgentSilent{Node: d.Node, Reason: err.Error()})
	}
}

func (d *dispatcher) answered() {
	d.failing = time.Time{}
	d.backoff.Reset()
	if d.silent {
		d.silent = false
		d.report(policy.AgentAnswers{Node: d.Node})
	}
}
