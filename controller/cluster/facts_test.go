package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/replicante-io/playbooks/agent/wire"
	"github.com/replicante-io/playbooks/record"
)

// answers is an agent. What it has no answer to fails.
type answers struct {
	node   wire.NodeInfo
	store  *wire.StoreInfo
	shards *wire.ShardsInfo
	asked  []string

	noCallsBefore time.Time
}

func (a *answers) NodeInfo(context.Context, string) (wire.NodeInfo, error) {
	a.asked = append(a.asked, "node")
	if time.Now().Before(a.noCallsBefore) {
		return wire.NodeInfo{}, fmt.Errorf("%w: %w: too many open files", wire.ErrNotSent, wire.ErrCannotCall)
	}
	return a.node, nil
}

func (a *answers) StoreInfo(context.Context, string) (wire.StoreInfo, error) {
	a.asked = append(a.asked, "store")
	if a.store == nil {
		return wire.StoreInfo{}, errors.New("no store")
	}
	return *a.store, nil
}

func (a *answers) ShardsInfo(context.Context, string) (wire.ShardsInfo, error) {
	a.asked = append(a.asked, "shards")
	if a.shards == nil {
		return wire.ShardsInfo{}, errors.New("no shards")
	}
	return *a.shards, nil
}

func (a *answers) ActionsInfo(context.Context, string) (wire.ActionsInfo, error) {
	return wire.ActionsInfo{}, errors.New("no such path")
}

func ask(agent *answers) record.Node {
	v := NewInventory(InventoryConfig{Agents: agent, Clock: record.StartClock(), Concurrency: 1})
	n := record.Node{NodeID: "n", ClusterID: "c"}
	v.askNode(context.Background(), &n, new(atomic.Pointer[time.Time]))
	return n
}

func TestAnAgentThatAnswersWithEverythingIsAskedOnce(t *testing.T) {
	agent := &answers{node: wire.NodeInfo{NodeStatus: json.RawMessage(`"HEALTHY"`), Role: "master", StatusReason: "an unknown key is ignored", OneProbe: true,
		Shards: []wire.Shard{{ID: "d", Role: wire.FormatRole("slave"), Lag: &wire.Offset{Unit: wire.FormatUnit("seconds"), Value: 0.25}}}}}
	n := ask(agent)
	if diff := cmp.Diff([]string{"node"}, agent.asked); diff != "" {
		t.Error(diff)
	}
	if n.Status != record.StatusHealthy || n.StatusReason != "an unknown key is ignored" || n.Role != "master" {
		t.Errorf("%+v", n)
	}
	if diff := cmp.Diff([]record.Shard{{ID: "d", Role: "slave", Lag: &record.Lag{Value: 0.25, Unit: "seconds"}}}, n.Shards); diff != "" {
		t.Error(diff)
	}
}

func TestWhatAnotherAgentDoesNotReportIsAbsent(t *testing.T) {
	healthy := wire.NodeInfo{NodeStatus: json.RawMessage(`"HEALTHY"`)}
	n := ask(&answers{node: healthy, store: &wire.StoreInfo{Attributes: map[string]any{"zone": "a"}}})
	if n.Shards != nil || n.Role != "" || n.Attributes["zone"] != "a" || !strings.Contains(n.StatusReason, "does not report its shards: no shards") {
		t.Errorf("%+v", n)
	}
	n = ask(&answers{node: healthy, store: &wire.StoreInfo{}, shards: &wire.ShardsInfo{Shards: []wire.Shard{{ID: "d", Role: json.RawMessage(`"Primary"`)}}}})
	if n.Role != "PRIMARY" || len(n.Shards) != 1 || n.StatusReason != "" {
		t.Errorf("%+v", n)
	}
	n = ask(&answers{node: healthy, store: &wire.StoreInfo{}, shards: &wire.ShardsInfo{Shards: []wire.Shard{}}})
	if n.Shards == nil || len(n.Shards) != 0 {
		t.Errorf("a node without shards: %+v", n)
	}
	healthy.OneProbe = true // and it could not say which shards there are
	if n = ask(&answers{node: healthy}); n.Shards != nil {
		t.Errorf("shards that are not known: %+v", n)
	}
}

func TestANodeThatCannotBeAskedHasAReason(t *testing.T) {
	n := ask(&answers{node: wire.NodeInfo{NodeID: "other"}})
	if n.Status != record.StatusUnreachable || !strings.Contains(n.StatusReason, `node "other"`) {
		t.Errorf("%+v", n)
	}
}

func TestAQuestionWaitsForASlowProbeThatItsAgentReports(t *testing.T) {
	for reported, want := range map[string]time.Duration{
		"": askTimeout, "nonsense": askTimeout, "1s": askTimeout, "1m": 2*time.Minute + callMargin, "24h": maxAskTimeout + callMargin, "-1h": askTimeout,
	} {
		if got := timeoutOf(&record.Node{ProbeTimeout: reported}); got != want {
			t.Errorf("%q: %s, want %s", reported, got, want)
		}
	}
}

func TestANodeIsNotUnreachableBecauseThisReplicaCannotCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		agent := &answers{node: wire.NodeInfo{NodeStatus: json.RawMessage(`"HEALTHY"`), OneProbe: true}, noCallsBefore: time.Now().Add(5 * time.Minute)}
		if n := ask(agent); n.Status != record.StatusHealthy {
			t.Errorf("%+v", n)
		}
	})
}

// silence is agents of which those with silent in their URL do not answer.
type silence struct{ answers }

func (s *silence) NodeInfo(ctx context.Context, url string) (wire.NodeInfo, error) {
	if strings.Contains(url, "silent") {
		<-ctx.Done()
		return wire.NodeInfo{}, ctx.Err()
	}
	time.Sleep(time.Millisecond)
	return wire.NodeInfo{NodeStatus: json.RawMessage(`"HEALTHY"`), OneProbe: true}, nil
}

func TestNodesAreAskedAtOnceBesideAClusterThatDoesNotAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := NewInventory(InventoryConfig{Agents: &silence{}, Clock: record.StartClock(), Concurrency: 256})
		names := func(cluster string, count int) []string {
			var all []string
			for i := range count {
				name := fmt.Sprintf("%s-%d", cluster, i)
				v.cluster(cluster)[name] = &record.Node{NodeID: name, ClusterID: cluster, AgentURL: "http://" + cluster}
				all = append(all, name)
			}
			return all
		}
		silent, three := names("silent", 2000), names("trio", 3)
		asked := make(chan []record.Node)
		go func() { asked <- v.NewLook("silent").Round(t.Context(), silent) }()
		synctest.Wait()
		begun := time.Now()
		for _, n := range v.NewLook("trio").Round(t.Context(), three) {
			if n.Status != record.StatusHealthy {
				t.Errorf("%s: %s", n.NodeID, n.Status)
			}
		}
		if took := time.Since(begun); took > 3*time.Millisecond {
			t.Errorf("it took %s", took)
		}
		if got := len(<-asked); got != 2000 {
			t.Errorf("%d answers", got)
		}
	})
}
