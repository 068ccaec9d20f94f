// Package schema has the JSON Schema (draft-07) of each kind of file that an operator writes. Each is made from the table of keys by which
// the file is parsed.
package schema

import (
	"github.com/replicante-io/playbooks/internal/config"
	"github.com/replicante-io/playbooks/internal/keys"
	"github.com/replicante-io/playbooks/playbook"
)

// Kinds are the kinds of files, in the order in which they are listed.
var Kinds = []string{"playbook", "schedule", "freeze", "replicore", "repliagent"}

// Table is the table of keys of a kind; nil for one that is not known.
func Table(kind string) *keys.Mapping {
	switch kind {
	case "playbook":
		return playbook.Keys("Playbook")
	case "schedule":
		return playbook.Keys("Schedule")
	case "freeze":
		return playbook.Keys("Freeze")
	case "replicore":
		return config.CoreKeys()
	case "repliagent":
		return config.AgentKeys()
	}
	return nil
}

// JSON is the schema of a kind; nil for one that is not known.
func JSON(kind string) []byte {
	if table := Table(kind); table != nil {
		return keys.JSONSchema(table)
	}
	return nil
}
