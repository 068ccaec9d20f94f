package traffic

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/replicante-io/playbooks/tests/robustness/cluster"
	"github.com/replicante-io/playbooks/tests/robustness/validate"
)

var (
	//go:embed work.sh
	work []byte
	//go:embed probe.sh
	probe []byte
)

// AddWork gives the agents of an installation the action work, and nodes that are healthy. The executions of work are recorded below
// the installation's directory.
func AddWork(config *cluster.Config) error {
	file, probeFile := filepath.Join(config.Dir, "work.sh"), filepath.Join(config.Dir, "probe.sh")
	for _, dir := range []string{"executions", "probes"} {
		if err := os.MkdirAll(filepath.Join(config.Dir, dir), 0o700); err != nil {
			return err
		}
	}
	config.AgentYAML = func(id string) string {
		return fmt.Sprintf("actions: {work: {command: [/bin/bash, %q, %q], timeout: 30s}}\n"+
			"probe: {command: [/bin/bash, %q, %q], interval: 5s, timeout: 12s}\n",
			file, ExecutionsOf(config.Dir, id), probeFile, probeOf(config.Dir, id))
	}
	return errors.Join(os.WriteFile(file, work, 0o600), os.WriteFile(probeFile, probe, 0o600))
}

// SetProbe has the probe of a node take so long.
func SetProbe(dir, node string, takes time.Duration) error {
	if takes == 0 {
		return os.Remove(probeOf(dir, node))
	}
	return os.WriteFile(probeOf(dir, node), fmt.Appendln(nil, takes.Seconds()), 0o600)
}

func probeOf(dir, node string) string { return filepath.Join(dir, "probes", node) }

// Executions reads the executions of work so far, in an installation with this directory.
func Executions(dir string) ([]validate.Execution, error) {
	return validate.ReadExecutions(ExecutionsOf(dir, "*"))
}

// ExecutionsOf is the file of the executions on a node, in an installation with this directory.
func ExecutionsOf(dir, node string) string { return filepath.Join(dir, "executions", node) }

// Working reports whether the latest execution of work on a node has not recorded its end.
func Working(dir, node string) bool {
	text, err := os.ReadFile(ExecutionsOf(dir, node))
	last := bytes.LastIndexByte(bytes.TrimSuffix(text, []byte("\n")), '\n') + 1
	return err == nil && bytes.HasPrefix(text[last:], []byte("S "))
}
