package replica_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/replicante-io/playbooks/api/client"
	"github.com/replicante-io/playbooks/record"
	"github.com/replicante-io/playbooks/store/storetest"
)

// canaryNodes is how many agents the canary has.
const canaryNodes = 40

const canary = `
apiVersion: replicante.io/v1
kind: Playbook
metadata: {name: canary}
spec:
  params: [{name: word, type: string, default: hello}]
  stages:
    - name: upgrade
      targets: 'node.id != "n7"'
      order_by: 'node.id == "n1"'
      batch: [1, "10%", "50%"]
      steps:
        - {name: ping, action: agent.replicante.io/test.success, args: {say: '${params.word} ${node.id}'}}
        - {name: again, action: agent.replicante.io/test.success, when: 'results.upgrade.ping[node.id].state == "DONE"'}
`

// planOfCanary asks a follower, which forwards it, for the plan of a canary, and then runs the canary.
func planOfCanary(t *testing.T, i *installation) {
	memory := shared{storetest.NewMemory()}
	i.start(i.config("core-1", ""), memory).ready()
	follower := i.start(i.config("core-2", ""), memory)
	follower.ready()
	for n := range canaryNodes {
		i.agent(fmt.Sprintf("n%d", n+1))
	}
	if _, err := follower.plane.Apply(t.Context(), []client.File{{Name: "canary.yaml", Data: []byte(canary)}}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the nodes are known", func() bool {
		known, err := follower.plane.Nodes(t.Context(), "c")
		return err == nil && len(known) == canaryNodes
	})
	request := record.RunRequest{Playbook: "canary", Cluster: "c", Params: record.Document{"word": "bye"}}
	plan, err := follower.plane.Plan(t.Context(), request)
	if err != nil {
		t.Fatal(err)
	}
	if runs, err := follower.plane.Runs(t.Context(), client.RunFilter{}); err != nil || len(runs) > 0 {
		t.Fatalf("a plan makes runs: %+v, %v", runs, err)
	}
	if plan.Error != nil || len(plan.Undecided) > 0 || !slices.Equal(plan.Untouched, []string{"n7"}) {
		t.Fatalf("the plan has an error: %+v, %+v, %v", plan.Error, plan.Undecided, plan.Untouched)
	}
	var planned []string
	for _, b := range plan.Stages[0].Batches {
		var names []string
		for _, n := range b.Nodes {
			names = append(names, n.Node)
			if want := "bye " + n.Node; n.Steps[0].Args["say"] != want {
				t.Errorf("%s would get %v, not %s", n.Node, n.Steps[0].Args, want)
			}
		}
		planned = append(planned, strings.Join(names, " "))
	}
	if want := []string{"when"}; !slices.Equal(plan.Stages[0].Steps[1].AtRunTime, want) {
		t.Errorf("known at run time: %v", plan.Stages[0].Steps[1].AtRunTime)
	}

	run, err := follower.plane.Start(t.Context(), request)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the run ends", func() bool {
		run, err = follower.plane.Run(t.Context(), run.ID)
		return err == nil && run.State.Final()
	})
	if run.State != record.RunDone {
		t.Fatalf("the run ended %s: %+v", run.State, run.Error)
	}
	events, err := follower.plane.Events(t.Context(), run.ID, 0)
	if err != nil {
		t.Fatal(err)
	}
	var taken []string
	for _, e := range events {
		if e.Type != record.EventBatchStarted {
			continue
		}
		var names []string
		for _, name := range e.Data["nodes"].([]any) {
			names = append(names, name.(string))
		}
		slices.SortFunc(names, record.CompareIDs)
		taken = append(taken, strings.Join(names, " "))
	}
	if !slices.Equal(planned, taken) {
		t.Errorf("planned:\n%s\ntaken:\n%s", strings.Join(planned, "\n"), strings.Join(taken, "\n"))
	}
	sizes := make([]int, len(planned))
	for i := range planned {
		sizes[i] = len(strings.Fields(planned[i]))
	}
	if want := []int{1, 3, 19, 16}; !slices.Equal(sizes, want) || !strings.HasSuffix(planned[3], "n40") || !slices.Contains(strings.Fields(planned[3]), "n1") {
		t.Errorf("batches of %v: %v", sizes, planned)
	}
}
