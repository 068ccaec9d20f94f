package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/replicante-io/playbooks/agent/wire"
)

// execution runs an action until it ends or ctx does, and returns its final state.
type execution func(ctx context.Context, t *task) wire.State

// prepare checks a request and returns its execution.
func (a *Agent) prepare(request wire.ActionRequest) (execution, error) {
	limit, err := readTimeout(request.Metadata)
	if err != nil {
		return nil, err
	}
	if err := wire.CheckJSON(request.Args); err != nil {
		return nil, invalid("args cannot be accepted: %s", err)
	}
	for key, value := range request.Metadata {
		if strings.IndexByte(key+value, 0) >= 0 {
			return nil, invalid("metadata %q contains a NUL character", key)
		}
	}
	switch request.Kind {
	case "":
		return nil, invalid("kind is required")
	case wire.KindSuccess:
		return testSuccess, nil
	case wire.KindFail:
		return testFail, nil
	case wire.KindLoop:
		return a.prepareLoop(request, limit)
	}
	name, external := strings.CutPrefix(request.Kind, wire.KindExternalPrefix)
	command, configured := a.cfg.Actions[name]
	if !external || !configured {
		return nil, invalid("this agent has no action %q", request.Kind)
	}
	environment, err := argEnvironment(request.Args)
	if err != nil {
		return nil, err
	}
	if limit == 0 || command.Timeout > 0 && command.Timeout < limit {
		limit = command.Timeout
	}
	return func(ctx context.Context, t *task) wire.State {
		return withTimeout(ctx, limit, func(ctx context.Context) wire.State {
			return a.runCommand(ctx, t, command, environment)
		})
	}, nil
}

// Kinds are the kinds of actions that this agent can run, sorted.
func (a *Agent) Kinds() []string {
	kinds := []string{wire.KindSuccess, wire.KindFail, wire.KindLoop}
	for name := range a.cfg.Actions {
		kinds = append(kinds, wire.KindExternalPrefix+name)
	}
	slices.Sort(kinds)
	return kinds
}

func readTimeout(metadata map[string]string) (time.Duration, error) {
	given, ok := metadata[wire.MetaTimeout]
	if !ok {
		return 0, nil
	}
	limit, err := time.ParseDuration(given)
	if err != nil || limit <= 0 {
		return 0, invalid("metadata %s: %q is not a valid duration such as 30s", wire.MetaTimeout, given)
	}
	return limit, nil
}

func withTimeout(ctx context.Context, limit time.Duration, run func(context.Context) wire.State) wire.State {
	if limit <= 0 {
		return run(ctx)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("%w: it did not end within %s", errTimeout, limit))
	defer cancel()
	return run(ctx)
}

// stopped is the final state of an action whose context ended.
func stopped(ctx context.Context) wire.State {
	cause := context.Cause(ctx)
	code := wire.CodeLost
	var kill *killError
	switch {
	case errors.As(cause, &kill):
		code = kill.code
	case errors.Is(cause, errTimeout):
		code = wire.CodeTimeout
	}
	return wire.State{Phase: wire.PhaseFailed, Error: failure(code, cause.Error())}
}

func testSuccess(context.Context, *task) wire.State { return wire.State{Phase: wire.PhaseDone} }

func testFail(context.Context, *task) wire.State {
	return wire.State{Phase: wire.PhaseFailed, Error: failure(wire.CodeFailed, "this action always fails")}
}

const (
	maxLoopCount = 1_000_000
	maxLoopDelay = time.Hour
)

// prepareLoop is the test.loop action: it counts to args.count with args.delay between two counts. Its payload has the count.
func (a *Agent) prepareLoop(request wire.ActionRequest, limit time.Duration) (execution, error) {
	args := struct {
		Count *int64  `json:"count"`
		Delay *string `json:"delay"`
	}{}
	if len(request.Args) > 0 {
		decoder := json.NewDecoder(bytes.NewReader(request.Args))
		decoder.DisallowUnknownFields()
		err := decoder.Decode(&args)
		var wrong *json.UnmarshalTypeError
		if errors.As(err, &wrong) {
			return nil, invalid("args.%s cannot be a %s: the arguments of %s are like {count: 10, delay: 1s}", wrong.Field, wrong.Value, wire.KindLoop)
		}
		if err != nil {
			return nil, invalid("the arguments of %s are like {count: 10, delay: 1s}: %s", wire.KindLoop, err)
		}
	}
	count, delay := int64(10), time.Second
	if args.Count != nil {
		count = *args.Count
	}
	if count < 0 || count > maxLoopCount {
		return nil, invalid("args.count is %d; it must be from 0 to %d", count, maxLoopCount)
	}
	if args.Delay != nil {
		var err error
		if delay, err = time.ParseDuration(*args.Delay); err != nil || delay < 0 || delay > maxLoopDelay {
			return nil, invalid("args.delay: %q is not a duration from 0s to %s", *args.Delay, maxLoopDelay)
		}
	}
	return func(ctx context.Context, t *task) wire.State {
		return withTimeout(ctx, limit, func(ctx context.Context) wire.State { return a.loop(ctx, t, count, delay) })
	}, nil
}

func (a *Agent) loop(ctx context.Context, t *task, count int64, delay time.Duration) wire.State {
	payload := func(n int64) json.RawMessage {
		return json.RawMessage(fmt.Sprintf(`{"count":%d,"target":%d}`, n, count))
	}
	timer := time.NewTimer(delay)
	defer timer.Stop()
	for n := int64(0); n < count; n++ {
		select {
		case <-ctx.Done():
			state := stopped(ctx)
			state.Payload = payload(n)
			return state
		case <-timer.C:
		}
		timer.Reset(delay)
		_ = a.update(t, false, func(e *entry) { e.Action.State.Payload = payload(n + 1) })
	}
	return wire.State{Phase: wire.PhaseDone, Payload: payload(count)}
}
