package controller

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/replicante-io/playbooks/agent/wire"
	"github.com/replicante-io/playbooks/controller/policy"
	"github.com/replicante-io/playbooks/record"
)

// oneAgent is the agent of one action: what it does not say, it is not asked.
type oneAgent struct {
	agents
	get    func(ctx context.Context) (wire.Action, error)
	cancel func(request wire.CancelRequest) (wire.CancelAnswer, error)
}

func (a *oneAgent) Post(context.Context, string, wire.ActionRequest) error { return nil }

func (a *oneAgent) Get(ctx context.Context, _, _ string, _ time.Duration) (wire.Action, error) {
	return a.get(ctx)
}

func (a *oneAgent) Cancel(_ context.Context, _, _ string, request wire.CancelRequest) (wire.CancelAnswer, error) {
	return a.cancel(request)
}

// pursue pursues an action for a while, and returns what was told.
func pursue(t *testing.T, agent *oneAgent, what policy.Pursuit, sent bool, lasting time.Duration) []policy.Input {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), lasting)
	defer cancel()
	var told []policy.Input
	over := make(chan struct{})
	p := &pursuit{Pursuit: what, agents: agent, turns: &turns{width: 1}, term: 1, sent: sent, tell: func(input policy.Input) bool {
		told = append(told, input)
		return true
	}}
	p.Start(ctx, func() { close(over) })
	<-over
	return told
}

func TestARunHearsSoonThatAnAgentIsCutOffAfterItAccepted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		agent := &oneAgent{get: func(ctx context.Context) (wire.Action, error) {
			<-ctx.Done()
			return wire.Action{}, ctx.Err()
		}}
		told := pursue(t, agent, policy.Pursuit{Node: "n", Action: record.Action{ID: "a", State: record.ActionSaved}}, false, 6*time.Second)
		if len(told) != 2 {
			t.Fatalf("within 6s it was told %+v", told)
		}
		// An acceptance tells that the agent answers: what it does after that has to be told after it.
		if _, ok := told[0].(policy.Accepted); !ok {
			t.Errorf("the first that was told is %+v", told[0])
		}
		if silent, ok := told[1].(policy.Silent); !ok || silent.Why == "" {
			t.Errorf("the last that was told is %+v", told[1])
		}
	})
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
			told := pursue(t, agent, policy.Pursuit{Node: "n", Cancel: record.CodeCancelled, Kill: true,
				Action: record.Action{ID: "a", JournalID: "lost", State: state}}, true, time.Minute)
			for _, input := range told {
				if ended, ok := input.(policy.Ended); ok && (ended.State != record.ActionUnknown || !ended.Unsettled) {
					t.Errorf("of an action that is %s it was told %+v", state, ended)
				}
			}
			if len(told) != 1 {
				t.Errorf("of an action that is %s it was told %+v", state, told)
			}
		})
	}
}
