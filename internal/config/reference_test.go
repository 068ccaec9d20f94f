package config_test

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/pflag"

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

// TestFlagsAndTheReferenceHaveTheSameDefaults looks for the default that a flag shows in the row of its key.
func TestFlagsAndTheReferenceHaveTheSameDefaults(t *testing.T) {
	reference, err := os.ReadFile("../../docs/reference.md")
	if err != nil {
		t.Fatal(err)
	}
	replica, agent, _ := strings.Cut(string(reference), "`repliagent --config")
	for text, add := range map[string]func(*pflag.FlagSet){replica: config.CoreFlags, agent: config.AgentFlags} {
		flags := pflag.NewFlagSet("", pflag.ContinueOnError)
		add(flags)
		seen := 0
		flags.VisitAll(func(flag *pflag.Flag) {
			_, value, found := strings.Cut(strings.TrimSuffix(flag.Usage, ")"), "(default: ")
			row := regexp.MustCompile("(?m)^\\| [^|]*`" + strings.ReplaceAll(regexp.QuoteMeta(flag.Name), "-", "[._]") + "`[^|]*\\|([^|]*)\\|").FindStringSubmatch(text)
			if !found || strings.Contains(value, " ") || row == nil {
				return
			}
			seen++
			if !strings.Contains(row[1], "`"+value+"`") {
				t.Errorf("--%s has the default %s, and docs/reference.md says %s", flag.Name, value, row[1])
			}
		})
		if seen < 2 {
			t.Errorf("only %d defaults were compared", seen)
		}
	}
}
