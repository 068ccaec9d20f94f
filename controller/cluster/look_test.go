package cluster

import (
	"context"
	"encoding/json"
	"testing"
	"testing/synctest"
	"time"

	"github.com/replicante-io/playbooks/agent/wire"
	"github.com/replicante-io/playbooks/record"
)

// slowAgents answer after so long, by their URL.
type slowAgents map[string]time.Duration

func (s slowAgents) NodeInfo(ctx context.Context, url string) (wire.NodeInfo, error) {
	select {
	case <-time.After(s[url]):
		return wire.NodeInfo{NodeStatus: json.RawMessage(`"HEALTHY"`), OneProbe: true}, nil
	case <-ctx.Done():
		return wire.NodeInfo{}, ctx.Err()
	}
}

func (slowAgents) StoreInfo(context.Context, string) (wire.StoreInfo, error) { panic("not asked") }

func (slowAgents) ShardsInfo(context.Context, string) (wire.ShardsInfo, error) { panic("not asked") }

func (slowAgents) ActionsInfo(context.Context, string) (wire.ActionsInfo, error) { panic("not asked") }

// lookAt makes a look at a cluster of nodes of these agents, by their URLs.
func lookAt(agents slowAgents) *Look {
	v := NewInventory(InventoryConfig{Agents: agents, Clock: record.StartClock(), Concurrency: 8})
	for url := range agents {
		v.cluster("c")[url] = &record.Node{NodeID: url, ClusterID: "c", AgentURL: url, Status: record.StatusHealthy, Role: "PRIMARY"}
	}
	return v.NewLook("c")
}

func TestAnAgentThatDoesNotAnswerKeepsNoOtherAnswerBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		look := lookAt(slowAgents{"prompt": time.Millisecond, "silent": time.Hour})
		for i, most := range []time.Duration{firstPatience, time.Millisecond, time.Millisecond} {
			begun := time.Now()
			nodes := look.Round(t.Context(), []string{"prompt", "silent"})
			if took := time.Since(begun); took > most {
				t.Errorf("round %d took %s", i, took)
			}
			if n := nodes[0]; n.Status != record.StatusHealthy || n.ObservedTS.Before(begun) {
				t.Errorf("round %d: %+v", i, n)
			}
			if n := nodes[1]; n.Status != record.StatusUnreachable || n.Role != "" {
				t.Errorf("round %d: %+v", i, n)
			}
			time.Sleep(time.Second)
		}
		time.Sleep(askTimeout)
		look.Round(t.Context(), []string{"prompt", "silent"})
		begun := time.Now()
		look.inventory.NewLook("c").Round(t.Context(), []string{"prompt", "silent"})
		if took := time.Since(begun); took > silentPatience {
			t.Errorf("an agent that did not answer the last time was waited for %s", took)
		}
	})
}

func TestASlowAgentIsWaitedForOnceItIsKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		look := lookAt(slowAgents{"prompt": time.Millisecond, "slow": 6 * time.Second})
		if n := look.Round(t.Context(), []string{"prompt", "slow"})[1]; n.Status != record.StatusUnreachable {
			t.Errorf("after %s: %+v", firstPatience, n)
		}
		if kept := look.inventory.Known("c")[1]; kept.Status != record.StatusHealthy {
			t.Errorf("a node that may still answer became %s", kept.Status)
		}
		time.Sleep(4 * time.Second)
		for range 3 {
			if n := look.Round(t.Context(), []string{"prompt", "slow"})[1]; n.Status != record.StatusHealthy {
				t.Errorf("%+v", n)
			}
		}
	})
}

// busyAgents cannot be called for a while, as from a process without a free file descriptor.
type busyAgents struct {
	slowAgents
	until time.Time
}

func (b busyAgents) NodeInfo(ctx context.Context, url string) (wire.NodeInfo, error) {
	if time.Now().Before(b.until) {
		return wire.NodeInfo{}, wire.ErrCannotCall
	}
	return b.slowAgents.NodeInfo(ctx, url)
}

func TestNoNodeIsUnreachableBecauseThisReplicaCannotCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		agents := slowAgents{"one": time.Millisecond, "two": time.Millisecond}
		look := lookAt(agents)
		look.inventory.Agents = busyAgents{agents, time.Now().Add(time.Minute)}
		for _, name := range []string{"one", "two"} {
			look.inventory.took[record.NodeKey{Cluster: "c", Node: name}] = silentPatience
		}
		for _, n := range look.Round(t.Context(), []string{"one", "two"}) {
			if n.Status != record.StatusHealthy {
				t.Errorf("%+v", n)
			}
		}
	})
}

func TestANodeThatIsAskedAloneIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		look := lookAt(slowAgents{"slow": 14 * time.Second})
		if n := look.Round(t.Context(), []string{"slow"})[0]; n.Status != record.StatusHealthy {
			t.Errorf("%+v", n)
		}
	})
}

func TestAnAgentWithAnotherAddressIsAskedThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		look := lookAt(slowAgents{"prompt": time.Millisecond, "silent": time.Hour, "moved": time.Millisecond})
		look.Round(t.Context(), []string{"prompt", "silent"})
		look.inventory.nodes["c"]["silent"].AgentURL = "moved"
		if n := look.Round(t.Context(), []string{"prompt", "silent"})[1]; n.Status != record.StatusHealthy {
			t.Errorf("%+v", n)
		}
	})
}
