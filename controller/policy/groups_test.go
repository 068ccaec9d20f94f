package policy_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/replicante-io/playbooks/record"
)

// batchesOf are the nodes of each batch of the run so far, in order.
func (w *world) batchesOf() []string {
	var batches []string
	for _, e := range w.events {
		if e.Type == record.EventBatchStarted {
			batches = append(batches, strings.Trim(fmt.Sprint(e.Data["nodes"]), "[]"))
		}
	}
	return batches
}

// zoned is a world whose nodes are in zones by turn, the first named of which is the primary.
func zoned(t *testing.T, n, zones int, spec string, primaries ...string) *world {
	w := newWorld(t, n, spec)
	for i := range n {
		name := fmt.Sprintf("node-%d", i+1)
		known := w.known[name]
		known.Attributes, known.Role = record.Document{"zone": fmt.Sprintf("z%d", i%zones)}, "SECONDARY"
		if slices.Contains(primaries, name) {
			known.Role = "PRIMARY"
		}
		w.known[name] = known
	}
	w.members(true)
	w.admit()
	return w
}

const groupStep = "      health: none\n      steps:\n        - {name: t, action: x/t}\n"

func TestGroupsFollowOneAnotherByKey(t *testing.T) {
	w := zoned(t, 6, 2, "  stages:\n    - name: s\n      batch: 2\n      groups: {by: node.attributes.zone}\n"+groupStep)
	w.work()
	want := []string{"node-1 node-3", "node-5", "node-2 node-4", "node-6"}
	if got := w.batchesOf(); !slices.Equal(got, want) || w.run.State != record.RunDone {
		t.Errorf("%s with batches %q, not %q", w.run.State, got, want)
	}
}

func TestAnEarlierNodeIsNotOvertakenByALaterOneOfAnotherGroup(t *testing.T) {
	w := zoned(t, 6, 2, "  stages:\n    - name: s\n      batch: \"100%\"\n      order_by: 'node.role == \"PRIMARY\"'\n      groups: {by: node.attributes.zone}\n"+groupStep, "node-1")
	w.work()
	want := []string{"node-3 node-5", "node-2 node-4 node-6", "node-1"}
	if got := w.batchesOf(); !slices.Equal(got, want) || w.run.State != record.RunDone {
		t.Errorf("%s with batches %q, not %q", w.run.State, got, want)
	}
}

func TestAllGroupsAtOnceHaveABatchEachWithTheirPrimariesLast(t *testing.T) {
	w := zoned(t, 12, 4, "  stages:\n    - name: s\n      order_by: 'node.role == \"PRIMARY\"'\n      groups: {by: node.attributes.zone, at_once: \"100%\"}\n"+groupStep,
		"node-1", "node-6", "node-11", "node-12")
	w.observe()
	if len(w.asked) > 1 {
		t.Errorf("more than one observation is asked for: %v", w.asked)
	}
	w.observe()
	if len(w.orders) != 4 {
		t.Fatalf("%d nodes act at once, not one of each group: %v", len(w.orders), w.batchesOf())
	}
	w.work()
	last := w.batchesOf()[8:]
	slices.Sort(last)
	if want := []string{"node-1", "node-11", "node-12", "node-6"}; !slices.Equal(last, want) || w.run.State != record.RunDone {
		t.Errorf("%s; the last batches are %q, not the primaries %q", w.run.State, last, want)
	}
}

func TestThePauseBetweenBatchesHoldsBetweenGroups(t *testing.T) {
	w := zoned(t, 2, 2, "  stages:\n    - name: s\n      batch_pause: 10s\n      groups: {by: node.attributes.zone}\n"+groupStep)
	w.work()
	if took := w.run.EndTS.Sub(*w.run.StartTS); w.run.State != record.RunDone || took < 10*time.Second {
		t.Errorf("%s after %s, without the pause", w.run.State, took)
	}
}

func TestANodeWhoseGroupIsNotKnownFailsAndTheOthersContinue(t *testing.T) {
	w := zoned(t, 3, 3, "  stages:\n    - name: s\n      max_failures: 1\n      groups: {by: 'node.shards[0].id'}\n"+groupStep)
	for _, name := range []string{"node-1", "node-2"} {
		n := w.known[name]
		n.Shards = []record.Shard{{ID: "s1"}}
		w.known[name] = n
	}
	w.work()
	rec := w.nodes["node-3"]
	if w.run.Counts[record.NodeDone] != 2 || rec.State != record.NodeFailed || rec.Error.Code != record.CodeFactsAbsent || rec.Error.Data["what"] != "groups" {
		t.Errorf("counts %v; node-3 is %s: %+v", w.run.Counts, rec.State, rec.Error)
	}
}

func TestAStageForNoNodeMayBeAllowed(t *testing.T) {
	w := zoned(t, 2, 2, "  stages:\n    - name: s\n      allow_empty: true\n      targets: 'false'\n"+groupStep)
	w.work()
	if w.run.State != record.RunDone || w.run.Counts[record.NodeSkipped] != 2 {
		t.Errorf("%s with nodes %v: %+v", w.run.State, w.run.Counts, w.run.Error)
	}
}

func TestANodeWhoseGroupWasNotKnownIsRetriedOnlyAfterTheRun(t *testing.T) {
	w := zoned(t, 3, 3, "  stages:\n    - name: s\n      on_failure: pause\n      groups: {by: 'node.shards[0].id'}\n"+groupStep)
	for i := range 3 {
		n := w.known[fmt.Sprintf("node-%d", i+1)]
		n.Shards = []record.Shard{{ID: "s1"}}
		if i < 2 {
			w.known[n.NodeID] = n
		}
	}
	w.work()
	w.apply(command(record.VerbRetry))
	if w.rejected == nil || w.run.State != record.RunPaused {
		t.Fatalf("%s: a node of no group was put back", w.run.State)
	}
	w.apply(command(record.VerbResume))
	w.work()
	n := w.known["node-3"]
	n.Shards = []record.Shard{{ID: "s2"}}
	w.known["node-3"] = n
	w.retry()
	w.admit()
	w.work()
	if w.run.State != record.RunDone || w.run.Counts[record.NodeDone] != 3 {
		t.Errorf("%s with nodes %v: %+v", w.run.State, w.run.Counts, w.run.Error)
	}
}
