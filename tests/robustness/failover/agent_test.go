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
	rig "github.com/replicante-io/playbooks/tests/robustness/cluster"
)

func TestAnAgentThatIsGone(t *testing.T) {
	t.Parallel()
	f := newField(t, rig.Config{Etcds: 1, Replicas: 2, Mongods: 1, Agents: 4})
	cases := []struct {
		name string
		test func(f *field)
	}{
		{"HasARequestInItsBufferWhenItsStepTimesOut", frozenAgent},
		{"IsStoppedInTheMiddleOfItsAction", frozenAtWork},
		{"LeavesACommandRunning", outlived},
		{"HasLostItsJournal", wipedJournal},
		{"HasATwin", twin},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) { c.test(f.with(t)) })
		for _, m := range f.Agents {
			m.Thaw()
		}
	}
}

// last is the latest action of a node in a run.
func (f *field) last(id, node string) record.Action {
	f.t.Helper()
	for _, n := range f.records(id) {
		if n.Node == node && len(n.Actions) > 0 {
			return n.Actions[len(n.Actions)-1]
		}
	}
	return record.Action{}
}

// starts counts the starts of one action.
func (f *field) starts(id, action string) (times int, last time.Time) {
	for _, b := range f.began(id) {
		if b.ActionID == action {
			times++
			last = b.At
		}
	}
	return times, last
}

// frozenAgent freezes an agent before its action is sent: the request waits where only the kernel has it.
func frozenAgent(f *field) {
	agent, node := f.Agents[0], f.Nodes[0]
	agent.Freeze()
	run := f.start("hasty", 100*time.Millisecond)
	run = f.unsettled(run.ID)
	action := f.last(run.ID, node)
	if times, _ := f.starts(run.ID, action.ID); times != 0 || !action.Unsettled {
		f.t.Errorf("the action of a frozen agent is %+v and was started %d times", action, times)
	}
	agent.Thaw()
	f.settles(run.ID, action.ID)
}

// frozenAtWork freezes an agent while its command runs, which goes on.
func frozenAtWork(f *field) {
	agent, node := f.Agents[1], f.Nodes[1]
	run := f.start("hasty", 2*time.Second)
	f.until("it works", 10*time.Second, func() bool {
		return slices.ContainsFunc(f.began(run.ID), func(b rig.Began) bool { return b.Node == node })
	})
	agent.Freeze()
	run = f.unsettled(run.ID)
	agent.Thaw()
	f.settles(run.ID, f.last(run.ID, node).ID)
}

// unsettled waits until a run has ended without having heard of one action.
func (f *field) unsettled(id string) record.Run {
	f.t.Helper()
	var run record.Run
	f.until("the run ends", 60*time.Second, func() bool {
		run = f.run(id)
		return run.FinishTS != nil
	})
	if run.State != record.RunFailed || run.Unsettled != 1 || run.Counts[record.NodeUnknown] != 1 {
		f.t.Errorf("the run ended %s with %d unsettled actions and nodes %v", run.State, run.Unsettled, run.Counts)
	}
	return run
}

// settles waits until the agent has answered, and finds that the action does not start after that.
func (f *field) settles(id, action string) {
	f.t.Helper()
	f.until("its agent has answered", 60*time.Second, func() bool { return f.run(id).Unsettled == 0 })
	settled := time.Now()
	f.until("a while is over", 5*time.Second, func() bool { return time.Since(settled) > 1500*time.Millisecond })
	times, last := f.starts(id, action)
	if times > 1 || last.After(settled) {
		f.t.Errorf("it was started %d times, last at %s; it was settled at %s", times, last, settled)
	}
	f.t.Logf("the action was started %d times before it was settled", times)
}

// outlived kills an agent and leaves its command running: the next life ends it and says that it is lost.
func outlived(f *field) {
	agent, node := f.Agents[2], f.Nodes[2]
	run := f.start("wide", 47*time.Second)
	f.hasBegun(run.ID, len(f.Nodes))
	action := f.last(run.ID, node)
	commands := f.commands("47.00")
	agent.Kill()
	left := f.commands("47.00")
	f.must(agent.Start(f.t.Context()))
	f.until("its action is known as lost", 20*time.Second, func() bool {
		last := f.last(run.ID, node)
		return last.State == record.ActionUnknown && last.Error != nil && last.Error.Code == record.CodeLost
	})
	if now := f.commands("47.00"); len(commands) != len(f.Nodes) || len(now) != len(commands)-1 {
		f.t.Errorf("there were %d commands, %d when the agent was killed, and %d are left", len(commands), len(left), len(now))
	}
	if _, err := f.plane.Command(f.t.Context(), run.ID, record.Command{Verb: record.VerbCancel, Kill: true}); err != nil {
		f.t.Error(err)
	}
	f.ended(run.ID, 30*time.Second)
	if times, _ := f.starts(run.ID, action.ID); times != 1 {
		f.t.Errorf("it was started %d times", times)
	}
}

// commands are the processes that sleep for so long.
func (f *field) commands(seconds string) []string {
	f.t.Helper()
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	f.must(err)
	return slices.DeleteFunc(lines, func(line string) bool {
		text, err := os.ReadFile(line)
		return err != nil || string(text) != "sleep\x00"+seconds+"\x00"
	})
}

// wipedJournal removes what an agent remembers while its action runs.
func wipedJournal(f *field) {
	agent, node := f.Agents[3], f.Nodes[3]
	run := f.start("wide", 4*time.Second)
	f.hasBegun(run.ID, len(f.Nodes))
	action := f.last(run.ID, node)
	agent.Kill()
	f.must(os.RemoveAll(filepath.Join(f.Dir, "agent-"+node)))
	f.must(agent.Start(f.t.Context()))
	run = f.ended(run.ID, 60*time.Second)
	last := f.last(run.ID, node)
	if last.ID != action.ID || last.State != record.ActionUnknown || run.State != record.RunFailed {
		f.t.Errorf("the run ended %s, the action is %+v", run.State, last)
	}
	if last.Error == nil || last.Error.Code != record.CodeForgotten && last.Error.Code != record.CodeJournalChanged {
		f.t.Errorf("it is UNKNOWN because of %+v", last.Error)
	}
	if times, _ := f.starts(run.ID, action.ID); times != 1 {
		f.t.Errorf("it was started %d times", times)
	}
	if run.Unsettled != 1 {
		f.t.Errorf("%d actions are unsettled", run.Unsettled) // only the lost journal could tell that it is over
	}
	resolved, err := f.plane.Command(f.t.Context(), run.ID, record.Command{Verb: record.VerbResolve, Node: node, State: record.NodeDone, Reason: "looked"})
	if err != nil || resolved.Unsettled != 0 || resolved.Counts[record.NodeDone] != len(f.Nodes) {
		f.t.Errorf("resolved it is %v with %d unsettled, %v", resolved.Counts, resolved.Unsettled, err)
	}
	// The key of the life before keeps the new journal out until its lease is over.
	f.until("the new journal is known", 20*time.Second, func() bool {
		known, err := f.plane.Node(f.t.Context(), f.Cluster, node)
		return err == nil && known.Present && known.JournalID != action.JournalID
	})
	f.done(f.start("wide", 100*time.Millisecond).ID, 30*time.Second)
}

// twin starts a second agent for one node, with a journal of its own.
func twin(f *field) {
	node := f.Nodes[0]
	before, err := f.plane.Node(f.t.Context(), f.Cluster, node)
	f.must(err)
	port, err := rig.FreePort()
	f.must(err)
	text, err := os.ReadFile(filepath.Join(f.Dir, "agent-"+node+".yaml"))
	f.must(err)
	own := strings.TrimPrefix(f.Agents[0].URL, "http://")
	other := strings.NewReplacer(own, fmt.Sprintf("127.0.0.1:%d", port),
		"data_dir: "+filepath.Join(f.Dir, "agent-"+node), "data_dir: "+filepath.Join(f.Dir, "twin")).Replace(string(text))
	config := filepath.Join(f.Dir, "twin.yaml")
	f.must(os.WriteFile(config, []byte(other), 0o600))
	log := filepath.Join(f.Dir, "twin.log")
	process, err := rig.Start(log, nil, filepath.Join(f.Programs, "repliagent"), "--config", config)
	f.must(err)
	f.t.Cleanup(process.Kill)
	f.until("the twin says so", 20*time.Second, func() bool {
		return strings.Contains(process.Tail(), "this node is registered by an agent with another journal")
	})
	f.done(f.start("wide", 100*time.Millisecond).ID, 30*time.Second)
	after, err := f.plane.Node(f.t.Context(), f.Cluster, node)
	if err != nil || after.AgentURL != before.AgentURL {
		f.t.Errorf("the agent is %s, and was %s, %v", after.AgentURL, before.AgentURL, err)
	}
	// It has the node once the other is gone.
	f.must(f.Agents[0].Terminate(10 * time.Second))
	f.until("the twin has the node", 20*time.Second, func() bool {
		node, err := f.plane.Node(f.t.Context(), f.Cluster, node)
		return err == nil && node.AgentURL == fmt.Sprintf("http://127.0.0.1:%d", port)
	})
	f.done(f.start("wide", 100*time.Millisecond).ID, 30*time.Second)
	if status, _ := ask(f.leader(), "/readyz"); status != http.StatusOK {
		f.t.Errorf("/readyz answers %d", status)
	}
}
