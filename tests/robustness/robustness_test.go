//go:build integration

package robustness_test

import (
	"os"
	"testing"
	"time"

	"github.com/replicante-io/playbooks/internal/testenv"
	"github.com/replicante-io/playbooks/tests/robustness"
)

func TestAMinuteOfFaultsBreaksNoRule(t *testing.T) {
	dir, err := os.MkdirTemp("", "robustness-")
	if err != nil {
		t.Fatal(err)
	}
	summary, err := robustness.Run(t.Context(), robustness.Config{
		Dir: dir, Mongod: testenv.Mongod(t), Seed: 7, Duration: time.Minute, SettleTimeout: 3 * time.Minute, LeaseTTL: 3 * time.Second,
		Replicas: 3, Etcds: 3, Mongods: 3, Agents: 20, Log: t.Output(),
	})
	if err != nil {
		t.Fatalf("%v (logs are in %s)", err, dir)
	}
	for _, v := range summary.Violations {
		t.Error(v)
	}
	if summary.Starts < 50 || summary.Runs["DONE"] == 0 || summary.Takeovers == 0 {
		t.Errorf("too little has happened: %+v", summary)
	}
	if t.Failed() {
		t.Logf("logs, executions and evidence.json are in %s", dir)
		return
	}
	t.Logf("%d starts, %d takeovers, runs %v, faults %v", summary.Starts, summary.Takeovers, summary.Runs, summary.Faults)
	_ = os.RemoveAll(dir)
}
