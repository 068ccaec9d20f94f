//go:build integration

package chaos_test

import (
	"os"
	"testing"
	"time"

	"github.com/replicante-io/playbooks/internal/testenv"
	chaos "github.com/replicante-io/playbooks/tests/robustness/traffic"
)

func TestAMinuteOfChaosBreaksNothing(t *testing.T) {
	dir, err := os.MkdirTemp("", "chaos-")
	if err != nil {
		t.Fatal(err)
	}
	summary, err := chaos.Run(t.Context(), chaos.Config{
		Dir: dir, Mongod: testenv.Mongod(t), Seed: 7, Duration: time.Minute, Patience: 3 * time.Minute, LeaseTTL: 3 * time.Second,
		Replicas: 3, Etcds: 3, Mongods: 3, Agents: 20, Log: t.Output(),
	})
	if err != nil {
		t.Fatalf("%v (what there is is in %s)", err, dir)
	}
	for _, v := range summary.Violations {
		t.Error(v)
	}
	if summary.Starts < 50 || summary.Runs["DONE"] == 0 || summary.Takeovers == 0 {
		t.Errorf("too little has happened: %+v", summary)
	}
	if t.Failed() {
		t.Logf("logs, histories and evidence.json are in %s", dir)
		return
	}
	t.Logf("%d starts, %d takeovers, runs %v, faults %v", summary.Starts, summary.Takeovers, summary.Runs, summary.Faults)
	_ = os.RemoveAll(dir)
}
