package policy_test

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/replicante-io/playbooks/controller/policy"
	"github.com/replicante-io/playbooks/record"
)

// planned is the plan of the world's run, which must not have begun, on how its nodes are now.
func (w *world) planned() record.Plan {
	w.t.Helper()
	create := record.Commit{Run: clone(w.t, w.run)}
	for _, name := range slices.SortedFunc(maps.Keys(w.nodes), record.CompareIDs) {
		create.Nodes = append(create.Nodes, clone(w.t, w.nodes[name]))
	}
	known := slices.SortedFunc(maps.Values(w.known), func(a, b record.Node) int { return record.CompareIDs(a.NodeID, b.NodeID) })
	s, err := policy.Simulate(policy.Config{Grace: 30 * time.Second}, &create, known)
	if err != nil {
		w.t.Fatalf("simulate: %v", err)
	}
	for s.Step() {
	}
	return s.Plan(nil)
}

// plannedBatches are the batches of a plan, as stage/group: nodes, in order.
func plannedBatches(plan record.Plan) []string {
	var batches []string
	for _, st := range plan.Stages {
		for _, b := range st.Batches {
			names := make([]string, len(b.Nodes))
			for i := range b.Nodes {
				names[i] = b.Nodes[i].Node
			}
			batches = append(batches, fmt.Sprintf("%s/%s: %s", st.Name, b.Group, strings.Join(names, " ")))
		}
	}
	return batches
}

// takenBatches are the batches that the run has taken, in the same way.
func (w *world) takenBatches() []string {
	var batches []string
	for _, e := range w.events {
		if e.Type != record.EventBatchStarted {
			continue
		}
		group, _ := e.Data["group"].(string)
		var names []string
		for _, name := range e.Data["nodes"].([]any) {
			names = append(names, name.(string))
		}
		slices.SortFunc(names, record.CompareIDs)
		batches = append(batches, fmt.Sprintf("%s/%s: %s", e.Stage, group, strings.Join(names, " ")))
	}
	return batches
}

var limitLine = regexp.MustCompile(` *max_unavailable: .*\n`)

func TestAPlanIsTheBatchesThatARunTakesWhereNothingFails(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		spec := limitLine.ReplaceAllString(anySpec(t), "") // a plan knows nothing of what will be out
		w := newWorld(t, rapid.IntRange(1, 9).Draw(t, "nodes"), spec)
		for name := range w.known {
			w.known[name] = healthy(w, name)
		}
		w.members(true)
		plan := w.planned()
		for i := 0; i < 5000 && !w.run.State.Final(); i++ {
			switch {
			case w.run.State == record.RunPending:
				w.admit()
			case w.run.State == record.RunPaused:
				w.apply(command(record.VerbResume))
			case w.run.Waiting != nil && w.run.Waiting.For == record.WaitApproval:
				w.apply(command(record.VerbApprove))
			default:
				w.step()
			}
		}
		short := w.cannotPick()
		if !short {
			w.ended(record.RunDone)
		}
		if short != (plan.Error != nil) || short && plan.Error.Code != record.CodePickTooFew || len(plan.Undecided) > 0 {
			t.Fatalf("the plan has an error: %+v, %+v", plan.Error, plan.Undecided)
		}
		want, got := w.takenBatches(), plannedBatches(plan)
		for _, st := range plan.Stages {
			if st.AtOnce > 1 && w.stageSpec(st.Name).Pick != nil { // which group has the last picks depends on which batch ends first
				want = slices.DeleteFunc(want, func(batch string) bool { return strings.HasPrefix(batch, st.Name+"/") })
				got = slices.DeleteFunc(got, func(batch string) bool { return strings.HasPrefix(batch, st.Name+"/") })
			}
		}
		// Groups that advance side by side begin their batches in any order.
		for _, st := range plan.Stages {
			if st.AtOnce > 1 {
				slices.Sort(want)
				slices.Sort(got)
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("the plan differs from the run (-run +plan):\n%s\n%s", diff, w.story())
		}
		for _, st := range plan.Stages {
			for _, b := range st.Batches {
				for _, n := range b.Nodes {
					if len(n.Steps) != len(st.Steps) {
						t.Fatalf("node %s goes through %v of the steps %v", n.Node, n.Steps, st.Steps)
					}
				}
			}
		}
	})
}

func TestAPlanOfACanaryNamesItsBatches(t *testing.T) {
	w := newWorld(t, 10, "  stages:\n    - name: s\n      batch: [1, \"20%\", \"50%\"]\n      health: none\n      steps:\n        - {name: t, action: x/t, args: {of: '${node.id}'}}\n")
	plan := w.planned()
	want := []string{"s/: node-1", "s/: node-2 node-3", "s/: node-4 node-5 node-6 node-7 node-8", "s/: node-9 node-10"}
	if diff := cmp.Diff(want, plannedBatches(plan)); diff != "" {
		t.Error(diff)
	}
	if args := plan.Stages[0].Batches[3].Nodes[1].Steps[0].Args; args["of"] != "node-10" {
		t.Errorf("node-10 would get %v", args)
	}
}

func TestAPlanSaysWhatIsKnownAtRunTime(t *testing.T) {
	w := newWorld(t, 2, `  stages:
    - name: a
      steps:
        - {name: read, action: x/t, args: {run: '${run.id}', cluster: '${run.cluster}'}}
        - {name: use, action: x/t, when: 'results.a.read[node.id].state == "DONE"', args: {list: ['${results.a.read[node.id].payload.at}', 1]}}
        - {name: never, action: x/t, when: 'node.status == "UNHEALTHY"'}
    - name: b
      targets: 'results.a.read[node.id].payload.primary'
      steps:
        - {name: t, action: x/t}
    - name: c
      order_by: 'results.a.read[node.id].payload.lag'
      batch: 2
      steps:
        - {name: t, action: x/t}
`)
	plan := w.planned()
	want := []record.PlanNodeStep{
		{Step: "read", Args: record.Document{"run": "${run.id}", "cluster": "c"}},
		{Step: "use", Args: record.Document{"list": []any{"${results.a.read[node.id].payload.at}", int64(1)}}},
		{Step: "never", Skipped: true},
	}
	if diff := cmp.Diff(want, plan.Stages[0].Batches[0].Nodes[0].Steps); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"when", "args.list[0]"}, plan.Stages[0].Steps[1].AtRunTime); diff != "" {
		t.Error(diff)
	}
	if b := plan.Stages[1]; !slices.Equal(b.AtRunTime, []string{"targets"}) || len(b.Batches) > 0 {
		t.Errorf("the nodes of b are known at run time: %+v", b)
	}
	if c := plan.Stages[2]; !slices.Equal(c.AtRunTime, []string{"order_by"}) || len(c.Batches) != 1 {
		t.Errorf("the order of c is known at run time: %+v", c)
	}
	if plan.Error != nil {
		t.Errorf("%+v", plan.Error)
	}
}

func TestAPlanNamesTheNodesThatCannotBeDecidedAboutNow(t *testing.T) {
	w := newWorld(t, 4, `  stages:
    - name: s
      batch: 2
      order_by: 'node.attributes.rank'
      max_failures: 1
      steps:
        - {name: t, action: x/t}
`)
	for name := range w.known {
		n := w.known[name]
		n.Attributes = record.Document{"rank": int64(9 - name[len(name)-1])}
		switch name {
		case "node-2":
			n.Status, n.StatusReason = record.StatusUnreachable, "connection refused"
		case "node-3":
			n.Attributes = nil
		}
		w.known[name] = n
	}
	plan := w.planned()
	if diff := cmp.Diff([]string{"s/: node-1 node-4"}, plannedBatches(plan)); diff != "" {
		t.Error(diff)
	}
	codes := map[string]string{}
	for _, u := range plan.Undecided {
		codes[u.Node] = u.Stage + " " + u.Error.Code
	}
	if diff := cmp.Diff(map[string]string{"node-2": "s unreachable", "node-3": "s facts_absent"}, codes); diff != "" {
		t.Error(diff)
	}
	if st := plan.Stages[0]; st.Undecided != 2 || st.MaxFailures != 1 || !st.Stops || plan.Error != nil {
		t.Errorf("the run would stop at the stage: %+v, %+v", st, plan.Error)
	}
}

func TestAPlanEndsWhereAStageIsForNoNode(t *testing.T) {
	w := newWorld(t, 2, "  stages:\n    - name: s\n      targets: 'node.status == \"UNHEALTHY\"'\n      steps: [{name: t, action: x/t}]\n")
	plan := w.planned()
	if plan.Error == nil || plan.Error.Code != record.CodeNoTargets || plan.Stages[0].Error == nil {
		t.Errorf("the plan ends without a reason: %+v", plan)
	}
}

func TestAPlanIsForTheSubsetOfItsRun(t *testing.T) {
	w := newWorld(t, 3, "  stages:\n    - name: s\n      targets: 'node.id != \"node-1\"'\n      steps: [{name: t, action: x/t}]\n")
	left := w.nodes["node-3"]
	left.State, left.History = record.NodeSkipped, []record.NodeChange{{State: record.NodeSkipped, Cause: &record.Error{Code: record.CauseSubset}}}
	w.nodes["node-3"] = left
	plan := w.planned()
	if !slices.Equal(plan.LeftOut, []string{"node-3"}) || !slices.Equal(plan.Untouched, []string{"node-1"}) {
		t.Errorf("left out: %v, untouched: %v", plan.LeftOut, plan.Untouched)
	}
}

func TestAPlanShowsAGuardThatDoesNotHoldNowAndGoesOn(t *testing.T) {
	for check, want := range map[string]string{
		`nodes.all(n, n.status == "HEALTHY")`:   "true",
		`nodes.all(n, n.status == "UNHEALTHY")`: record.CauseCheckFalse,
		`nodes.all(n, n.role == "PRIMARY")`:     record.CodeFactsAbsent,
		`size(results.s.t) < 2`:                 "known at run time",
	} {
		w := newWorld(t, 2, "  stages:\n    - name: s\n      guard: {check: '"+check+"', timeout: 1h, on_timeout: pause}\n      steps: [{name: t, action: x/t}]\n")
		plan := w.planned()
		guard, got := plan.Stages[0].Guard, "known at run time"
		if guard.Holds != nil {
			if got = fmt.Sprint(*guard.Holds); guard.Error != nil {
				got = guard.Error.Code
			}
		}
		if got != want || plan.Error != nil || len(plan.Stages[0].Batches) != 2 {
			t.Errorf("%s: %s, not %s; %+v, %d batches", check, got, want, plan.Error, len(plan.Stages[0].Batches))
		}
	}
}
