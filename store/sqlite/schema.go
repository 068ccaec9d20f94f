package sqlite

import (
	"fmt"
	"slices"
	"strings"

	"github.com/replicante-io/playbooks/record"
	"github.com/replicante-io/playbooks/store"
)

// schemaVersion is of what this program writes.
const schemaVersion = 1

// table holds the records of one kind. The table <name>_data has the JSON of each record in doc, and beside it the columns
// that it is found by; the view <name> has every field of the JSON as a column, for people. Generated columns of the table
// itself would do the same, but SQLite computes even virtual ones whenever a row is written, which took longer than the rest
// of a commit.
type table struct {
	name    string
	keys    string // with their types
	primary string
	fields  []string          // of the record
	views   map[string]string // the expressions of fields that are not in doc
	options string
}

var tables = []table{
	{name: "terms", keys: "id INTEGER CHECK (id = 1)", primary: "id", fields: store.FieldNames[record.Term]()},
	{
		name:    "playbooks",
		keys:    "name TEXT, revision INTEGER",
		primary: "name, revision",
		fields:  store.FieldNames[record.Playbook](),
		options: "WITHOUT ROWID",
	},
	{
		// open, created_ms and finish_ms serve the lists. The playbook's text is in playbook_run_specs, so that a commit
		// does not write it again.
		name:    "playbook_runs",
		keys:    "id TEXT, cluster TEXT, state TEXT, open INTEGER, created_ms INTEGER, finish_ms INTEGER",
		primary: "id",
		fields:  store.FieldNames[record.Run](),
		views: map[string]string{"playbook": `json_set(doc -> '$.playbook', '$.spec',
			json((SELECT doc FROM playbook_run_specs_data WHERE run_id = data.id)))`},
	},
	{name: "playbook_run_specs", keys: "run_id TEXT", primary: "run_id"},
	{
		name:    "playbook_run_agents",
		keys:    "run_id TEXT, node TEXT, state TEXT",
		primary: "run_id, node",
		fields:  store.FieldNames[record.RunNode](),
		options: "WITHOUT ROWID",
	},
	{
		name:    "playbook_run_events",
		keys:    "run_id TEXT, seq INTEGER",
		primary: "run_id, seq",
		fields:  store.FieldNames[record.Event](),
		options: "WITHOUT ROWID",
	},
	{
		name:    "nodes",
		keys:    "cluster_id TEXT, node_id TEXT, present INTEGER",
		primary: "cluster_id, node_id",
		fields:  store.FieldNames[record.Node](),
		options: "WITHOUT ROWID",
	},
	{name: "schedules", keys: "name TEXT", primary: "name", fields: store.FieldNames[record.Schedule](), options: "WITHOUT ROWID"},
	{name: "freezes", keys: "name TEXT", primary: "name", fields: store.FieldNames[record.Freeze](), options: "WITHOUT ROWID"},
	// The key of a run is deleted with the run; any other one has finish_ms.
	{
		name:    "idempotency_keys",
		keys:    "key TEXT, run_id TEXT, finish_ms INTEGER",
		primary: "key",
		fields:  store.FieldNames[record.IdempotencyRecord](),
	},
}

var indexes = []string{
	"playbook_runs_by_age ON playbook_runs_data (created_ms, id)",
	"playbook_runs_by_cluster ON playbook_runs_data (cluster, created_ms, id)",
	"playbook_runs_open ON playbook_runs_data (id) WHERE open",
	"playbook_runs_finished ON playbook_runs_data (finish_ms) WHERE finish_ms IS NOT NULL",
	"idempotency_keys_by_run ON idempotency_keys_data (run_id) WHERE run_id IS NOT NULL",
	"idempotency_keys_finished ON idempotency_keys_data (finish_ms) WHERE finish_ms IS NOT NULL",
}

// definitions are the statements that create everything that is missing.
func definitions() []string {
	var all []string
	for _, table := range tables {
		all = append(all, fmt.Sprintf("CREATE TABLE IF NOT EXISTS %s_data (%s, doc TEXT NOT NULL, PRIMARY KEY (%s)) %s", table.name, table.keys, table.primary, table.options))
		all = append(all, fmt.Sprintf("CREATE VIEW IF NOT EXISTS %s AS SELECT %s FROM %s_data data", table.name, strings.Join(table.viewColumns(), ", "), table.name))
	}
	for _, index := range indexes {
		all = append(all, "CREATE INDEX IF NOT EXISTS "+index)
	}
	// Runs that have expired, until Maintain has deleted all their records.
	return append(all, "CREATE TABLE IF NOT EXISTS expired_runs (run_id TEXT PRIMARY KEY)")
}

// viewColumns are the table's own columns, and one for each field of the record that is not among them.
func (t *table) viewColumns() []string {
	var keys []string
	for key := range strings.SplitSeq(t.keys, ", ") {
		name, _, _ := strings.Cut(key, " ")
		keys = append(keys, name)
	}
	columns := []string{"data.*"}
	for _, field := range t.fields {
		if slices.Contains(keys, field) {
			continue
		}
		expression := t.views[field]
		if expression == "" {
			expression = fmt.Sprintf("doc ->> '$.%s'", field)
		}
		columns = append(columns, fmt.Sprintf("%s AS %q", expression, field))
	}
	return columns
}

// tuples is rows times (?, ?, …) with as many values as columns.
func tuples(rows, columns int) string {
	tuple := "(" + strings.Repeat("?,", columns-1) + "?)"
	return strings.Repeat(tuple+",", rows-1) + tuple
}
