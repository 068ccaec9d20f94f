package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/replicante-io/playbooks/record"
)

// somePlan is a plan that has all that a table shows.
func somePlan() record.Plan {
	node := func(name string, steps ...record.PlanNodeStep) record.PlanNode {
		return record.PlanNode{Node: name, Steps: steps}
	}
	step := func(args record.Document) record.PlanNodeStep {
		return record.PlanNodeStep{Step: "restart", Args: args}
	}
	many := record.PlanBatch{Group: "b", Batch: 1}
	for i := range 40 {
		many.Nodes = append(many.Nodes, node(fmt.Sprintf("node-%d", i+10), step(record.Document{"grace": "30s", "of": "x"}), record.PlanNodeStep{Step: "wait", Skipped: true}))
	}
	until := time.Date(2026, 11, 30, 0, 0, 0, 0, time.UTC)
	return record.Plan{
		Freeze:  &record.PlanFreeze{Name: "black-friday", Reason: "peak sales", Until: &until},
		Cluster: "orders", Playbook: record.PlanPlaybook{Name: "restart", Version: "1.2.0", Revision: 3}, Params: record.Document{"grace": "30s"},
		Where: `node.role != "PRIMARY"`, ObservedTS: time.Date(2026, 11, 28, 6, 0, 0, 0, time.UTC), Behind: "0193-1",
		Approval: &record.PlanApproval{Message: "restart all of orders?", Timeout: "1h0m0s", OnTimeout: "reject"},
		Together: [][]string{{"stop_primary", "promote"}},
		Stages: []record.PlanStage{{
			Name: "restart", Pass: record.PassMain, Total: 43, Groups: []string{"a", "b"}, AtOnce: 1, MaxFailures: 1, OnFailure: "abort", BatchPause: "10s",
			Health: &record.PlanHealth{Checks: []record.PlanCheck{{Name: "up", Check: `node.status == "HEALTHY"`}}, Timeout: "2m0s", Settle: "5s"},
			Steps: []record.PlanStep{{Name: "restart", Action: "external.agent.replicante.io/restart", AtRunTime: []string{"args.of"}},
				{Name: "wait", Action: "external.agent.replicante.io/wait", When: `node.status != "HEALTHY"`}},
			Batches: []record.PlanBatch{{Group: "a", Batch: 1, Nodes: []record.PlanNode{node("node-1", step(record.Document{"grace": "30s", "of": "y"}))}}, many},
		}, {
			Name: "promote", Pass: record.PassMain, AtRunTime: []string{"targets"}, OnFailure: "abort", Steps: []record.PlanStep{{Name: "p", Action: "x/p"}},
			Guard: &record.PlanGuard{Checks: []record.PlanCheck{{Check: "nodes.all(n, n.role != \"\")"}}, Timeout: "1h0m0s", OnTimeout: "pause", Holds: new(bool),
				Error: &record.Error{Code: "facts_absent", Message: "node node-8 reports no role"}},
			Approval: &record.PlanApproval{}, Batches: []record.PlanBatch{},
		}, {
			Name: "check", Pass: record.PassMain, Total: 2, OnFailure: "pause", Undecided: 2, Stops: true, Steps: []record.PlanStep{{Name: "p", Action: "x/p"}},
			Health: &record.PlanHealth{Timeout: "2m0s"}, Batches: []record.PlanBatch{},
			Error: &record.Error{Code: "no_targets", Message: "stage check has no target"},
		}},
		Undecided: []record.PlanUndecided{{Node: "node-8", Stage: "check", Error: &record.Error{Code: "unreachable", Message: "node node-8 is unreachable: connection refused"}},
			{Node: "node-9\x1b[2J", Stage: "check", Error: &record.Error{Code: "facts_absent"}}},
		LeftOut: []string{"node-2"}, Untouched: []string{"node-3", "node-4"},
		Error: &record.Error{Code: "no_targets", Message: "stage check has no target"},
	}
}

func TestAPlanIsATableThatFitsTheTerminal(t *testing.T) {
	d := newOperator(t)
	d.Planned(somePlan())
	s := d.runAt(t.Context(), terminal{draws: true, size: func() (int, int) { return 100, 30 }},
		"plan", "restart", "--cluster", "orders", "-p", "grace=30s", "--where", `node.role != "PRIMARY"`, "--node", "node-1")
	if s.code != 0 {
		t.Fatalf("exit %d: %s", s.code, s.err)
	}
	golden(t, "plan-100.txt", s.out)
	_, starts, _ := d.Received()
	if start := starts[0]; start.Playbook != "restart" || start.Cluster != "orders" || start.Params["grace"] != "30s" || start.Where == "" || len(start.Nodes) != 1 {
		t.Errorf("asked for %+v", start)
	}
}

func TestAPlanOfManyBatchesIsCutInATableAndWholeAsJSON(t *testing.T) {
	d := newOperator(t)
	plan := somePlan()
	plan.Stages = plan.Stages[:1]
	for i := range 9998 {
		plan.Stages[0].Batches = append(plan.Stages[0].Batches, record.PlanBatch{Group: "b", Batch: i + 2,
			Nodes: []record.PlanNode{{Node: fmt.Sprintf("n-%d", i), Steps: []record.PlanNodeStep{{Step: "restart"}}}}})
	}
	d.Planned(plan)
	if out := d.ok("plan", "restart", "--cluster", "orders"); !strings.Contains(out, "… and 9950 more batches; -o json has all") || strings.Count(out, "\n") > 100 {
		t.Errorf("%d lines: %.3000s", strings.Count(out, "\n"), out)
	}
	whole := read[record.Plan](t, d.ok("plan", "restart", "--cluster", "orders", "-o", "json"))
	if len(whole.Stages[0].Batches) != 10_000 {
		t.Errorf("%d batches", len(whole.Stages[0].Batches))
	}
}

func TestAPlanNeedsAPlaybookAndACluster(t *testing.T) {
	d := newOperator(t)
	d.fails(exitUsage, "PLAYBOOK is missing", "plan")
	d.fails(exitUsage, "cluster", "plan", "restart")
	d.Fail(&record.RejectedError{Code: record.CodePlaybookNotFound, Data: record.Document{"playbook": "restart"}})
	d.fails(exitError, "there is no playbook restart", "plan", "restart", "--cluster", "demo")
}
