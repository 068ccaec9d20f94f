//go:build integration

package cluster_test

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/replicante-io/playbooks/api/client"
	"github.com/replicante-io/playbooks/internal/failpoint"
	"github.com/replicante-io/playbooks/internal/testenv"
	"github.com/replicante-io/playbooks/record"
	"github.com/replicante-io/playbooks/tests/robustness/cluster"
)

const playbook = `
apiVersion: replicante.io/v1
kind: Playbook
metadata: {name: work}
spec:
  stages:
    - name: work
      batch: 1
      steps: [{name: act, action: external.agent.replicante.io/act}]
`

func TestARunEndsThoughItsLeaderIsKilledAtEveryFailpoint(t *testing.T) {
	dir := t.TempDir()
	programs := filepath.Join(dir, "bin")
	if err := cluster.Build(t.Context(), programs, "failpoints"); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "starts")
	in, err := cluster.Start(t.Context(), cluster.Config{
		Dir: dir, Programs: programs, Store: testenv.Mongo(t), Etcds: 1, Replicas: 2, Agents: 12, LeaseTTL: 2 * time.Second,
		AgentYAML: func(string) string {
			return fmt.Sprintf("actions: {act: {command: [/bin/sh, -c, %q], timeout: 30s}}", cluster.RecordStart(file)+"sleep 0.05")
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(in.Stop)
	api, err := client.New(client.Config{Servers: in.Servers(), Patience: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := api.Apply(t.Context(), []client.File{{Name: "work.yaml", Data: []byte(playbook)}}); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		if nodes, err := api.Nodes(t.Context(), in.Cluster); err == nil && len(nodes) == len(in.Nodes) {
			break
		} else if time.Now().After(deadline) {
			t.Fatalf("the control plane knows %d of %d nodes: %v", len(nodes), len(in.Nodes), err)
		}
	}
	points := []string{
		failpoint.Creating, failpoint.Created, failpoint.Decided, failpoint.Committed, failpoint.Sending, failpoint.Sent, failpoint.Answered, failpoint.Stamping,
	}
	for i, point := range points {
		leader, err := in.Leader(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := leader.Arm(t.Context(), point, 1, "kill"); err != nil {
			t.Fatal(err)
		}
		if i < 2 { // the client repeats the request under one idempotency key
			if _, err := api.Start(t.Context(), record.RunRequest{Playbook: "work", Cluster: in.Cluster}); err != nil {
				t.Fatal(err)
			}
		}
		select {
		case <-leader.Done():
		case <-time.After(time.Minute):
			t.Fatalf("%s never passed %q", leader.Name, point)
		}
		if err := leader.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		runs, err := api.Runs(t.Context(), client.RunFilter{})
		if err != nil {
			t.Fatal(err)
		}
		ended := 0
		for _, run := range runs {
			if run.State.Final() {
				if ended++; run.State != record.RunDone {
					t.Fatalf("run %s ended %s", run.ID, run.State)
				}
			}
		}
		if len(runs) != 2 {
			t.Fatalf("%d runs instead of 2", len(runs))
		}
		if ended == 2 {
			break
		} else if time.Now().After(deadline) {
			t.Fatalf("not all runs have ended: %+v", runs)
		}
	}
	starts, err := cluster.ReadStarts(file)
	if err != nil {
		t.Fatal(err)
	}
	started := map[string]bool{}
	for _, s := range starts {
		if started[s.ActionID] {
			t.Errorf("action %s was started twice", s.ActionID)
		}
		started[s.ActionID] = true
	}
	if want := 2 * len(in.Nodes); len(started) != want {
		t.Errorf("%d actions were started instead of %d", len(started), want)
	}
}
