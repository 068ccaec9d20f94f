package cluster

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/replicante-io/playbooks/agent/wire"
	"github.com/replicante-io/playbooks/membership"
	"github.com/replicante-io/playbooks/record"
)

// nodeOf is what a node's key says. What of it cannot be stored is absent, and named by its status_reason.
func nodeOf(n *membership.Node) record.Node {
	node := record.Node{
		NodeID: n.NodeID, ClusterID: n.ClusterID, AgentURL: n.AgentURL, JournalID: n.JournalID, AgentVersion: n.AgentVersion,
		StoreID: n.StoreID, StoreVersion: n.StoreVersion, Status: record.Status(n.Status), Kinds: n.Kinds,
		StatusReason: record.CleanText(n.StatusReason, record.MaxReason), Role: n.Role,
	}
	if _, err := time.ParseDuration(n.ProbeTimeout); err == nil {
		node.ProbeTimeout = n.ProbeTimeout
	}
	if n.Shards != nil {
		node.Shards = []record.Shard{}
	}
	for _, shard := range n.Shards {
		s := record.Shard{ID: shard.ID, Role: shard.Role}
		if shard.Lag != nil {
			s.Lag = &record.Lag{Value: shard.Lag.Value, Unit: shard.Lag.Unit}
		}
		node.Shards = append(node.Shards, s)
	}
	if !n.StartTS.IsZero() {
		started := record.Time(n.StartTS)
		node.StartTS = &started
	}
	if err := takeFacts(&node, n.Attributes); err != nil {
		node.DropFacts("the node's key in etcd is not used as it is: " + err.Error())
	}
	if node.Status != "" {
		published, _ := json.Marshal(string(node.Status))
		status, unknown := wire.ParseStatus(published)
		node.Status = record.Status(status)
		if unknown != "" {
			node.StatusReason = record.CleanText(strings.TrimPrefix(node.StatusReason+"; "+unknown, "; "), record.MaxReason)
		}
	}
	return node
}

// takeFacts gives a node its attributes, and checks all of its facts. What is wrong with them is the error.
func takeFacts(n *record.Node, attributes map[string]any) error {
	normal, err := record.Normalize(attributes)
	if err != nil {
		return fmt.Errorf("attributes: %w", err)
	}
	n.Attributes, _ = normal.(map[string]any)
	return n.CheckFacts()
}

// checkAddress says why nothing can be sent to the agent of a node by what its key says.
func checkAddress(n *record.Node) error {
	if err := n.CheckAddress(); err != nil {
		return err
	}
	if err := wire.CheckURL(n.AgentURL); err != nil {
		return fmt.Errorf("agent_url %w", err)
	}
	return nil
}

// appear takes in what a live key says. The caller holds mu.
func (v *Inventory) appear(fresh record.Node, now time.Time) *record.Node {
	known := v.cluster(fresh.ClusterID)[fresh.NodeID]
	if known == nil {
		known = &record.Node{Status: record.StatusUnknown}
		v.nodes[fresh.ClusterID][fresh.NodeID] = known
	}
	fresh.Present, fresh.ObservedTS, fresh.Kinds = true, known.ObservedTS, v.sharedKinds(fresh.Kinds)
	switch {
	case fresh.Status != "":
		fresh.ObservedTS = &now
	case known.Status == record.StatusUnreachable:
		fresh.Status = record.StatusUnknown
	default:
		fresh.Status = known.Status
	}
	if fresh.StartTS == nil {
		fresh.StartTS = known.StartTS
	}
	*known = fresh
	delete(v.unreadable, known.Key())
	v.dirty[known.Key()] = struct{}{}
	return known
}

// sharedKinds is the same list of kinds, in the memory of the one before where both are equal. The caller holds mu.
func (v *Inventory) sharedKinds(kinds []string) []string {
	if !slices.Equal(v.kinds, kinds) {
		v.kinds = kinds
	}
	if kinds == nil {
		return nil
	}
	return v.kinds
}

// vanish notes that a node's key is gone. The caller holds mu.
func (v *Inventory) vanish(key record.NodeKey, now time.Time) {
	known := v.nodes[key.Cluster][key.Node]
	if known == nil || !known.Present && known.GoneTS != nil && v.unreadable[key] == "" {
		return
	}
	delete(v.unreadable, key)
	v.unreachable(known, "the node has no key in etcd: its agent has stopped or cannot reach etcd", now)
}

// setAside notes that a node has a key that cannot be read. The node counts as one without a key. The caller holds mu.
func (v *Inventory) setAside(key record.NodeKey, reason error, now time.Time) {
	known := v.cluster(key.Cluster)[key.Node]
	if known == nil {
		known = &record.Node{NodeID: key.Node, ClusterID: key.Cluster}
		v.nodes[key.Cluster][key.Node] = known
	}
	v.unreadable[key] = record.CleanText("the node's key in etcd cannot be read: "+reason.Error(), record.MaxReason)
	v.unreachable(known, v.unreadable[key], now)
}

// unreachable makes a node one without a key, since now or since it is one. The caller holds mu.
func (v *Inventory) unreachable(known *record.Node, reason string, now time.Time) {
	if known.Present || known.GoneTS == nil {
		known.Present, known.GoneTS = false, &now
	}
	known.Status, known.StatusReason = record.StatusUnreachable, reason
	known.Role, known.Shards = "", nil
	v.dirty[known.Key()] = struct{}{}
}
