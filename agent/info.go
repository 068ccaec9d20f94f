package agent

import (
	"maps"
	"slices"
	"strings"

	"github.com/replicante-io/playbooks/agent/wire"
)

// Info is the facts of a node, all of one run of its probe. A probe prints it as JSON; only status is required.
type Info struct {
	StoreID      string // store_id
	StoreVersion string // store_version
	// Status is one of package wire's; Reason is why it is not HEALTHY.
	Status string
	Reason string
	// Role is PRIMARY, SECONDARY, RECOVERING or the probe's own. By default it is that of the shards, if all have the same.
	Role string
	// Shards is nil where they are not known.
	Shards     []Shard // shards
	Attributes map[string]any
	// Warnings are what is wrong with the output of the probe, although it was used.
	Warnings []string
}

// Shard is one shard of a node.
type Shard struct {
	ID   string
	Role string
	Lag  *Lag
}

// Lag is how far a shard is behind its primary.
type Lag struct {
	Value float64
	Unit  string
}

// StatusReason is why the status is not HEALTHY, and what is wrong with the output of the probe.
func (i Info) StatusReason() string {
	return JoinReasons(append([]string{i.Reason}, i.Warnings...)...)
}

// JoinReasons is the status_reason with all reasons that are not empty.
func JoinReasons(reasons ...string) string {
	return strings.Join(slices.DeleteFunc(reasons, func(reason string) bool { return reason == "" }), "; ")
}

// normal is the info with a valid status, the role of its shards, and the node's own attributes.
func (i Info) normal(own map[string]any) Info {
	switch i.Status {
	case wire.StatusHealthy, wire.StatusUnhealthy, wire.StatusUnavailable, wire.StatusJoining, wire.StatusLeaving,
		wire.StatusNotInCluster, wire.StatusUnknown:
	case "":
		i.Status, i.Reason = wire.StatusUnknown, "the probe printed no status"
	default:
		i.Status, i.Reason = wire.StatusUnknown, "the probe printed an unknown status: "+i.Status
	}
	if i.Role == "" && len(i.Shards) > 0 && !slices.ContainsFunc(i.Shards, func(s Shard) bool { return s.Role != i.Shards[0].Role }) {
		i.Role = i.Shards[0].Role
	}
	attributes := maps.Clone(own)
	if attributes == nil {
		attributes = map[string]any{}
	}
	maps.Copy(attributes, i.Attributes)
	i.Attributes = attributes
	return i
}

func (a *Agent) nodeInfo(i Info) wire.NodeInfo {
	warning := ""
	if a.cfg.Warning != nil {
		warning = a.cfg.Warning()
	}
	return wire.NodeInfo{
		AgentVersion: a.cfg.Version, Attributes: i.Attributes, NodeID: a.cfg.NodeID,
		NodeStatus: wire.FormatStatus(i.Status, i.Reason), StoreID: i.StoreID, StoreVersion: wire.StoreVersion{Number: i.StoreVersion},
		ClusterID: a.cfg.ClusterID, JournalID: a.JournalID(), Role: i.Role, StatusReason: JoinReasons(warning, i.StatusReason()), OneProbe: true,
		Shards: shards(i),
	}
}

func (a *Agent) storeInfo(i Info) wire.StoreInfo {
	return wire.StoreInfo{ClusterID: a.cfg.ClusterID, Attributes: i.Attributes}
}

// shards is nil where they are not known.
func shards(i Info) []wire.Shard {
	if i.Shards == nil {
		return nil
	}
	shards := make([]wire.Shard, len(i.Shards))
	for n, s := range i.Shards {
		// The published API requires an offset, which probes do not have.
		shards[n] = wire.Shard{ID: s.ID, Role: wire.FormatRole(s.Role), CommitOffset: wire.Offset{Unit: wire.FormatUnit("unknown")}}
		if s.Lag != nil {
			shards[n].Lag = &wire.Offset{Unit: wire.FormatUnit(s.Lag.Unit), Value: s.Lag.Value}
		}
	}
	return shards
}
