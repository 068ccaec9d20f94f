package config_test

import (
	"os"
	"strings"
	"testing"

	"github.com/replicante-io/playbooks/internal/config"
)

func TestTheReferenceNamesEveryKey(t *testing.T) {
	reference, err := os.ReadFile("../../docs/reference.md")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(config.Core{}.String() + config.Agent{}.String()) {
		key, _, _ := strings.Cut(line, ":")
		if !strings.Contains(string(reference), "`"+key+"`") {
			t.Errorf("docs/reference.md does not name %s", key)
		}
	}
}
