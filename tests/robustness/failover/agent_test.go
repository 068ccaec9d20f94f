//go:build integration

package failover

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/replicante-io/playbooks/record"
	"github.com/replicante-io/playbooks/tests/robustness/cluster"
)

func TestAnAgentIsLost(t *testing.T) {
	t.Parallel()
	in := start(t, cluster.Config{Etcds: 1, Replicas: 2, Mongods: 1, Agents: 4})
	cases := []struct {
		name string
		test func(in *installation)
	}{
		{"ItIsFrozenBeforeItReadsTheRequest", agentFrozenBeforeItsAction},
		{"ItIsFrozenWhileItsActionRuns", agentFrozenDuringItsAction},
		{"ItIsKilledAndItsCommandRunsOn", agentKilledWithoutItsCommand},
		{"ItsJournalIsDeleted", journalDeleted},
		{"ASecondAgentIsStartedForItsNode", secondAgent},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) { c.test(in.with(t)) })
		for _, m := range in.Agents {
			m.Thaw()
		}
	}
}

// lastAction is the latest action of a node in a run.
func (in *installation) lastAction(id, node string) record.Action {
	in.t.Helper()
	for _, n := range in.nodes(id) {
		if n.Node == node && len(n.Actions) > 0 {
			return n.Actions[len(n.Actions)-1]
		}
	}
	return record.Action{}
}

// startsOf counts the starts of one action.
func (in *installation) startsOf(id, action string) (times int, last time.Time) {
	for _, s := range in.starts(id) {
		if s.ActionID == action {
			times++
			last = s.At
		}
	}
	return times, last
}

// agentFrozenBeforeItsAction leaves the request in the kernel's buffer until after the timeout of the step.
func agentFrozenBeforeItsAction(in *installation) {
	agent, node := in.Agents[0], in.Nodes[0]
	agent.Freeze()
	run := in.startRun("impatient", 100*time.Millisecond)
	run = in.awaitEndUnsettled(run.ID)
	action := in.lastAction(run.ID, node)
	if times, _ := in.startsOf(run.ID, action.ID); times != 0 || !action.Unsettled {
		in.t.Errorf("the action of a frozen agent is %+v and was started %d times", action, times)
	}
	agent.Thaw()
	in.awaitSettled(run.ID, action.ID)
}

// agentFrozenDuringItsAction freezes only the agent: its command continues.
func agentFrozenDuringItsAction(in *installation) {
	agent, node := in.Agents[1], in.Nodes[1]
	run := in.startRun("impatient", 2*time.Second)
	in.await("the action starts", 10*time.Second, func() bool {
		return slices.ContainsFunc(in.starts(run.ID), func(s cluster.ActionStart) bool { return s.Node == node })
	})
	agent.Freeze()
	run = in.awaitEndUnsettled(run.ID)
	agent.Thaw()
	in.awaitSettled(run.ID, in.lastAction(run.ID, node).ID)
}

// awaitEndUnsettled waits until a run has ended without knowing how one action ended.
func (in *installation) awaitEndUnsettled(id string) record.Run {
	in.t.Helper()
	var run record.Run
	in.await("the run ends", 60*time.Second, func() bool {
		run = in.readRun(id)
		return run.State.Final()
	})
	if run.State != record.RunFailed || run.Unsettled != 1 || run.Counts[record.NodeUnknown] != 1 {
		in.t.Errorf("the run ended %s with %d unsettled actions and nodes %v", run.State, run.Unsettled, run.Counts)
	}
	return run
}

// awaitSettled waits until the agent has answered, and checks that the action does not start after that.
func (in *installation) awaitSettled(id, action string) {
	in.t.Helper()
	in.await("the agent has answered", 60*time.Second, func() bool { return in.readRun(id).Unsettled == 0 })
	settled := time.Now()
	in.await("an action that was not refused would have started", 5*time.Second, func() bool { return time.Since(settled) > 1500*time.Millisecond })
	times, last := in.startsOf(id, action)
	if times > 1 || last.After(settled) {
		in.t.Errorf("it was started %d times, last at %s; it was settled at %s", times, last, settled)
	}
	in.t.Logf("the action was started %d times before it was settled", times)
}

// agentKilledWithoutItsCommand kills an agent whose command continues. The agent kills the command when it starts again, and
// reports the action as lost.
func agentKilledWithoutItsCommand(in *installation) {
	agent, node := in.Agents[2], in.Nodes[2]
	run := in.startRun("wide", 47*time.Second)
	in.awaitStarts(run.ID, len(in.Nodes))
	action := in.lastAction(run.ID, node)
	before := in.sleeps("47.00")
	agent.Kill()
	orphaned := in.sleeps("47.00")
	in.must(agent.Start(in.t.Context()))
	in.await("its action is reported as lost", 20*time.Second, func() bool {
		last := in.lastAction(run.ID, node)
		return last.State == record.ActionUnknown && last.Error != nil && last.Error.Code == record.CodeLost
	})
	if now := in.sleeps("47.00"); len(before) != len(in.Nodes) || len(now) != len(before)-1 {
		in.t.Errorf("%d commands ran, %d when the agent was killed, and %d when it had started again", len(before), len(orphaned), len(now))
	}
	if _, err := in.client.Command(in.t.Context(), run.ID, record.Command{Verb: record.VerbCancel, Kill: true}); err != nil {
		in.t.Error(err)
	}
	in.awaitEnd(run.ID, 30*time.Second)
	if times, _ := in.startsOf(run.ID, action.ID); times != 1 {
		in.t.Errorf("it was started %d times", times)
	}
}

// sleeps are the processes that sleep for so long.
func (in *installation) sleeps(seconds string) []string {
	in.t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	in.must(err)
	return slices.DeleteFunc(files, func(file string) bool {
		text, err := os.ReadFile(file)
		return err != nil || string(text) != "sleep\x00"+seconds+"\x00"
	})
}

// journalDeleted deletes the journal of an agent while its action runs.
func journalDeleted(in *installation) {
	agent, node := in.Agents[3], in.Nodes[3]
	run := in.startRun("wide", 4*time.Second)
	in.awaitStarts(run.ID, len(in.Nodes))
	action := in.lastAction(run.ID, node)
	agent.Kill()
	in.must(os.RemoveAll(filepath.Join(in.Dir, "agent-"+node)))
	in.must(agent.Start(in.t.Context()))
	in.await("the run has ended", 60*time.Second, func() bool { run = in.readRun(run.ID); return run.EndTS != nil })
	last := in.lastAction(run.ID, node)
	if last.ID != action.ID || last.State != record.ActionUnknown || run.State != record.RunFailed {
		in.t.Errorf("the run ended %s, the action is %+v", run.State, last)
	}
	if last.Error == nil || last.Error.Code != record.CodeForgotten && last.Error.Code != record.CodeJournalChanged {
		in.t.Errorf("it is UNKNOWN because of %+v", last.Error)
	}
	if times, _ := in.startsOf(run.ID, action.ID); times != 1 {
		in.t.Errorf("it was started %d times", times)
	}
	if run.Unsettled != 1 {
		in.t.Errorf("%d actions are unsettled", run.Unsettled) // only the deleted journal could say that it is over
	}
	resolved, err := in.client.Command(in.t.Context(), run.ID, record.Command{Verb: record.VerbResolve, Node: node, State: record.NodeDone, Reason: "checked"})
	if err != nil || resolved.Unsettled != 0 || resolved.Counts[record.NodeDone] != len(in.Nodes) {
		in.t.Errorf("after resolve its nodes are %v with %d unsettled, %v", resolved.Counts, resolved.Unsettled, err)
	}
	in.awaitEnd(run.ID, 20*time.Second)
	// The key of the killed agent keeps the new journal out until its lease has ended.
	in.await("the new journal is known", 20*time.Second, func() bool {
		known, err := in.client.Node(in.t.Context(), in.Cluster, node)
		return err == nil && known.Present && known.JournalID != action.JournalID
	})
	in.awaitDone(in.startRun("wide", 100*time.Millisecond).ID, 30*time.Second)
}

// secondAgent starts a second agent for one node, with a journal of its own.
func secondAgent(in *installation) {
	node := in.Nodes[0]
	before, err := in.client.Node(in.t.Context(), in.Cluster, node)
	in.must(err)
	port, err := cluster.FreePort()
	in.must(err)
	text, err := os.ReadFile(filepath.Join(in.Dir, "agent-"+node+".yaml"))
	in.must(err)
	address := strings.TrimPrefix(in.Agents[0].URL, "http://")
	yaml := strings.NewReplacer(address, fmt.Sprintf("127.0.0.1:%d", port),
		"data_dir: "+filepath.Join(in.Dir, "agent-"+node), "data_dir: "+filepath.Join(in.Dir, "second")).Replace(string(text))
	config := filepath.Join(in.Dir, "second.yaml")
	in.must(os.WriteFile(config, []byte(yaml), 0o600))
	second, err := cluster.StartProcess(filepath.Join(in.Dir, "second.log"), nil, filepath.Join(in.Programs, "repliagent"), "--config", config)
	in.must(err)
	in.t.Cleanup(second.Kill)
	in.await("the second agent reports the first one", 20*time.Second, func() bool {
		return strings.Contains(second.LogTail(), "this node is registered by an agent with another journal")
	})
	in.awaitDone(in.startRun("wide", 100*time.Millisecond).ID, 30*time.Second)
	after, err := in.client.Node(in.t.Context(), in.Cluster, node)
	if err != nil || after.AgentURL != before.AgentURL {
		in.t.Errorf("the agent is %s, and was %s, %v", after.AgentURL, before.AgentURL, err)
	}
	// It registers the node once the first one is gone.
	in.must(in.Agents[0].Terminate(10 * time.Second))
	in.await("the second agent has registered the node", 20*time.Second, func() bool {
		node, err := in.client.Node(in.t.Context(), in.Cluster, node)
		return err == nil && node.AgentURL == fmt.Sprintf("http://127.0.0.1:%d", port)
	})
	in.awaitDone(in.startRun("wide", 100*time.Millisecond).ID, 30*time.Second)
	if status, _ := get(in.leader(), "/readyz"); status != http.StatusOK {
		in.t.Errorf("/readyz answers %d", status)
	}
}
