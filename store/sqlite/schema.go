package sqlite

import (
	"fmt"
	"strings"
)

// schema is the version of the tables.
const schema = 1

// table is where the records of one kind are. The table <name>_data has the JSON of each in doc, and beside it the columns
// that it is found by; the view <name> adds every other field of the JSON as a column, for people. Columns generated in
// the table itself would do the same, but SQLite computes even virtual ones whenever a row is written: that took longer
// than the rest of a commit.
type table struct {
	name    string
	keys    string
	primary string
	fields  string
	extra   string // another column of the view
	options string
}

var tables = []table{
	{name: "terms", keys: "id INTEGER CHECK (id = 1)", primary: "id", fields: "term installation schema"},
	{
		name:    "playbooks",
		keys:    "name TEXT, revision INTEGER",
		primary: "name, revision",
		fields:  "version source labels spec digest created_ts",
		options: "WITHOUT ROWID",
	},
	{
		// open, created_ms and finish_ms serve the lists. The playbook's text is in playbook_run_specs, so that a commit
		// does not write it again.
		name:    "playbook_runs",
		keys:    "id TEXT, cluster TEXT, state TEXT, open INTEGER, created_ms INTEGER, finish_ms INTEGER",
		primary: "id",
		extra: `json_set(doc -> '$.playbook', '$.spec',
			json((SELECT doc FROM playbook_run_specs_data WHERE run_id = data.id))) AS playbook`,
		fields: "params reason error requested_by idempotency_key term stages counts waits_for " +
			"created_ts queued_ts start_ts update_ts finish_ts rev commit_id stamped",
	},
	{name: "playbook_run_specs", keys: "run_id TEXT", primary: "run_id"},
	{
		name:    "playbook_run_agents",
		keys:    "run_id TEXT, node TEXT, state TEXT",
		primary: "run_id, node",
		fields:  "cluster membership stages actions error history finish_ts",
		options: "WITHOUT ROWID",
	},
	{
		name:    "playbook_run_events",
		keys:    "run_id TEXT, seq INTEGER",
		primary: "run_id, seq",
		fields:  "ts type node stage step data actor finish_ts",
		options: "WITHOUT ROWID",
	},
	{
		name:    "nodes",
		keys:    "cluster_id TEXT, node_id TEXT, present INTEGER",
		primary: "cluster_id, node_id",
		fields: "agent_url journal_id attributes store_id store_version status role shards agent_version start_ts observed_ts " +
			"gone_ts",
		options: "WITHOUT ROWID",
	},
	// A key of a run goes with the run; another has finish_ms.
	{name: "idempotency_keys", keys: "key TEXT, run_id TEXT, finish_ms INTEGER", primary: "key", fields: "digest answer"},
}

var indexes = []string{
	"playbook_runs_by_age ON playbook_runs_data (created_ms, id)",
	"playbook_runs_by_cluster ON playbook_runs_data (cluster, created_ms, id)",
	"playbook_runs_open ON playbook_runs_data (id) WHERE open",
	"playbook_runs_finished ON playbook_runs_data (finish_ms) WHERE finish_ms IS NOT NULL",
	"idempotency_keys_by_run ON idempotency_keys_data (run_id) WHERE run_id IS NOT NULL",
	"idempotency_keys_finished ON idempotency_keys_data (finish_ms) WHERE finish_ms IS NOT NULL",
}

// definitions makes everything.
func definitions() []string {
	var all []string
	for _, table := range tables {
		all = append(all, fmt.Sprintf("CREATE TABLE %s_data (%s, doc TEXT NOT NULL, PRIMARY KEY (%s)) %s", table.name, table.keys, table.primary, table.options))
		columns := []string{"data.*"}
		for _, field := range strings.Fields(table.fields) {
			columns = append(columns, fmt.Sprintf("doc ->> '$.%s' AS %s", field, field))
		}
		if table.extra != "" {
			columns = append(columns, table.extra)
		}
		all = append(all, fmt.Sprintf("CREATE VIEW %s AS SELECT %s FROM %s_data data", table.name, strings.Join(columns, ", "), table.name))
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
