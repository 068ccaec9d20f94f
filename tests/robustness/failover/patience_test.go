//go:build integration

package failover

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/replicante-io/playbooks/record"
	"github.com/replicante-io/playbooks/tests/robustness/cluster"
)

// startProbed starts an installation whose nodes have the status that setStatus says, HEALTHY at first.
func startProbed(t *testing.T, config cluster.Config) (in *installation, setStatus func(string)) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "probe")
	setStatus = func(status string) {
		next := file + ".next"
		if err := os.WriteFile(next, fmt.Appendf(nil, `{"status": %q}`, status), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(next, file); err != nil { // no probe reads half a file
			t.Fatal(err)
		}
	}
	setStatus("HEALTHY")
	config.AgentYAML = func(string) string {
		return fmt.Sprintf("probe: {command: [cat, %q], interval: 1s, timeout: 5s}", file)
	}
	return start(t, config), setStatus
}

// awaitGate waits until the run waits for the health of its nodes.
func (in *installation) awaitGate(id string) {
	in.t.Helper()
	in.await("the run waits for the health of its nodes", 30*time.Second, func() bool {
		run := in.readRun(id)
		return run.Waiting != nil && run.Waiting.For == record.WaitGate
	})
}

// TestAgentsThatAreRestartedDuringARunFailNothing stops each agent shortly before the turn of its node, for eight seconds.
func TestAgentsThatAreRestartedDuringARunFailNothing(t *testing.T) {
	t.Parallel()
	in := start(t, cluster.Config{Etcds: 1, Replicas: 2, Mongods: 1, Agents: 4})
	const stopped = 8 * time.Second
	var run record.Run
	for i, agent := range in.Agents {
		if i < len(in.Agents)-1 { // without its key a node lets the others go first
			agent.Kill()
		} else {
			in.must(agent.Terminate(10 * time.Second))
		}
		since := time.Now()
		if i == 0 {
			run = in.startRun("slow", 500*time.Millisecond)
		}
		in.await("the run waits for node "+in.Nodes[i], stopped, func() bool {
			waiting := in.readRun(run.ID).Waiting
			return waiting != nil && waiting.Node == in.Nodes[i]
		})
		time.Sleep(time.Until(since.Add(stopped)))
		in.must(agent.Launch())
		in.awaitStarts(run.ID, i+1)
	}
	in.awaitDone(run.ID, 30*time.Second)
}

// TestALeaderWithoutFreeFileDescriptorsFailsNoNode lets the leader open fewer connections than there are agents.
func TestALeaderWithoutFreeFileDescriptorsFailsNoNode(t *testing.T) {
	t.Parallel()
	in := start(t, cluster.Config{Etcds: 1, Replicas: 1, Mongods: 1, Agents: 12})
	leader := in.leader()
	// Its idle connections to agents are none of those that it has to keep.
	in.must(leader.LimitFiles(2))
	run := in.startRun("wide", 2*time.Second)
	in.await("it says that it has no free file descriptors", 30*time.Second, func() bool {
		_, body := get(leader, "/readyz")
		return strings.Contains(body, "file descriptors: ")
	})
	in.must(leader.LimitFiles(-1))
	in.awaitDone(run.ID, time.Minute)
	in.awaitReady(leader)
}

// away is how long etcd is away: longer than the gate, the step, the leases and the grace. AWAY replaces it.
func away(t *testing.T) time.Duration {
	text := os.Getenv("AWAY")
	if text == "" {
		return 35 * time.Second
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// TestEtcdThatIsAwayDuringAGateFailsNothing: the nodes are healthy again while nobody can lead.
func TestEtcdThatIsAwayDuringAGateFailsNothing(t *testing.T) {
	t.Parallel()
	in, setStatus := startProbed(t, cluster.Config{Etcds: 1, Replicas: 2, Mongods: 1, Agents: 3})
	etcd := in.Etcds[0]
	for _, signal := range []syscall.Signal{syscall.SIGKILL, syscall.SIGSTOP} {
		t.Run(signal.String(), func(t *testing.T) {
			in := in.with(t)
			run := in.startRun("gated", time.Second)
			in.awaitStarts(run.ID, len(in.Nodes))
			setStatus("UNHEALTHY")
			in.awaitGate(run.ID)
			if signal == syscall.SIGKILL {
				etcd.Kill()
			} else {
				etcd.Freeze()
			}
			time.Sleep(time.Second)
			setStatus("HEALTHY")
			time.Sleep(away(t))
			if run := in.readRun(run.ID); run.State != record.RunRunning {
				t.Fatalf("without etcd the run is %s: %+v", run.State, run.Error)
			}
			if signal == syscall.SIGKILL {
				in.must(etcd.Start(t.Context()))
			} else {
				etcd.Thaw()
			}
			in.awaitDone(run.ID, time.Minute)
			in.awaitReady(in.Replicas...)
		})
	}
}

// TestAStepOfTheClockDecidesNothing steps the clock of everything by more than any timeout.
func TestAStepOfTheClockDecidesNothing(t *testing.T) {
	t.Parallel()
	in, setStatus := startProbed(t, cluster.Config{Etcds: 1, Replicas: 2, Mongods: 1, Agents: 3})
	step := func(by time.Duration) {
		t.Helper()
		for _, members := range [][]*cluster.Member{in.Replicas, in.Agents} {
			for _, m := range members {
				in.must(m.StepClock(t.Context(), by))
			}
		}
	}
	for _, by := range []time.Duration{10 * time.Minute, -10 * time.Minute} {
		t.Run(by.String(), func(t *testing.T) {
			in := in.with(t)
			run := in.startRun("gated", 3*time.Second)
			in.awaitStarts(run.ID, len(in.Nodes))
			step(by) // while actions run
			setStatus("UNHEALTHY")
			in.awaitGate(run.ID)
			step(0) // while the gate waits
			time.Sleep(3 * time.Second)
			if run := in.readRun(run.ID); run.State != record.RunRunning {
				t.Errorf("after a step of the clock its gate is over: it is %s, %+v", run.State, run.Error)
			}
			step(by)
			leader := in.leader() // the next one has the other clock from its start
			leader.Kill()
			setStatus("HEALTHY")
			in.leader(leader)
			in.must(leader.Start(t.Context()))
			in.awaitDone(run.ID, 30*time.Second)
			in.timesInOrder(run.ID)
			step(0)
		})
	}
}

// timesInOrder checks that the times of a run do not go back.
func (in *installation) timesInOrder(id string) {
	in.t.Helper()
	events, err := in.client.Events(in.t.Context(), id, 0)
	in.must(err)
	for i := 1; i < len(events); i++ {
		if events[i].TS.Before(events[i-1].TS) {
			in.t.Errorf("event %d (%s) is of %s, and the one before of %s", events[i].Seq, events[i].Type, events[i].TS, events[i-1].TS)
		}
	}
	run := in.readRun(id)
	for _, n := range in.nodes(id) {
		for _, a := range n.Actions {
			if a.FinishTS == nil || a.FinishTS.Before(a.StartTS) || a.StartTS.Before(run.CreatedTS) || a.FinishTS.After(*run.FinishTS) {
				in.t.Errorf("action %s lasts from %s to %v; the run from %s to %s", a.ID, a.StartTS, a.FinishTS, run.CreatedTS, run.FinishTS)
			}
		}
	}
}
