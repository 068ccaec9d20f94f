package traffic

import (
	"bytes"
	_ "embed"
	"fmt"
	"os"
	"path/filepath"

	"github.com/replicante-io/playbooks/tests/robustness/cluster"
	"github.com/replicante-io/playbooks/tests/robustness/validate"
)

//go:embed work.sh
var script []byte

// AddWork gives the agents of an installation the action work. Its executions are recorded below the installation's directory.
func AddWork(config *cluster.Config) error {
	dir, file := filepath.Join(config.Dir, "executions"), filepath.Join(config.Dir, "work.sh")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	config.AgentYAML = func(id string) string {
		return fmt.Sprintf("actions: {work: {command: [/bin/bash, %q, %q], timeout: 30s}}", file, executionsOf(config.Dir, id))
	}
	return os.WriteFile(file, script, 0o600)
}

// Executions reads the executions of work so far, in an installation with this directory.
func Executions(dir string) ([]validate.Execution, error) {
	return validate.ReadExecutions(executionsOf(dir, "*"))
}

func executionsOf(dir, node string) string { return filepath.Join(dir, "executions", node) }

// Working reports whether the latest execution of work on a node has not recorded its end.
func Working(dir, node string) bool {
	text, err := os.ReadFile(executionsOf(dir, node))
	last := bytes.LastIndexByte(bytes.TrimSuffix(text, []byte("\n")), '\n') + 1
	return err == nil && bytes.HasPrefix(text[last:], []byte("S "))
}
