package policy_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/replicante-io/playbooks/controller/policy"
	"github.com/replicante-io/playbooks/record"
)

// out are the nodes that are out for a limit, sorted.
func (o *outstanding) out(limit *policy.Limit) []policy.Out {
	var list []policy.Out
	for name, n := range limit.Known {
		holder, held := o.others[name]
		if held || o.locked[name] || n.Status != record.StatusHealthy {
			list = append(list, policy.Out{Node: name, Status: n.Status, Holder: holder})
		}
	}
	slices.SortFunc(list, func(a, b policy.Out) int { return record.CompareIDs(a.Node, b.Node) })
	return list
}

// fit is how many nodes of a request, from the first, its limit allows.
func (o *outstanding) fit(request policy.LockRequest) int {
	if request.Limit == nil {
		return len(request.Nodes)
	}
	out := map[string]bool{}
	for _, one := range o.out(request.Limit) {
		out[one.Node] = true
	}
	for i, name := range request.Nodes {
		if !out[name] && len(out) >= request.Limit.Most {
			return i
		}
		out[name] = true
	}
	return len(request.Nodes)
}

// noteLimit keeps what was reported of all nodes for the next batch.
func (w *world) noteLimit(in policy.Facts) {
	if asked, ok := w.asked[in.Key]; in.Key.Purpose != policy.ForSelection || !ok || asked.ID != in.ID || !asked.All {
		return
	}
	if w.limits == nil {
		w.limits = map[string][]record.Node{}
	}
	w.limits[in.Key.Stage] = in.Nodes
}

// checkLimit checks that a batch with a node that was HEALTHY opens only where no more nodes are out with it than its stage allows: what was
// reported, what other runs have locked, and what this run has.
func (w *world) checkLimit(e record.Event) {
	w.t.Helper()
	if e.Type != record.EventBatchStarted || w.stageSpec(e.Stage).MaxUnavailable == nil {
		return
	}
	seen := w.limits[e.Stage]
	if len(seen) == 0 {
		w.t.Fatalf("batch %v of stage %s opens without a look at all nodes\n%s", e.Data["batch"], e.Stage, w.story())
	}
	out, down := map[string]bool{}, map[string]bool{}
	for _, n := range seen {
		down[n.NodeID] = n.Status != record.StatusHealthy
		if _, held := w.others[n.NodeID]; held || w.locked[n.NodeID] || down[n.NodeID] {
			out[n.NodeID] = true
		}
	}
	most := w.stageSpec(e.Stage).MaxUnavailable.Count
	if percent := w.stageSpec(e.Stage).MaxUnavailable.Percent; percent > 0 {
		most = max(1, len(seen)*percent/100)
	}
	for _, name := range e.Data["nodes"].([]any) {
		unsettled := slices.ContainsFunc(w.nodes[name.(string)].Actions, func(a record.Action) bool { return a.Unsettled })
		if !down[name.(string)] && !unsettled && len(out) > most {
			w.t.Fatalf("batch %v of stage %s takes %s, and with it %v are out; %d may be\n%s", e.Data["batch"], e.Stage, name, out, most, w.story())
		}
	}
}

func limitedSpec(limit, more string) string {
	return "  stages:\n    - name: s\n      max_unavailable: " + limit + "\n" + more + guardedSteps
}

// wait is what the run waits for where as many nodes are out as may be; nil where it does not.
func (w *world) limitWait() *record.Wait {
	if wait := w.run.Waiting; wait != nil && wait.For == record.WaitNode && wait.Data["code"] == record.CauseMaxUnavailable {
		return wait
	}
	return nil
}

func TestABatchIsAsSmallAsTheLimitSays(t *testing.T) {
	w := newWorld(t, 10, limitedSpec(`"40%"`, "      batch: 6\n"))
	w.status("node-9", record.StatusUnhealthy)
	w.apply(policy.Admit{})
	w.observe()
	if len(w.orders) != 3 || w.orders["node-3"].Action.ID == "" {
		t.Fatalf("orders %v", w.orders)
	}
}

func TestPercentagesOfTheLimitAreOfTheKnownNodesOfTheCluster(t *testing.T) {
	w := newWorld(t, 4, limitedSpec(`"50%"`, "      batch: 4\n"))
	for i := range 4 {
		w.known[fmt.Sprintf("other-%d", i)] = w.alive(fmt.Sprintf("other-%d", i)) // of which the run has no record
	}
	w.apply(policy.Admit{})
	w.observe()
	if len(w.orders) != 4 {
		t.Fatalf("orders %v", w.orders)
	}
	w = newWorld(t, 4, limitedSpec(`"1%"`, "      batch: 4\n"))
	w.apply(policy.Admit{})
	w.observe()
	if len(w.orders) != 1 {
		t.Fatalf("orders %v", w.orders)
	}
}

func TestAtTheLimitARunWaitsAndContinuesByItself(t *testing.T) {
	w := newWorld(t, 3, limitedSpec("1", ""))
	w.status("node-3", record.StatusUnreachable)
	w.apply(policy.Admit{})
	w.observe()
	wait := w.limitWait()
	if wait == nil || len(w.orders) != 0 {
		t.Fatalf("orders %v, waiting %+v", w.orders, w.run.Waiting)
	}
	named := wait.Data["named"].([]any)[0].(map[string]any)
	if named["node"] != "node-3" || named["status"] != "UNREACHABLE" || wait.Data["out"] != float64(1) && wait.Data["out"] != int64(1) {
		t.Errorf("data %v", wait.Data)
	}
	w.pass(30 * time.Second)
	w.crash()
	w.observe()
	if w.limitWait() == nil || w.every() != 2*time.Second {
		t.Fatalf("waiting %+v, asked every %s", w.run.Waiting, w.every())
	}
	w.pass(40 * time.Second)
	w.observe()
	if w.every() != 10*time.Second {
		t.Errorf("after the first minute it is asked every %s", w.every())
	}
	w.status("node-3", record.StatusHealthy)
	w.observe()
	if w.limitWait() != nil || len(w.orders) != 1 {
		t.Errorf("orders %v, waiting %+v", w.orders, w.run.Waiting)
	}
}

func TestANodeThatARunGivesBackIsAskedForAtOnce(t *testing.T) {
	w := newWorld(t, 2, limitedSpec("1", ""))
	w.others["node-2"] = policy.Holder{RunID: "run-2"}
	w.apply(policy.Admit{})
	w.observe()
	if w.limitWait() == nil {
		t.Fatalf("waiting %+v", w.run.Waiting)
	}
	before := w.requests()[0].ID
	w.free("node-2")
	if again := w.requests(); len(again) != 1 || again[0].ID == before {
		t.Fatalf("asked %+v", again)
	}
	before = w.requests()[0].ID
	w.apply(policy.Unlocked{Nodes: []string{"node-1"}}) // another one: the agents are being asked already
	if w.requests()[0].ID != before {
		t.Errorf("what was being asked is asked again")
	}
	w.observe()
	w.want("node-1", record.NodeRunning)
}

func TestWhereOutdatedFactsDoNotAllowABatchNewerOnesAreAskedFor(t *testing.T) {
	w := newWorld(t, 2, limitedSpec("1", ""))
	w.apply(policy.Admit{})
	before := w.requests()[0]
	answer := w.answer(before)
	commit, effects, _ := w.plan.Apply(w.now, []policy.Input{answer})
	if len(effects.LockNodes) != 1 {
		t.Fatalf("effects %+v", effects)
	}
	w.note(answer)
	_ = w.take(commit, policy.Effects{})
	w.apply(policy.OverLimit{LockRequest: effects.LockNodes[0], Outdated: true, Out: []policy.Out{{Node: "node-2"}}})
	if again := w.requests(); len(again) != 1 || again[0].ID == before.ID || w.run.Waiting != nil {
		t.Fatalf("asked %+v, waiting %+v", again, w.run.Waiting)
	}
}

// TestToActOnWhatIsOutAlreadyIsFree: as many nodes are down as may be, and the run may be what repairs them; but not before a node that comes
// earlier by order_by.
func TestToActOnWhatIsOutAlreadyIsFree(t *testing.T) {
	w := newWorld(t, 4, limitedSpec("1", ""))
	w.status("node-3", record.StatusUnhealthy)
	w.apply(policy.Admit{})
	w.observe()
	w.want("node-3", record.NodeRunning)
	w.status("node-3", record.StatusHealthy)
	w.end("node-3", record.ActionDone, "")
	w.observe()
	w.want("node-1", record.NodeRunning)

	w = newWorld(t, 4, limitedSpec("1", "      order_by: 'node.role == \"PRIMARY\"'\n"))
	for name := range w.known {
		w.known[name] = healthy(w, name)
	}
	w.status("node-1", record.StatusUnhealthy) // the primary
	w.members(true)
	w.apply(policy.Admit{})
	w.observe()
	if w.limitWait() == nil || len(w.orders) > 0 {
		t.Fatalf("orders %v, waiting %+v", w.orders, w.run.Waiting)
	}
	w.status("node-1", record.StatusHealthy)
	w.observe()
	w.want("node-2", record.NodeRunning)
}

func TestTheLimitHoldsOverAllGroups(t *testing.T) {
	w := newWorld(t, 9, limitedSpec("2", "      batch: 3\n      groups: {by: node.attributes.zone, at_once: \"100%\"}\n"))
	w.apply(policy.Admit{})
	w.observe() // the groups
	w.observe()
	if len(w.orders) != 2 || w.run.Waiting != nil {
		t.Fatalf("orders %v, waiting %+v", w.orders, w.run.Waiting)
	}
	w.pass(time.Minute)
	if len(w.requests()) != 0 {
		t.Errorf("nodes are asked while the batches of the run itself are what is out: %+v", w.requests())
	}
	w.work()
	w.ended(record.RunDone)
}

func TestTheLimitCountsWhatMayStillBeRunningOfAnEndedRun(t *testing.T) {
	w := newWorld(t, 3, limitedSpec("1", ""))
	w.others["node-3"] = policy.Holder{RunID: "run-0", Unsettled: true}
	w.apply(policy.Admit{})
	w.observe()
	if w.limitWait() == nil {
		t.Fatalf("waiting %+v", w.run.Waiting)
	}
	w.free("node-3")
	w.observe()
	w.want("node-1", record.NodeRunning)
}
