// Package membership reports which nodes are live.
//
// Each live node has one key in etcd. A Registrar keeps an agent's key alive; a Watcher turns the keys into one
// snapshot and the changes after it, and misses none: after any loss of continuity it delivers a snapshot again.
package membership

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/replicante-io/playbooks/internal/jsonkeys"
)

// Node is the value of a node's key.
type Node struct {
	NodeID       string         `json:"node_id"`
	ClusterID    string         `json:"cluster_id"`
	AgentURL     string         `json:"agent_url"` // may have a path
	JournalID    string         `json:"journal_id,omitempty"`
	Attributes   map[string]any `json:"attributes,omitempty"`
	StoreID      string         `json:"store_id,omitempty"`
	StoreVersion string         `json:"store_version,omitempty"`
	Status       string         `json:"status,omitempty"`
	StatusReason string         `json:"status_reason,omitempty"`
	Role         string         `json:"role,omitempty"`
	Shards       []Shard        `json:"shards,omitzero"`         // nil: not known
	ProbeTimeout string         `json:"probe_timeout,omitempty"` // how long the agent's probe may take, such as 30s
	Kinds        []string       `json:"kinds,omitempty"`         // of the actions that the agent knows; nil: not known
	AgentVersion string         `json:"agent_version,omitempty"`
	StartTS      time.Time      `json:"start_ts,omitzero"` // of the agent
}

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

const maxID = 253

// keysPrefix is where the node keys are.
func keysPrefix(prefix string) string { return strings.TrimSuffix(prefix, "/") + "/clusters/" }

func key(prefix, cluster, node string) string { return keysPrefix(prefix) + cluster + "/nodes/" + node }

// ids is the reverse of key. The error is why a key is not that of a node.
func ids(prefix, key string) (cluster, node string, err error) {
	parts := strings.SplitN(strings.TrimPrefix(key, keysPrefix(prefix)), "/", 3)
	if len(parts) != 3 || parts[1] != "nodes" {
		return "", "", errors.New("it does not end with clusters/<cluster_id>/nodes/<node_id>")
	}
	if err := checkID(parts[0]); err != nil {
		return "", "", fmt.Errorf("its cluster_id %w", err)
	}
	if err := checkID(parts[2]); err != nil {
		return "", "", fmt.Errorf("its node_id %w", err)
	}
	return parts[0], parts[2], nil
}

var validID = regexp.MustCompile(`^[A-Za-z0-9._-]+$`)

func checkID(id string) error {
	switch {
	case id == "":
		return errors.New("is empty")
	case len(id) > maxID:
		return fmt.Errorf("is longer than %d bytes", maxID)
	case id == "." || id == ".." || !validID.MatchString(id):
		return fmt.Errorf("%+q is not a valid id; an id has letters (a to z), digits, '.', '_' and '-', and is not '.' or '..'", id)
	}
	return nil
}

// maxKinds bounds the kinds of actions in a key. Where they are not usable, they are not known: the agent may be asked.
const maxKinds = 1000

func badKind(kind string) bool {
	return kind == "" || len(kind) > maxID || strings.ContainsFunc(kind, func(r rune) bool { return r < '!' || r > '~' })
}

// decode reads the value of a node's key. The ids are the key's; a value that names others is an error.
func decode(cluster, node string, value []byte) (Node, error) {
	if !utf8.Valid(value) {
		return Node{}, errors.New("it is not UTF-8")
	}
	if err := jsonkeys.Check(value); err != nil {
		return Node{}, err
	}
	n := Node{ClusterID: cluster, NodeID: node}
	decoder := json.NewDecoder(bytes.NewReader(value))
	decoder.UseNumber() // whole numbers among the attributes stay whole
	if err := decoder.Decode(&n); err != nil {
		return Node{}, err
	}
	if n.ClusterID != cluster || n.NodeID != node {
		return Node{}, fmt.Errorf("it names node %q of cluster %q", n.NodeID, n.ClusterID)
	}
	if len(n.Kinds) > maxKinds || slices.ContainsFunc(n.Kinds, badKind) {
		n.Kinds = nil
	}
	return n, nil
}
