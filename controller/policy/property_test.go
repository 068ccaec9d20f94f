package policy_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/replicante-io/playbooks/controller/policy"
	"github.com/replicante-io/playbooks/record"
)

// namedGate is a gate that other nodes can keep, or a fact that one of them lacks.
const namedGate = `{check: {up: 'node.status == "HEALTHY"', others: 'nodes.all(n, n.id == "node-1" || n.status != "UNHEALTHY")', roles: 'nodes.all(n, n.role != "x")'}, timeout: 30s}`

// anySpec draws a playbook of one or two stages.
func anySpec(t *rapid.T) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s", rapid.SampledFrom([]string{"", "", "  approval: required\n", "  approval: {timeout: 3m, on_timeout: approve}\n"}).Draw(t, "run_approval"))
	fmt.Fprintf(&b, "%s", rapid.SampledFrom([]string{"", "", "  timeout: 4m\n"}).Draw(t, "timeout"))
	b.WriteString(rapid.SampledFrom([]string{"", "", "", "  windows: [{cron: '*/3 * * * *', for: 1m}]\n",
		"  windows: [{cron: '1 0-23 * * *', for: 2m}, {cron: '*/5 0-23 * * *', for: 1m, time_zone: Asia/Kathmandu}]\n"}).Draw(t, "windows"))
	fmt.Fprintf(&b, "  membership: {added: %s, removed: %s, grace: 20s}\n  stages:\n",
		rapid.SampledFrom([]string{"include", "ignore", "pause", "fail"}).Draw(t, "added"),
		rapid.SampledFrom([]string{"ignore", "pause", "fail"}).Draw(t, "removed"))
	stages := rapid.IntRange(1, 3).Draw(t, "stages")
	together := stages > 1 && rapid.Bool().Draw(t, "together")
	for i := range stages {
		health := rapid.SampledFrom([]string{"none", "{timeout: 30s}", namedGate, `{check: 'node.status == "HEALTHY"', timeout: 30s, settle: 5s}`}).Draw(t, "health")
		unknown := []string{"fail", "retry"}
		if health != "none" {
			unknown = append(unknown, "health")
		}
		fmt.Fprintf(&b, "    - name: s%d\n      batch: %s\n      max_failures: %d\n      health: %s\n      on_failure: %s\n      batch_pause: %s\n", i,
			rapid.SampledFrom([]string{"1", "2", `[1, "50%"]`, `"100%"`}).Draw(t, "batch"),
			rapid.IntRange(0, 2).Draw(t, "max_failures"), health,
			rapid.SampledFrom([]string{"abort", "continue", "pause", "rollback", "rollback_run"}).Draw(t, "on_failure"),
			rapid.SampledFrom([]string{"0s", "7s"}).Draw(t, "pause"))
		approvals := []string{""}
		if !together || i == 0 {
			approvals = append(approvals, "", "      approval: required\n", "      approval: {message: 'for ${run.cluster}', timeout: 90s, on_timeout: approve}\n",
				"      approval: {timeout: 4m}\n")
		}
		b.WriteString(rapid.SampledFrom(approvals).Draw(t, "approval"))
		if rapid.Bool().Draw(t, "order") {
			b.WriteString("      order_by: 'node.role == \"PRIMARY\"'\n")
		}
		if groups := rapid.SampledFrom([]string{"", "", "1", "2", `"100%"`}).Draw(t, "groups"); groups != "" {
			fmt.Fprintf(&b, "      groups: {by: node.attributes.zone, at_once: %s}\n", groups)
		}
		b.WriteString(rapid.SampledFrom([]string{"", "", "      max_unavailable: 1\n", "      max_unavailable: 2\n", "      max_unavailable: \"40%\"\n"}).Draw(t, "limit"))
		b.WriteString(rapid.SampledFrom([]string{"", "", strictGuard, aGuard, aNamedGuard}).Draw(t, "guard"))
		b.WriteString(rapid.SampledFrom([]string{"", "", "      pick: 2\n", "      pick: {count: 3, at_least: 1}\n", "      pick: 1\n"}).Draw(t, "pick"))
		if rapid.Bool().Draw(t, "targets") {
			b.WriteString("      targets: 'node.status != \"UNHEALTHY\"'\n")
		}
		b.WriteString("      steps:\n")
		for j := range rapid.IntRange(1, 2).Draw(t, "steps") {
			fmt.Fprintf(&b, "        - {name: t%d, action: x/t, timeout: 1m, on_unknown: %s, retry: {attempts: %d, backoff: 3s}}\n", j,
				rapid.SampledFrom(unknown).Draw(t, "on_unknown"), rapid.IntRange(1, 3).Draw(t, "attempts"))
		}
		b.WriteString("      rollback:\n")
		for j := range rapid.IntRange(1, 2).Draw(t, "undo") {
			fmt.Fprintf(&b, "        - {name: u%d, action: x/u, timeout: 1m, on_unknown: %s, when: '%s', retry: {attempts: %d, backoff: 3s}}\n", j,
				rapid.SampledFrom(unknown).Draw(t, "on_unknown"), rapid.SampledFrom([]string{"true", `node.role == "PRIMARY"`}).Draw(t, "when"),
				rapid.IntRange(1, 2).Draw(t, "attempts"))
		}
	}
	for i := range rapid.IntRange(0, 2).Draw(t, "always") {
		fmt.Fprintf(&b, "    - name: z%d\n      always: true\n      batch: %s\n      max_failures: %d\n      health: %s\n      on_failure: %s\n", i,
			rapid.SampledFrom([]string{"1", `"100%"`}).Draw(t, "batch"), rapid.IntRange(0, 1).Draw(t, "max_failures"),
			rapid.SampledFrom([]string{"none", "{timeout: 30s}"}).Draw(t, "health"), rapid.SampledFrom([]string{"abort", "continue"}).Draw(t, "on_failure"))
		if rapid.Bool().Draw(t, "targets") {
			b.WriteString("      targets: 'node.status != \"UNHEALTHY\"'\n")
		}
		fmt.Fprintf(&b, "      steps: [{name: c0, action: x/c, timeout: 1m, retry: {attempts: %d, backoff: 3s}}]\n", rapid.IntRange(1, 2).Draw(t, "attempts"))
	}
	if together {
		fmt.Fprintf(&b, "  together: [[s0, s1%s]]\n", []string{"", ", s2"}[stages-2])
	}
	return b.String()
}

// TestWhateverHappensBudgetsHoldAndNothingStartsTwice feeds a plan anything in any order, with crashes between, and
// checks every commit (world.check, world.moved). Then everything goes well, and the run must end.
func TestWhateverHappensBudgetsHoldAndNothingStartsTwice(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t, rapid.IntRange(1, 5).Draw(t, "nodes"), anySpec(t)).withCommits(rapid.SampledFrom([]int{0, 1, 2000}).Draw(t, "commit"))
		for name := range w.known {
			w.known[name] = healthy(w, name)
		}
		w.members(true)
		w.admit()
		for range rapid.IntRange(0, 40).Draw(t, "happenings") {
			happen(t, w)
		}
		for name := range w.known {
			w.known[name] = healthy(w, name)
		}
		for name := range w.known {
			w.free(name)
		}
		w.members(true)
		for range 100 {
			w.work()
			switch {
			case w.run.State == record.RunPaused:
				w.apply(command(record.VerbResume))
			case w.run.Waiting != nil && w.run.Waiting.For == record.WaitApproval:
				w.apply(command(record.VerbApprove))
			}
			w.admit()
			if w.run.State.Final() {
				break
			}
		}
		if !w.run.State.Final() {
			t.Fatalf("the run does not end: %s, waiting %+v\n%s", w.run.State, w.run.Waiting, w.story())
		}
	})
}

// admit lets the run begin where it has a place in the queue.
func (w *world) admit() {
	if w.run.State == record.RunPending {
		w.apply(policy.Admit{})
	}
}

func healthy(w *world, name string) record.Node {
	n := w.alive(name)
	n.Role = "SECONDARY"
	if name == "node-1" {
		n.Role = "PRIMARY"
	}
	return n
}

// free ends another run's lock of a node.
func (w *world) free(node string) {
	if _, locked := w.others[node]; locked {
		delete(w.others, node)
		w.apply(policy.Unlocked{Nodes: []string{node}})
	}
}

func happen(t *rapid.T, w *world) {
	names := slices.Sorted(maps.Keys(w.known))
	some := func() string { return rapid.SampledFrom(names).Draw(t, "node") }
	busy := slices.Sorted(maps.Keys(w.orders))
	switch rapid.IntRange(0, 22).Draw(t, "happening") {
	case 21, 22:
		if rapid.Bool().Draw(t, "all") {
			w.retry()
		} else {
			w.retry(some())
		}
	case 20:
		w.admit()
	case 19:
		w.apply(command(rapid.SampledFrom([]record.Verb{record.VerbApprove, record.VerbApprove, record.VerbApprove, record.VerbReject}).Draw(t, "decision")))
	case 18:
		w.apply(policy.Forgotten{Node: some(), Actor: "op"})
	case 16:
		name := some()
		if w.locked[name] {
			break
		}
		_, before := w.others[name]
		w.others[name] = policy.Holder{RunID: "run-2", Unsettled: rapid.Bool().Draw(t, "unsettled")}
		if before { // it has ended, and its action may still be running
			w.apply(policy.Unlocked{Nodes: []string{name}})
		}
	case 17:
		w.free(some())
	case 15:
		w.resolved = true
		w.apply(policy.Command{Command: record.Command{Verb: record.VerbResolve, Node: some(),
			State: rapid.SampledFrom([]record.NodeState{record.NodeDone, record.NodeFailed}).Draw(t, "decision")}})
	case 14:
		states := map[string]record.ActionState{}
		for _, node := range busy {
			states[node] = rapid.SampledFrom([]record.ActionState{record.ActionDone, record.ActionFailed}).Draw(t, "state")
		}
		w.endAll(states)
	case 0, 1, 2:
		if len(busy) > 0 {
			w.end(rapid.SampledFrom(busy).Draw(t, "busy"), record.ActionDone, "")
		}
	case 3:
		if len(busy) > 0 {
			code := rapid.SampledFrom([]string{"exit", record.CodeNeverStarted, record.CodeTimeout, record.CodeCancelled}).Draw(t, "code")
			w.end(rapid.SampledFrom(busy).Draw(t, "busy"), record.ActionFailed, code)
		}
	case 4:
		if len(busy) > 0 {
			w.end(rapid.SampledFrom(busy).Draw(t, "busy"), record.ActionUnknown, record.CodeLost)
		}
	case 5:
		if len(busy) > 0 {
			node := rapid.SampledFrom(busy).Draw(t, "busy")
			w.apply(policy.Accepted{Node: node, ActionID: w.orders[node].Action.ID})
		}
	case 6, 7:
		w.observe()
	case 8:
		w.pass(time.Duration(rapid.IntRange(1, 90).Draw(t, "seconds")) * time.Second)
	case 9:
		n := w.known[some()]
		n.Status = rapid.SampledFrom([]record.Status{record.StatusHealthy, record.StatusUnhealthy, record.StatusUnreachable}).Draw(t, "status")
		if n.Status == record.StatusUnreachable {
			n.Role = ""
		}
		w.known[n.NodeID] = n
	case 10:
		n := w.known[some()]
		n.Present = false
		w.known[n.NodeID] = n
		w.members(rapid.Bool().Draw(t, "complete"), n.NodeID)
	case 11:
		name := rapid.SampledFrom(append(names, "node-8", "node-9")).Draw(t, "newcomer")
		w.known[name] = healthy(w, name)
		w.members(true)
	case 12:
		w.crash()
	case 13:
		c := command(rapid.SampledFrom([]record.Verb{record.VerbPause, record.VerbResume, record.VerbResume, record.VerbCancel}).Draw(t, "verb"))
		c.Kill = rapid.Bool().Draw(t, "kill")
		w.apply(c)
	}
}
