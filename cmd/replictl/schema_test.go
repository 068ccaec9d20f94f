package main

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/replicante-io/playbooks/api/apitest"
	"github.com/replicante-io/playbooks/internal/schema"
)

// offline is an operator whose server does not exist.
func offline(t *testing.T) *operator {
	d := newOperator(t)
	t.Setenv("RCTL_SERVER", "http://127.0.0.1:1")
	return d
}

func TestASchemaIsPrintedForEachKind(t *testing.T) {
	d := offline(t)
	for _, kind := range schema.Kinds {
		var printed struct {
			Schema     string                    `json:"$schema"`
			Properties map[string]map[string]any `json:"properties"`
		}
		if err := json.Unmarshal([]byte(d.ok("schema", kind)), &printed); err != nil || !strings.Contains(printed.Schema, "draft-07") {
			t.Errorf("%s: %+v, %v", kind, printed, err)
		}
		for key, property := range printed.Properties {
			if property["description"] == nil {
				t.Errorf("%s: %s has no description", kind, key)
			}
		}
	}
	d.fails(exitUsage, "playbook, schedule, freeze", "schema", "nothing")
	d.fails(exitUsage, "KIND is missing", "schema")
}

func TestPlaybooksAreValidatedWithoutAServer(t *testing.T) {
	d := offline(t)
	if out := d.ok("validate", "--offline", "-f", d.file); !strings.Contains(out, "restart") || !strings.Contains(out, "valid") {
		t.Error(out)
	}
	bad := filepath.Join(t.TempDir(), "bad.yaml")
	d.write(bad, strings.Replace(apitest.Playbook, "      steps:", "      targets: node.rol == 1\n      steps:", 1))
	d.fails(exitError, bad+":", "validate", "--offline", "-f", bad)
	d.fails(exitError, "rol", "validate", "--offline", "-f", bad)
	d.fails(exitError, "is also in", "validate", "--offline", "-f", d.file, "-f", d.file)
	s := d.fails(exitError, "", "validate", "--offline", "-f", bad, "-o", "json")
	if result := read[validation](t, s.out); result.Valid || len(result.Problems) != 1 || result.Problems[0].File != bad || result.Problems[0].Line == 0 {
		t.Errorf("%+v", result)
	}
}

func TestASchedulesParamsAreValidatedWithItsPlaybookOnly(t *testing.T) {
	d := offline(t)
	file := filepath.Join(t.TempDir(), "schedule.yaml")
	d.write(file, "apiVersion: replicante.io/v1\nkind: Schedule\nmetadata: {name: nightly}\n"+
		"spec: {playbook: restart, cluster: demo, cron: '0 2 * * *', params: {nothing: 1}}\n")
	s := d.run("validate", "--offline", "-f", file)
	if s.code != exitDone || !strings.Contains(s.err, "schedule nightly are not checked") {
		t.Errorf("%+v", s)
	}
	d.fails(exitError, `unknown param "nothing"`, "validate", "--offline", "-f", file, "-f", d.file)
}
