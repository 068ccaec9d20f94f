package record

import (
	"fmt"
	"math"
)

// Bounds of what is kept of a node, in bytes.
const (
	MaxName   = 1 << 10 // of an id, a role, a version, a URL
	MaxReason = 4 << 10 // of a status_reason
	MaxFacts  = 1 << 20 // of all of its facts
)

// CheckAddress says what of where a node's agent is cannot be stored.
func (n *Node) CheckAddress() error {
	return checkNames("agent_url", n.AgentURL, "journal_id", n.JournalID)
}

// CheckFacts says what of a node's facts cannot be stored, by the name of its field.
func (n *Node) CheckFacts() error {
	err := checkNames("status", string(n.Status), "role", n.Role, "store_id", n.StoreID, "store_version", n.StoreVersion,
		"agent_version", n.AgentVersion)
	if err != nil {
		return err
	}
	size := 0
	for i := range n.Shards {
		if err := n.Shards[i].check(&size); err != nil {
			return fmt.Errorf("shards[%d].%w", i, err)
		}
	}
	if err := checkStorable(map[string]any(n.Attributes), "", 1, &size, MaxFacts); err != nil {
		return fmt.Errorf("attributes: %w", err)
	}
	return nil
}

func (s *Shard) check(size *int) error {
	if err := checkNames("id", s.ID, "role", s.Role); err != nil {
		return err
	}
	*size += 8 + len(s.ID) + len(s.Role)
	if s.Lag != nil {
		*size += 8 + len(s.Lag.Unit)
		if math.IsNaN(s.Lag.Value) || math.IsInf(s.Lag.Value, 0) {
			return fmt.Errorf("lag.value is not a finite number")
		}
		return checkNames("lag.unit", s.Lag.Unit)
	}
	return nil
}

// DropFacts makes all facts of the node absent, because of what is wrong with them.
func (n *Node) DropFacts(reason string) {
	n.Status, n.StatusReason = StatusUnknown, CleanText(reason, MaxReason)
	n.Role, n.Shards, n.StoreID, n.StoreVersion, n.AgentVersion, n.Attributes = "", nil, "", "", "", nil
}

// Size is about how many bytes the node's facts take.
func (n *Node) Size() int {
	return len(n.StatusReason) + 64*len(n.Shards) + Size(n.Attributes)
}

// checkNames checks pairs of a field's name and its value.
func checkNames(pairs ...string) error {
	for i := 0; i < len(pairs); i += 2 {
		if err := CheckText(pairs[i+1]); err != nil {
			return fmt.Errorf("%s %w", pairs[i], err)
		}
		if len(pairs[i+1]) > MaxName {
			return fmt.Errorf("%s is longer than %d bytes", pairs[i], MaxName)
		}
	}
	return nil
}
