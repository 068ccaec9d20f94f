//go:build integration

package rig_test

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/replicante-io/playbooks/api/client"
	"github.com/replicante-io/playbooks/internal/failpoint"
	"github.com/replicante-io/playbooks/internal/testenv"
	"github.com/replicante-io/playbooks/record"
	rig "github.com/replicante-io/playbooks/tests/robustness/cluster"
)

const book = `
apiVersion: replicante.io/v1
kind: Playbook
metadata: {name: work}
spec:
  stages:
    - name: work
      batch: 1
      steps: [{name: act, action: external.agent.replicante.io/act}]
`

func TestAnInstallationIsKilledAtEveryPointAndEndsItsRun(t *testing.T) {
	dir := t.TempDir()
	programs := filepath.Join(dir, "bin")
	if err := rig.Build(t.Context(), programs, "failpoints"); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "history")
	r, err := rig.New(t.Context(), rig.Config{
		Dir: dir, Programs: programs, Store: testenv.Mongo(t), Etcds: 1, Replicas: 2, Agents: 12, LeaseTTL: 2 * time.Second,
		AgentYAML: func(string) string {
			return fmt.Sprintf("actions: {act: {command: [/bin/sh, -c, %q], timeout: 30s}}", rig.RecordStart(file)+"sleep 0.05")
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.End)
	plane, err := client.New(client.Config{Servers: r.Servers(), Patience: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := plane.Apply(t.Context(), []client.File{{Name: "work.yaml", Data: []byte(book)}}); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		if nodes, err := plane.Nodes(t.Context(), r.Cluster); err == nil && len(nodes) == len(r.Nodes) {
			break
		} else if time.Now().After(deadline) {
			t.Fatalf("the nodes are not known: %v, %v", nodes, err)
		}
	}
	points := []string{
		failpoint.Creating, failpoint.Created, failpoint.Decided, failpoint.Committed, failpoint.Sending, failpoint.Sent, failpoint.Answered, failpoint.Stamping,
	}
	for i, point := range points {
		killed, err := r.Leader(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := killed.Trap(t.Context(), point, 1, "kill"); err != nil {
			t.Fatal(err)
		}
		if i < 2 { // what it asks for is repeated, under one idempotency key
			if _, err := plane.Start(t.Context(), record.RunRequest{Playbook: "work", Cluster: r.Cluster}); err != nil {
				t.Fatal(err)
			}
		}
		select {
		case <-killed.Ended():
		case <-time.After(time.Minute):
			t.Fatalf("%s never passed %q", killed.Name, point)
		}
		if err := killed.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		runs, err := plane.Runs(t.Context(), client.RunFilter{})
		if err != nil {
			t.Fatal(err)
		}
		ended := 0
		for _, run := range runs {
			if run.FinishTS != nil {
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
			t.Fatalf("the runs do not end: %+v", runs)
		}
	}
	began, err := rig.History(file)
	if err != nil {
		t.Fatal(err)
	}
	once := map[string]bool{}
	for _, b := range began {
		if once[b.ActionID] {
			t.Errorf("action %s was started twice", b.ActionID)
		}
		once[b.ActionID] = true
	}
	if want := 2 * len(r.Nodes); len(once) != want {
		t.Errorf("%d actions were started instead of %d", len(once), want)
	}
}
