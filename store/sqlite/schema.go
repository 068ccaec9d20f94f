package sqlite

import (
	"fmt"
	"strings"
)

// schema is the version of the tables.
const schema = 1

// table is a table whose records are JSON in doc. keys are columns that are stored beside it; fields are read out of it
// whenever somebody asks for them.
type table struct {
	name    string
	keys    string
	fields  string
	options string
}

var tables = []table{
	{name: "terms", keys: "id INTEGER PRIMARY KEY CHECK (id = 1)", fields: "term installation schema"},
	{
		name:    "playbooks",
		keys:    "name TEXT NOT NULL, revision INTEGER NOT NULL, PRIMARY KEY (name, revision)",
		fields:  "version source labels spec digest created_ts",
		options: "WITHOUT ROWID",
	},
	{
		// open, created_ms and finish_ms serve the lists. The playbook's text is in playbook_run_specs, so that a commit
		// does not write it again.
		name: "playbook_runs",
		keys: "id TEXT PRIMARY KEY, open INTEGER NOT NULL, created_ms INTEGER NOT NULL, finish_ms INTEGER",
		fields: "cluster playbook params state reason error requested_by idempotency_key term stages counts waits_for " +
			"created_ts start_ts update_ts finish_ts rev commit_id sealed",
	},
	{name: "playbook_run_specs", keys: "run_id TEXT PRIMARY KEY"},
	{
		name:    "playbook_run_agents",
		keys:    "run_id TEXT NOT NULL, node TEXT NOT NULL, state TEXT NOT NULL, PRIMARY KEY (run_id, node)",
		fields:  "cluster membership stages actions error history finish_ts",
		options: "WITHOUT ROWID",
	},
	{
		name:    "playbook_run_events",
		keys:    "run_id TEXT NOT NULL, seq INTEGER NOT NULL, PRIMARY KEY (run_id, seq)",
		fields:  "ts type node stage step data actor finish_ts",
		options: "WITHOUT ROWID",
	},
	{
		name: "nodes",
		keys: "cluster_id TEXT NOT NULL, node_id TEXT NOT NULL, present INTEGER NOT NULL, PRIMARY KEY (cluster_id, node_id)",
		fields: "agent_url journal_id attributes store_id store_version status role shards agent_version start_ts observed_ts " +
			"gone_ts",
		options: "WITHOUT ROWID",
	},
	// A key of a run goes with the run; another has finish_ms.
	{name: "idempotency_keys", keys: "key TEXT PRIMARY KEY, run_id TEXT, finish_ms INTEGER", fields: "digest answer"},
}

var indexes = []string{
	"playbook_runs_by_age ON playbook_runs (created_ms, id)",
	"playbook_runs_by_cluster ON playbook_runs (cluster, created_ms, id)",
	"playbook_runs_open ON playbook_runs (created_ms, id) WHERE open",
	"playbook_runs_finished ON playbook_runs (finish_ms) WHERE finish_ms IS NOT NULL",
	"idempotency_keys_by_run ON idempotency_keys (run_id) WHERE run_id IS NOT NULL",
	"idempotency_keys_finished ON idempotency_keys (finish_ms) WHERE finish_ms IS NOT NULL",
}

// definitions makes everything.
func definitions() []string {
	var all []string
	for _, table := range tables {
		keys, primary, compound := strings.Cut(table.keys, ", PRIMARY KEY")
		columns := []string{keys, "doc TEXT NOT NULL"}
		for _, field := range strings.Fields(table.fields) {
			columns = append(columns, fmt.Sprintf("%s GENERATED ALWAYS AS (doc ->> '$.%s') VIRTUAL", field, field))
		}
		if compound {
			columns = append(columns, "PRIMARY KEY"+primary)
		}
		all = append(all, fmt.Sprintf("CREATE TABLE %s (%s) %s", table.name, strings.Join(columns, ", "), table.options))
	}
	for _, index := range indexes {
		all = append(all, "CREATE INDEX "+index)
	}
	// Runs that have expired, until the janitor has deleted what was theirs.
	return append(all, "CREATE TABLE expired_runs (run_id TEXT PRIMARY KEY)")
}

// tuples is rows times (?, ?, …) with as many values as columns.
func tuples(rows, columns int) string {
	tuple := "(" + strings.Repeat("?,", columns-1) + "?)"
	return strings.Repeat(tuple+",", rows-1) + tuple
}
