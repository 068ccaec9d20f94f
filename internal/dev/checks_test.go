package dev_test

import (
	"strings"
	"testing"

	"github.com/replicante-io/playbooks/api/client"
	"github.com/replicante-io/playbooks/internal/dev"
	"github.com/replicante-io/playbooks/record"
)

// TestARunNamesThePartOfACheckThatIsFalseAndTheNodesThatItIsFalseFor: the nodes of the batch are well.
func TestARunNamesThePartOfACheckThatIsFalseAndTheNodesThatItIsFalseFor(t *testing.T) {
	text := `apiVersion: replicante.io/v1
kind: Playbook
metadata: {name: checked}
spec:
  params: [{name: zone, type: string, default: c}]
  stages:
    - name: work
      steps: [{name: work, action: agent.replicante.io/test.success}]
      health:
        timeout: 300ms
        interval: 50ms
        check:
          up: 'node.status == "HEALTHY"'
          zones: 'nodes.all(n, n.attributes.zone != params.zone)'
`
	life(t, dev.Config{Agents: 3}, func(plane *client.Client) {
		if _, err := plane.Apply(t.Context(), []client.File{{Name: "checked.yaml", Data: []byte(text)}}); err != nil {
			t.Fatal(err)
		}
		run, err := plane.Start(t.Context(), record.RunRequest{Playbook: "checked", Cluster: dev.Cluster})
		if err != nil {
			t.Fatal(err)
		}
		run = follow(t, plane, run.ID)
		const why = "check zones is false for node-3 (n.attributes.zone is c, params.zone is c)"
		failed, err := plane.RunNodes(t.Context(), run.ID, []string{"FAILED"}, 0)
		if err != nil {
			t.Fatal(err)
		}
		if want := "the health check of its batch did not hold within 300ms: " + why; len(failed) != 1 || failed[0].Error.Message != want {
			t.Errorf("these failed: %+v\nwant node-1: %s", failed, want)
		}
		if run.State != record.RunFailed || !strings.Contains(run.Error.Message, why) {
			t.Errorf("the run ended %s: %+v", run.State, run.Error)
		}
		events, err := plane.Events(t.Context(), run.ID, 0)
		if err != nil {
			t.Fatal(err)
		}
		var waits []string
		for _, e := range events {
			if message, _ := e.Data["message"].(string); e.Type == record.EventRunWaiting && e.Data["for"] == string(record.WaitGate) {
				if e.Data["until"] == nil {
					t.Errorf("the wait has no end: %+v", e)
				}
				waits = append(waits, message)
			}
		}
		if len(waits) == 0 || !strings.HasPrefix(waits[0], "the health check of stage work does not hold yet: "+why+"; waiting until ") {
			t.Errorf("waits: %q", waits)
		}
	})
}
