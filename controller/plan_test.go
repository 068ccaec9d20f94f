package controller_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/replicante-io/playbooks/membership"
	"github.com/replicante-io/playbooks/record"
	"github.com/replicante-io/playbooks/store"
)

const planned = `  approval: {message: 'for ${run.cluster} in ${run.id}', timeout: 1h}
  params: [{name: word, type: string, required: true}]
  stages:
    - name: s
      batch: 2
      steps: [{name: one, action: agent.replicante.io/test.success, args: {say: '${params.word}'}}]
`

func TestAPlanSaysWhatARunWouldDoAndStoresNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newInstallation(t, 4, planned)
		h.lead()
		request := record.RunRequest{Playbook: "test", Cluster: "c", Params: record.Document{"word": "x"}, Where: `node.status == "HEALTHY" && node.id != "node-2"`}
		plan, err := h.current.Plan(t.Context(), record.Request{Key: "k"}, request)
		if err != nil {
			t.Fatal(err)
		}
		if st := plan.Stages[0]; len(st.Batches) != 2 || len(st.Batches[0].Nodes) != 2 || st.Batches[1].Nodes[0].Node != "node-4" ||
			st.Batches[0].Nodes[0].Steps[0].Args["say"] != "x" || st.Health == nil {
			t.Errorf("%+v", st)
		}
		if plan.Approval == nil || plan.Approval.Message != "for ${run.cluster} in ${run.id}" || plan.Approval.Timeout != "1h0m0s" || plan.Behind != "" || plan.Error != nil || len(plan.LeftOut) != 1 {
			t.Errorf("%+v, %+v", plan, plan.Approval)
		}
		runs, _, err := h.memory.Runs(t.Context(), store.RunFilter{}, store.Page{})
		if err != nil || len(runs) > 0 {
			t.Errorf("a plan makes runs: %+v, %v", runs, err)
		}
		if _, err := h.memory.IdempotencyRecord(t.Context(), "k", ""); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("a plan has an idempotency record: %v", err)
		}
		byID, _ := h.fleet.starts()
		if len(byID) > 0 {
			t.Errorf("a plan starts %v", byID)
		}
		h.kill()
	})
}

func TestAPlanIsRefusedAsItsStartWouldBeButNotByAnotherRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newInstallation(t, 2, planned)
		h.apply("slow", slow)
		h.lead()
		for code, request := range map[string]record.RunRequest{
			record.CodeBadParams:        {Playbook: "test", Cluster: "c"},
			record.CodePlaybookNotFound: {Playbook: "none", Cluster: "c"},
			record.CodeNoNodes:          {Playbook: "slow", Cluster: "none"},
			record.CodeUnknownNodes:     {Playbook: "slow", Cluster: "c", Nodes: []string{"node-9"}},
			record.CodeNoneSelected:     {Playbook: "slow", Cluster: "c", Where: "false"},
			record.CodeBadWhere:         {Playbook: "slow", Cluster: "c", Where: "node.nothing"},
		} {
			_, err := h.current.Plan(t.Context(), record.Request{}, request)
			var rejected *record.RejectedError
			if !errors.As(err, &rejected) || rejected.Code != code {
				t.Errorf("want %s, got %v", code, err)
			}
		}
		run := h.start(record.Request{}, record.RunRequest{Playbook: "slow"})
		plan, err := h.current.Plan(t.Context(), record.Request{}, record.RunRequest{Playbook: "slow", Cluster: "c", IfBusy: "fail"})
		if err != nil || plan.Behind != run.ID || len(plan.Stages[0].Batches) == 0 {
			t.Errorf("the plan of a busy cluster: %+v, %v", plan, err)
		}
		h.await(run.ID, record.RunDone)
		h.kill()
	})
}

func TestAPlanNamesNodesThatDoNotAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newInstallation(t, 3, slow)
		h.lead()
		h.join <- membership.Update{Changes: []membership.Change{{Gone: true, Node: h.key("node-2").Node}}}
		h.fleet.mu.Lock()
		h.fleet.down["http://node-2"] = true
		h.fleet.mu.Unlock()
		before := time.Now()
		plan, err := h.current.Plan(t.Context(), record.Request{}, record.RunRequest{Playbook: "test", Cluster: "c"})
		if err != nil || len(plan.Undecided) != 1 || plan.Undecided[0].Node != "node-2" || plan.Undecided[0].Error.Code != record.CodeUnreachable || !plan.Stages[0].Stops {
			t.Errorf("%+v, %v", plan, err)
		}
		if took := time.Since(before); took > lookTime {
			t.Errorf("the plan waits for %s as a run would", took)
		}
		h.kill()
	})
}

// lookTime is more than a look at agents takes.
const lookTime = 11 * time.Second

func TestAPlanNamesTheFreezeThatWouldRefuseItsStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newInstallation(t, 2, slow)
		h.lead()
		h.applyLive(frozen("sales", -time.Hour, time.Hour, "c*"))
		h.wantFrozen("sales")
		plan, err := h.current.Plan(t.Context(), record.Request{}, record.RunRequest{Playbook: "test", Cluster: "c"})
		if err != nil || plan.Freeze == nil || plan.Freeze.Name != "sales" || plan.Freeze.Until == nil || len(plan.Stages[0].Batches) != 1 {
			t.Errorf("%+v, %+v, %v", plan, plan.Freeze, err)
		}
		h.kill()
	})
}
