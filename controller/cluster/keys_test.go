package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"

	"github.com/replicante-io/playbooks/agent/wire"
	"github.com/replicante-io/playbooks/membership"
	"github.com/replicante-io/playbooks/record"
	"github.com/replicante-io/playbooks/store"
	"github.com/replicante-io/playbooks/store/storetest"
)

// pickyStore does not take a node with a bad attribute, as MongoDB does not take one with a NUL in a key.
type pickyStore struct {
	store.Store
	refused map[string]bool
	writes  *int
}

func (s pickyStore) SaveNodes(ctx context.Context, term int64, nodes []record.Node) error {
	*s.writes++
	for i := range nodes {
		if s.refused[nodes[i].NodeID] && nodes[i].Attributes["x"] != nil {
			return fmt.Errorf("save nodes: node %s: %w", nodes[i].NodeID, store.ErrNotStorable)
		}
	}
	return s.Store.SaveNodes(ctx, term, nodes)
}

func inventoryOn(t *testing.T, wrap func(store.Store) store.Store) (*Inventory, store.Store) {
	memory := storetest.NewMemory()
	term, err := memory.BeginTerm(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	return NewInventory(InventoryConfig{
		Term: term.Term, Concurrency: 1, Log: hclog.NewNullLogger(), Store: wrap(memory),
		Changed: func(string, bool, []record.Node, []string) {},
	}), memory
}

func deep(levels int) any {
	var value any = "x"
	for range levels {
		value = map[string]any{"d": value}
	}
	return value
}

// TestABadKeyOfANodeIsNamedAndStopsNoOther: every kind of bad value, in the key of one node among good ones.
func TestABadKeyOfANodeIsNamedAndStopsNoOther(t *testing.T) {
	for name, c := range map[string]struct {
		change func(n *membership.Node)
		want   string
		gone   bool // without an address nothing can be asked of it
	}{
		"NUL in an attribute's name":   {change: func(n *membership.Node) { n.Attributes["a\x00b"] = "x" }, want: "attributes: a key of it contains a NUL"},
		"NUL in an attribute":          {change: func(n *membership.Node) { n.Attributes["a"] = "x\x00" }, want: `attributes: "a" contains a NUL`},
		"deep attributes":              {change: func(n *membership.Node) { n.Attributes["a"] = deep(70) }, want: "nested more than 64 levels"},
		"large attributes":             {change: func(n *membership.Node) { n.Attributes["a"] = strings.Repeat("x", 2<<20) }, want: "larger than"},
		"an attribute that is too big": {change: func(n *membership.Node) { n.Attributes["a"] = json.Number("1e400") }, want: "attributes: a: "},
		"not UTF-8":                    {change: func(n *membership.Node) { n.Attributes["a"] = "\xff" }, want: "not UTF-8"},
		"role":                         {change: func(n *membership.Node) { n.Role = "a\x00" }, want: "role contains a NUL"},
		"store_id":                     {change: func(n *membership.Node) { n.StoreID = "a\x00" }, want: "store_id contains a NUL"},
		"store_version":                {change: func(n *membership.Node) { n.StoreVersion = strings.Repeat("1", 5000) }, want: "store_version is longer"},
		"agent_version":                {change: func(n *membership.Node) { n.AgentVersion = "a\x00" }, want: "agent_version contains a NUL"},
		"status":                       {change: func(n *membership.Node) { n.Status = "a\x00" }, want: "status contains a NUL"},
		"shard":                        {change: func(n *membership.Node) { n.Shards = []membership.Shard{{ID: "a"}, {ID: "b\x00"}} }, want: "shards[1].id contains a NUL"},
		"agent_url":                    {change: func(n *membership.Node) { n.AgentURL = "http://a\x00" }, want: "agent_url contains a NUL", gone: true},
		"no agent_url":                 {change: func(n *membership.Node) { n.AgentURL = "" }, want: "agent_url is missing", gone: true},
		"a file":                       {change: func(n *membership.Node) { n.AgentURL = "file:///etc/passwd" }, want: "agent_url \"file:///etc/passwd\" does not begin with", gone: true},
		"a port out of range":          {change: func(n *membership.Node) { n.AgentURL = "http://127.0.0.1:99999" }, want: "port 99999", gone: true},
		"no host":                      {change: func(n *membership.Node) { n.AgentURL = "http://:80" }, want: "and a host", gone: true},
		"journal_id":                   {change: func(n *membership.Node) { n.JournalID = "a\x00" }, want: "journal_id contains a NUL", gone: true},
	} {
		t.Run(name, func(t *testing.T) {
			v, memory := inventoryOn(t, func(s store.Store) store.Store { return s })
			update := membership.Update{Complete: true}
			for _, id := range []string{"a", "bad", "z"} {
				n := membership.Node{NodeID: id, ClusterID: "c", AgentURL: "http://" + id, Status: "HEALTHY", Attributes: map[string]any{"zone": "a"}}
				if id == "bad" {
					c.change(&n)
				}
				update.Changes = append(update.Changes, membership.Change{Node: n})
			}
			check := func() {
				t.Helper()
				if err := v.Deliver(update); err != nil {
					t.Fatal(err)
				}
				if err := v.saveDirty(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			check()
			check() // as after the loss of a connection
			for _, id := range []string{"a", "z"} {
				n, err := memory.Node(t.Context(), record.NodeKey{Cluster: "c", Node: id})
				if err != nil || n.Status != record.StatusHealthy || n.Attributes["zone"] != "a" {
					t.Errorf("%+v, %v", n, err)
				}
			}
			n, err := memory.Node(t.Context(), record.NodeKey{Cluster: "c", Node: "bad"})
			want := record.StatusUnknown
			if c.gone {
				want = record.StatusUnreachable
			}
			if err != nil || n.Status != want || n.Present == c.gone || n.Attributes != nil || !strings.Contains(n.StatusReason, c.want) {
				t.Errorf("%+v, %v", n, err)
			}
		})
	}
}

// TestANodeWhoseKeyCannotBeReadSaysSoUntilItIsCorrected also where its agent still answers.
func TestANodeWhoseKeyCannotBeReadSaysSoUntilItIsCorrected(t *testing.T) {
	v, _ := inventoryOn(t, func(s store.Store) store.Store { return s })
	v.Agents = &answers{node: wire.NodeInfo{NodeStatus: json.RawMessage(`"HEALTHY"`), OneProbe: true}}
	n := membership.Node{NodeID: "n", ClusterID: "c", AgentURL: "http://n"}
	deliver := func(change membership.Change) record.Node {
		t.Helper()
		if err := v.Deliver(membership.Update{Changes: []membership.Change{change}}); err != nil {
			t.Fatal(err)
		}
		return v.Known("c")[0]
	}
	deliver(membership.Change{Node: n})
	unreadable := membership.Change{Node: membership.Node{NodeID: "n", ClusterID: "c"}, Gone: true, Unreadable: errors.New("no JSON")}
	if known := deliver(unreadable); known.Present || !strings.Contains(known.StatusReason, "cannot be read: no JSON") {
		t.Errorf("%+v", known)
	}
	asked := v.NewLook("c").Round(t.Context(), []string{"n"})
	if asked[0].Status != record.StatusHealthy || !strings.Contains(asked[0].StatusReason, "cannot be read: no JSON") {
		t.Errorf("asked: %+v", asked)
	}
	if known := v.Known("c")[0]; known.Status != record.StatusUnreachable || !strings.Contains(known.StatusReason, "cannot be read: no JSON") {
		t.Errorf("after it was asked: %+v", known)
	}
	if known := deliver(membership.Change{Node: membership.Node{NodeID: "n", ClusterID: "c"}, Gone: true}); !strings.Contains(known.StatusReason, "has no key") {
		t.Errorf("%+v", known)
	}
	n.Status = "HEALTHY"
	if known := deliver(membership.Change{Node: n}); !known.Present || known.StatusReason != "" || known.Status != record.StatusHealthy {
		t.Errorf("%+v", known)
	}
}

func TestAStatusThatDoesNotExistIsUnknown(t *testing.T) {
	for status, want := range map[string]string{"HEALTHY": "why", "UNKNOWN": "why", "FINE": "why; the agent reported an unknown status: FINE"} {
		n := nodeOf(&membership.Node{NodeID: "n", ClusterID: "c", Status: status, StatusReason: "why"})
		if n.StatusReason != want || (status == "HEALTHY") != (n.Status == record.StatusHealthy) || status != "HEALTHY" && n.Status != record.StatusUnknown {
			t.Errorf("%s: %s, %q", status, n.Status, n.StatusReason)
		}
	}
}

func TestABadAnswerOfAnAgentIsNamed(t *testing.T) {
	healthy := json.RawMessage(`"HEALTHY"`)
	for want, info := range map[string]wire.NodeInfo{
		"attributes: a key of it contains a NUL": {Attributes: map[string]any{"a\x00": 1}},
		"nested more than 64 levels":             {Attributes: map[string]any{"a": deep(70)}},
		"attributes: a: ":                        {Attributes: map[string]any{"a": json.Number("1e400")}},
		"larger than":                            {Attributes: map[string]any{"a": strings.Repeat("x", 2<<20)}},
		"store_id contains a NUL":                {StoreID: "\x00"},
		"role contains a NUL":                    {Role: "\x00"},
		"shards[0].id contains a NUL":            {Shards: []wire.Shard{{ID: "\x00"}}},
	} {
		info.NodeStatus, info.OneProbe = healthy, true
		n := ask(&answers{node: info})
		if n.Status != record.StatusUnknown || !strings.Contains(n.StatusReason, want) || n.CheckFacts() != nil || n.Attributes != nil {
			t.Errorf("%s: %+v", want, n)
		}
	}
	n := ask(&answers{node: wire.NodeInfo{NodeStatus: healthy, StatusReason: strings.Repeat("x\x00", 1<<20), OneProbe: true}})
	if n.Status != record.StatusHealthy || record.CheckText(n.StatusReason) != nil || len(n.StatusReason) > record.MaxReason+len("…") {
		t.Errorf("status %s with a reason of %d bytes", n.Status, len(n.StatusReason))
	}
}

// TestANodeThatTheStoreRefusesIsSavedWithoutItsFacts beside all the others, by few writes.
func TestANodeThatTheStoreRefusesIsSavedWithoutItsFacts(t *testing.T) {
	writes := 0
	refused := map[string]bool{"n-17": true, "n-400": true}
	v, memory := inventoryOn(t, func(s store.Store) store.Store { return pickyStore{s, refused, &writes} })
	var log bytes.Buffer
	v.Log = hclog.New(&hclog.LoggerOptions{Output: &log})
	update := membership.Update{Complete: true}
	for i := range 500 {
		update.Changes = append(update.Changes, membership.Change{Node: membership.Node{
			NodeID: fmt.Sprint("n-", i), ClusterID: "c", AgentURL: "http://n", Status: "HEALTHY", Attributes: map[string]any{"x": "y"}}})
	}
	if err := v.Deliver(update); err != nil {
		t.Fatal(err)
	}
	if err := v.saveDirty(t.Context()); err != nil {
		t.Fatal(err)
	}
	saved, _, err := memory.Nodes(t.Context(), "c", store.Page{})
	if err != nil || len(saved) != 500 {
		t.Fatalf("%d nodes, %v", len(saved), err)
	}
	for _, n := range saved {
		if bare := n.Status == record.StatusUnknown && n.Attributes == nil && strings.Contains(n.StatusReason, "cannot be stored"); bare != refused[n.NodeID] {
			t.Errorf("%+v", n)
		}
	}
	if writes > 50 || strings.Count(log.String(), "cannot be stored; its facts are dropped") != 2 {
		t.Errorf("%d writes:\n%s", writes, log.String())
	}
}
