package docs_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/replicante-io/playbooks/internal/config"
	"github.com/replicante-io/playbooks/internal/schema"
	"github.com/replicante-io/playbooks/playbook"
)

// minimalAgent is what a part of an agent's configuration lacks.
const minimalAgent = "node: {id: node-1, cluster: orders}\netcd: {endpoints: [http://etcd-1:2379]}\n"

// TestYAMLOfTheDocumentsIsValid reads each block of YAML as what it is: a playbook, some stages, a configuration, or a part of one.
func TestYAMLOfTheDocumentsIsValid(t *testing.T) {
	s := readSample(t)
	count := 0
	password := file(t, "secret")
	for _, b := range of(t, "yaml") {
		count++
		b.text = strings.ReplaceAll(b.text, "/etc/replicante/etcd-password", password)
		first, _, _ := strings.Cut(b.text, "\n")
		switch key, _, _ := strings.Cut(first, ":"); key {
		case "# yaml-language-server":
			if _, kind, _ := strings.Cut(first, "/schemas/"); schema.JSON(strings.TrimSuffix(kind, ".json")) == nil {
				t.Errorf("%s: there is no such schema", b)
			}
		case "apiVersion":
			checkPlaybook(t, b, b.text)
		case "- name":
			checkPlaybook(t, b, s.playbook+indented(b.text, 4))
		case "args": // TestArgsOfTheDocumentsBecomeWhatTheySay
		case "name":
			_, err := config.LoadCore(file(t, b.text), nil)
			check(t, b, err)
		case "node":
			_, err := config.LoadAgent(file(t, b.text), nil)
			check(t, b, err)
		case "actions", "probe":
			_, err := config.LoadAgent(file(t, minimalAgent+b.text), nil)
			check(t, b, err)
		case "- {alert": // TestAlertsUseMetricsThatExist
		default:
			t.Errorf("%s: it is not known what this is: %s", b, first)
		}
	}
	if count < 5 {
		t.Errorf("only %d blocks were found", count)
	}
}

func checkPlaybook(t *testing.T, b block, text string) {
	t.Helper()
	_, err := playbook.Parse(b.String(), []byte(text))
	check(t, b, err)
}

func check(t *testing.T, b block, err error) {
	t.Helper()
	if err != nil {
		t.Errorf("%s: %v", b, err)
	}
}

func file(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestExamplePlaybooksAreValid(t *testing.T) {
	for _, pattern := range []string{"../examples/*.yaml", "../examples/*/*.yaml"} {
		names, err := filepath.Glob(pattern)
		if err != nil || len(names) == 0 {
			t.Errorf("no examples match %s: %v", pattern, err)
		}
		for _, name := range names {
			checkPlaybook(t, block{file: name, line: 1}, read(t, name))
		}
	}
}
