package run

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/replicante-io/playbooks/agent/wire"
	"github.com/replicante-io/playbooks/controller/cluster"
	"github.com/replicante-io/playbooks/controller/policy"
	"github.com/replicante-io/playbooks/record"
)

// oneAgent is the agent of one action.
type oneAgent struct {
	post   func(wait time.Duration) wire.Action // nil: it does not hold its answer
	refuse func() error                         // of a POST; nil: it is accepted
	get    func(ctx context.Context) (wire.Action, error)
	cancel func(request wire.CancelRequest) (wire.CancelAnswer, error)
	info   func() (wire.NodeInfo, error) // nil: it does not name its node
}

func (a *oneAgent) NodeInfo(context.Context, string) (wire.NodeInfo, error) {
	if a.info == nil {
		return wire.NodeInfo{}, nil
	}
	return a.info()
}

func (a *oneAgent) Post(_ context.Context, _ string, action wire.ActionRequest, wait time.Duration) (wire.Action, error) {
	if a.refuse != nil {
		if err := a.refuse(); err != nil {
			return wire.Action{}, err
		}
	}
	if a.post == nil {
		return wire.Action{ID: action.ID}, nil
	}
	return a.post(wait), nil
}

func (a *oneAgent) Get(ctx context.Context, _, _ string, _ time.Duration) (wire.Action, error) {
	return a.get(ctx)
}

func (a *oneAgent) Cancel(_ context.Context, _, _ string, request wire.CancelRequest) (wire.CancelAnswer, error) {
	return a.cancel(request)
}

// dispatchFor dispatches an action for a while, and returns what was reported.
func dispatchFor(t *testing.T, agent *oneAgent, d dispatcher, lasting time.Duration) []policy.Input {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), lasting)
	defer cancel()
	var reported []policy.Input
	done := make(chan struct{})
	d.agents, d.limiter, d.term = agent, cluster.NewLimiter(1), 1
	d.report = func(input policy.Input) bool {
		reported = append(reported, input)
		return true
	}
	d.Start(ctx, func() { close(done) })
	<-done
	return reported
}

func TestARunIsSoonToldThatAnAgentIsCutOffAfterItAccepted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		agent := &oneAgent{get: func(ctx context.Context) (wire.Action, error) {
			<-ctx.Done()
			return wire.Action{}, ctx.Err()
		}}
		action := policy.ActionOrder{Node: "n", Action: record.Action{ID: "a", State: record.ActionSaved}}
		reported := dispatchFor(t, agent, dispatcher{ActionOrder: action}, 6*time.Second)
		if len(reported) != 2 {
			t.Fatalf("within 6s it reported %+v", reported)
		}
		// An acceptance says that the agent answers: what it does after that has to be reported after it.
		if _, ok := reported[0].(policy.Accepted); !ok {
			t.Errorf("the first report is %+v", reported[0])
		}
		if silent, ok := reported[1].(policy.AgentSilent); !ok || silent.Reason == "" {
			t.Errorf("the last report is %+v", reported[1])
		}
	})
}

func TestAReplicaThatCannotCallBlamesNoAgent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		agent := &oneAgent{
			refuse: func() error {
				if time.Since(begun) < 5*time.Minute {
					return fmt.Errorf("%w: %w: too many open files", wire.ErrNotSent, wire.ErrCannotCall)
				}
				return nil
			},
			get: func(context.Context) (wire.Action, error) {
				return wire.Action{State: wire.State{Phase: wire.PhaseDone}}, nil
			},
		}
		action := policy.ActionOrder{Node: "n", Action: record.Action{ID: "a", State: record.ActionSaved}}
		reported := dispatchFor(t, agent, dispatcher{ActionOrder: action, patience: 30 * time.Second}, 10*time.Minute)
		if len(reported) != 1 {
			t.Fatalf("it reported %+v", reported)
		}
		if ended, ok := reported[0].(policy.Ended); !ok || ended.State != record.ActionDone {
			t.Errorf("it reported %+v", reported[0])
		}
	})
}

func TestAnAgentThatCannotCancelIsAskedForTheEnd(t *testing.T) {
	for _, answer := range []string{"status 404 Not Found: 404 page not found", "status 405 Method Not Allowed", "status 501: {}"} {
		synctest.Test(t, func(t *testing.T) {
			agent := &oneAgent{
				cancel: func(wire.CancelRequest) (wire.CancelAnswer, error) { return wire.CancelAnswer{}, errors.New(answer) },
				get: func(context.Context) (wire.Action, error) {
					return wire.Action{State: wire.State{Phase: wire.PhaseDone}}, nil
				},
			}
			action := policy.ActionOrder{Node: "n", Action: record.Action{ID: "a", State: record.ActionUnknown}}
			reported := dispatchFor(t, agent, dispatcher{ActionOrder: action, stopCode: record.CodeTimeout, sent: true}, time.Minute)
			if len(reported) != 1 {
				t.Fatalf("after the answer %q to a cancel it reported %+v", answer, reported)
			}
			if ended, ok := reported[0].(policy.Ended); !ok || ended.State != record.ActionDone {
				t.Errorf("after the answer %q to a cancel it reported %+v", answer, reported[0])
			}
		})
	}
}

func TestTheEndOfALostActionIsUnknown(t *testing.T) {
	for code, want := range map[string]record.ActionState{wire.CodeLost: record.ActionUnknown, wire.CodeNeverStarted: record.ActionFailed} {
		synctest.Test(t, func(t *testing.T) {
			agent := &oneAgent{get: func(context.Context) (wire.Action, error) {
				return wire.Action{State: wire.State{Phase: wire.PhaseFailed, Error: fmt.Appendf(nil, `{"code": %q}`, code)}}, nil
			}}
			action := policy.ActionOrder{Node: "n", Action: record.Action{ID: "a", State: record.ActionRunning}}
			reported := dispatchFor(t, agent, dispatcher{ActionOrder: action, sent: true}, time.Minute)
			if ended, ok := reported[len(reported)-1].(policy.Ended); !ok || ended.State != want || ended.Unsettled {
				t.Errorf("of an action that ended with %s it reported %+v", code, reported)
			}
		})
	}
}

func TestAnAgentWithAnotherJournalDoesNotSettleAnAction(t *testing.T) {
	agent := &oneAgent{
		get: func(context.Context) (wire.Action, error) { return wire.Action{}, wire.ErrNotFound },
		cancel: func(request wire.CancelRequest) (wire.CancelAnswer, error) {
			if request.Metadata[wire.MetaJournal] == "lost" {
				return wire.CancelAnswer{}, &wire.Fenced{Reason: wire.FencedJournal, Term: 1}
			}
			return wire.CancelAnswer{State: wire.State{Phase: wire.PhaseFailed}}, nil
		},
	}
	for _, state := range []record.ActionState{record.ActionUnknown, record.ActionCancelling} {
		synctest.Test(t, func(t *testing.T) {
			action := policy.ActionOrder{Node: "n", Action: record.Action{ID: "a", JournalID: "lost", State: state}}
			reported := dispatchFor(t, agent, dispatcher{ActionOrder: action, stopCode: record.CodeCancelled, sent: true}, time.Minute)
			for _, input := range reported {
				if ended, ok := input.(policy.Ended); ok && (ended.State != record.ActionUnknown || !ended.Unsettled) {
					t.Errorf("of an action that is %s it reported %+v", state, ended)
				}
			}
			if len(reported) != 1 {
				t.Errorf("of an action that is %s it reported %+v", state, reported)
			}
		})
	}
}

func TestAPayloadThatCannotBeStoredFailsItsAction(t *testing.T) {
	for text, reason := range map[string]string{
		`{"a\u0000b":1}`: "NUL", strings.Repeat(`{"a":`, 100) + "1" + strings.Repeat("}", 100): "levels deep",
		`{"a":"` + strings.Repeat("x", 300<<10) + `"}`: "larger than", `{"a":1e400}`: "1e400", "{\"a\":\"\xff\"}": "not UTF-8",
		strings.Repeat("[", 300) + strings.Repeat("]", 300): "levels deep", `"\u0000"`: "NUL",
	} {
		agent := &oneAgent{get: func(context.Context) (wire.Action, error) {
			return wire.Action{State: wire.State{Phase: wire.PhaseDone, Payload: []byte(text), StdoutTail: "a\x00b"}}, nil
		}}
		action := policy.ActionOrder{Node: "n", Action: record.Action{ID: "a", Step: "s", State: record.ActionSaved}}
		reported := dispatchFor(t, agent, dispatcher{ActionOrder: action}, time.Minute)
		ended, ok := reported[len(reported)-1].(policy.Ended)
		if !ok || ended.State != record.ActionFailed || ended.Payload != nil || ended.Error.Code != record.CodeBadPayload ||
			!strings.Contains(fmt.Sprint(ended.Error.Data["error"]), reason) {
			t.Errorf("%s: %+v", reason, reported)
		}
		if record.CheckText(ended.StdoutTail) != nil {
			t.Errorf("its output is %q", ended.StdoutTail)
		}
	}
}

func TestAQuickActionIsOneRequest(t *testing.T) {
	done := wire.Action{ID: "a", State: wire.State{Phase: wire.PhaseDone}}
	cases := map[string]struct {
		post     func(wait time.Duration) wire.Action
		gets     int
		accepted bool
	}{
		"it ends while the answer is held": {func(time.Duration) wire.Action { return done }, 0, false},
		"it takes longer": {func(wait time.Duration) wire.Action {
			time.Sleep(wait)
			return wire.Action{ID: "a"}
		}, 1, true},
		"the agent does not hold its answer": {nil, 1, false},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				gets := 0
				agent := &oneAgent{post: c.post, get: func(context.Context) (wire.Action, error) {
					gets++
					return done, nil
				}}
				action := policy.ActionOrder{Node: "n", Action: record.Action{ID: "a", State: record.ActionSaved}}
				reported := dispatchFor(t, agent, dispatcher{ActionOrder: action}, time.Minute)
				if ended, ok := reported[len(reported)-1].(policy.Ended); !ok || ended.State != record.ActionDone {
					t.Errorf("it reported %+v", reported)
				}
				if _, accepted := reported[0].(policy.Accepted); gets != c.gets || accepted != c.accepted {
					t.Errorf("%d requests for the state; it reported %+v", gets, reported)
				}
			})
		})
	}
}

// TestAnActionWhoseURLIsNotValidIsNeverUnknown: no leader can have sent it, and whatever is done about it ends it at once.
func TestAnActionWhoseURLIsNotValidIsNeverUnknown(t *testing.T) {
	cause := fmt.Errorf("%w: %w", wire.ErrNotSent, wire.ErrBadURL)
	for name, d := range map[string]dispatcher{"sent": {}, "sent by an earlier leader": {sent: true}, "stopped": {stopCode: record.CodeTimeout, sent: true}} {
		synctest.Test(t, func(t *testing.T) {
			agent := &oneAgent{
				refuse: func() error { return cause },
				get:    func(context.Context) (wire.Action, error) { return wire.Action{}, cause },
				cancel: func(wire.CancelRequest) (wire.CancelAnswer, error) { return wire.CancelAnswer{}, cause },
			}
			d.ActionOrder = policy.ActionOrder{Node: "n", Action: record.Action{ID: "a", State: record.ActionSaved, JournalID: "j"}}
			d.patience = time.Hour
			reported := dispatchFor(t, agent, d, time.Minute)
			if len(reported) != 1 {
				t.Fatalf("%s: it reported %+v", name, reported)
			}
			ended, ok := reported[0].(policy.Ended)
			if !ok || ended.State != record.ActionFailed || ended.Unsettled || ended.Error.Code != record.CodeUnreachable {
				t.Errorf("%s: it reported %+v", name, reported[0])
			}
		})
	}
}

// TestAnActionIsSentToNoAgentOfAnotherNode: without a journal only the agent's answer says whose it is, and it is asked first.
func TestAnActionIsSentToNoAgentOfAnotherNode(t *testing.T) {
	says := func(node string) func() (wire.NodeInfo, error) {
		return func() (wire.NodeInfo, error) { return wire.NodeInfo{NodeID: node}, nil }
	}
	for name, c := range map[string]struct {
		info    func() (wire.NodeInfo, error)
		journal string
		sent    bool
		want    record.ActionState
	}{
		"of the node":         {says("n"), "", false, record.ActionDone},
		"without a name":      {says(""), "", false, record.ActionDone},
		"of another node":     {says("g1"), "", false, record.ActionFailed},
		"moved since":         {says("g1"), "", true, record.ActionUnknown},
		"fenced by a journal": {says("g1"), "j", false, record.ActionDone},
		"that does not say":   {func() (wire.NodeInfo, error) { return wire.NodeInfo{}, errors.New("status 500") }, "", false, record.ActionDone},
	} {
		synctest.Test(t, func(t *testing.T) {
			posted := false
			agent := &oneAgent{info: c.info, refuse: func() error { posted = true; return nil }, get: func(context.Context) (wire.Action, error) {
				if !posted {
					return wire.Action{}, wire.ErrNotFound
				}
				return wire.Action{State: wire.State{Phase: wire.PhaseDone}}, nil
			}}
			action := policy.ActionOrder{Node: "n", URL: "http://n", Action: record.Action{ID: "a", State: record.ActionSaved, JournalID: c.journal}}
			reported := dispatchFor(t, agent, dispatcher{ActionOrder: action, sent: c.sent, patience: 10 * time.Second}, time.Minute)
			ended, ok := reported[len(reported)-1].(policy.Ended)
			if !ok || ended.State != c.want || posted != (c.want == record.ActionDone) || ended.Unsettled != (c.want == record.ActionUnknown) {
				t.Errorf("%s: posted %v, %+v", name, posted, reported)
			}
			if ended.Error != nil && ended.Error.Code != record.CodeUnreachable {
				t.Errorf("%s: %+v", name, ended.Error)
			}
		})
	}
}
