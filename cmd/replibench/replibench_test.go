package main

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
)

// TestMain runs the test's program as the fleet where the command under test starts it so.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "fleet" {
		main()
		return
	}
	os.Exit(m.Run())
}

func execute(t *testing.T, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	cmd := command()
	cmd.SetArgs(args)
	cmd.SetOut(&out)
	err := cmd.ExecuteContext(t.Context())
	return out.String(), err
}

func TestRunStartsOneActionPerNodeAndPrintsWhatTheContractNames(t *testing.T) {
	out, err := execute(t, "run", "--nodes", "200", "-o", "json")
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]float64
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatalf("%v in %s", err, out)
	}
	want := []string{"floor_post_s", "floor_s", "node_kib", "nodes", "ratio", "rss_mb", "run_s", "starts"}
	if names := slices.Sorted(maps.Keys(got)); !slices.Equal(names, want) {
		t.Errorf("it prints %v, want %v", names, want)
	}
	if got["nodes"] != 200 || got["starts"] != 200 {
		t.Errorf("%v nodes, %v starts", got["nodes"], got["starts"])
	}
	for _, name := range want {
		if got[name] <= 0 {
			t.Errorf("%s is %v", name, got[name])
		}
	}
	if ratio := got["run_s"] / got["floor_s"]; got["ratio"]/ratio < 0.99 || got["ratio"]/ratio > 1.01 {
		t.Errorf("ratio %v of %v and %v", got["ratio"], got["run_s"], got["floor_s"])
	}
}

func TestInvalidFlagsAreRejected(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"run --nodes 0", "--nodes must be at least 1"},
		{"run --nodes 3 -o yaml", "--output"},
		{"run --nodes 3 --store nonsense://x", "nonsense"},
		{"failover --nodes 40", "--store is missing"},
		{"failover --nodes 40 --replicas 1", "--replicas must be at least 2"},
		{"fleet --nodes -1", "--nodes must be at least 1"},
	} {
		if _, err := execute(t, strings.Fields(c.args)...); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.args, err)
		}
	}
}
