package record

import (
	"time"
)

// Status is how a node is, as its agent says.
type Status string

// The statuses of a node.
const (
	StatusHealthy      Status = "HEALTHY"
	StatusUnhealthy    Status = "UNHEALTHY"
	StatusUnavailable  Status = "UNAVAILABLE"
	StatusJoining      Status = "JOINING"
	StatusLeaving      Status = "LEAVING"
	StatusNotInCluster Status = "NOT_IN_CLUSTER"
	StatusUnknown      Status = "UNKNOWN"
	StatusUnreachable  Status = "UNREACHABLE" // it does not answer, or has no key
)

// Shard is one shard that a node holds.
type Shard struct {
	ID   string `json:"id"`
	Role string `json:"role,omitempty"`
	Lag  *Lag   `json:"lag,omitempty"`
}

// Lag is how far a shard is behind its primary.
type Lag struct {
	Value float64 `json:"value"`
	Unit  string  `json:"unit"`
}

// Node is a node that was once seen: what its key and its agent last said. It stays until it is forgotten.
type Node struct {
	NodeID       string     `json:"node_id"`
	ClusterID    string     `json:"cluster_id"`
	AgentURL     string     `json:"agent_url"`
	JournalID    string     `json:"journal_id,omitempty"`
	Attributes   Document   `json:"attributes,omitempty"`
	StoreID      string     `json:"store_id,omitempty"`
	StoreVersion string     `json:"store_version,omitempty"`
	Status       Status     `json:"status"`
	StatusReason string     `json:"status_reason,omitempty"` // why it is not HEALTHY, or what is wrong with how it was reported
	Role         string     `json:"role,omitempty"`          // PRIMARY, SECONDARY, RECOVERING or the agent's own; "" when unknown
	Shards       []Shard    `json:"shards,omitzero"`         // nil when unknown
	ProbeTimeout string     `json:"probe_timeout,omitempty"` // how long the agent's probe may take, such as 30s
	Kinds        []string   `json:"kinds,omitempty"`         // of the actions that its agent knows; nil when unknown
	AgentVersion string     `json:"agent_version,omitempty"`
	StartTS      *time.Time `json:"start_ts,omitempty"`    // of the agent
	ObservedTS   *time.Time `json:"observed_ts,omitempty"` // of the facts
	// Present is true while the node has a live key; GoneTS is since when it has none.
	Present bool       `json:"present"`
	GoneTS  *time.Time `json:"gone_ts,omitempty"`
}

// Key names the node across clusters.
func (n *Node) Key() NodeKey { return NodeKey{Cluster: n.ClusterID, Node: n.NodeID} }

// NodeKey names a node across clusters.
type NodeKey struct{ Cluster, Node string }
