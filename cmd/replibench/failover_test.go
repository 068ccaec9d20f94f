//go:build integration

package main

import (
	"encoding/json"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/replicante-io/playbooks/internal/bench"
	"github.com/replicante-io/playbooks/internal/testenv"
)

func TestFailoverMeasuresTheTimeFromEachKillToTheNextDispatch(t *testing.T) {
	store := testenv.MongoSet(t, 1).URL
	programs := t.TempDir()
	if out, err := exec.Command("go", "build", "-o", programs+string(filepath.Separator), "../replicore").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	out, err := execute(t, "failover", "--store", store, "--programs", programs, "--nodes", "40", "--kills", "2", "--replicas", "2", "-o", "json")
	if err != nil {
		t.Fatal(err)
	}
	var got bench.FailoverResult
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatalf("%v in %s", err, out)
	}
	if len(got.DispatchS) != 2 || got.MedianS <= 0 || got.MaxS < got.MedianS || got.Starts < 40 || got.Starts%40 != 0 {
		t.Errorf("%+v", got)
	}
}
