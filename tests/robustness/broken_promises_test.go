//go:build integration

package robustness_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/replicante-io/playbooks/api/client"
	"github.com/replicante-io/playbooks/internal/failpoint"
	"github.com/replicante-io/playbooks/internal/testenv"
	"github.com/replicante-io/playbooks/record"
	"github.com/replicante-io/playbooks/tests/robustness/cluster"
	"github.com/replicante-io/playbooks/tests/robustness/traffic"
	"github.com/replicante-io/playbooks/tests/robustness/validate"
)

// installation is a small one with one run, of one node after the other.
type installation struct {
	*cluster.Installation
	t        *testing.T
	store    string
	leader   *cluster.Member
	follower *cluster.Member
	run      record.Run
}

// start starts an installation whose programs break promises, and a run.
func start(t *testing.T, programs, broken string) *installation {
	t.Helper()
	set := testenv.MongoSet(t, 1)
	in := &installation{t: t, store: set.URL}
	config := cluster.Config{
		Dir: t.TempDir(), Programs: programs, Store: set.URL, Etcds: 1, Replicas: 2, Agents: 8, LeaseTTL: 2 * time.Second,
		Env: []string{"REPLICANTE_BREAK=" + broken},
	}
	in.must(traffic.AddWork(&config))
	var err error
	in.Installation, err = cluster.Start(t.Context(), config)
	in.must(err)
	t.Cleanup(in.Stop)
	in.leader, err = in.Leader(t.Context())
	in.must(err)
	in.follower = in.Replicas[0]
	if in.follower == in.leader {
		in.follower = in.Replicas[1]
	}
	in.await("the control plane knows all nodes", func() bool {
		nodes, err := in.client(in.leader).Nodes(t.Context(), in.Cluster)
		return err == nil && len(nodes) == len(in.Nodes)
	})
	_, err = in.client(in.leader).Apply(t.Context(), traffic.Playbooks())
	in.must(err)
	in.run, err = in.client(in.leader).Start(t.Context(), record.RunRequest{Playbook: "rolling", Cluster: in.Cluster, Reason: "one"})
	in.must(err)
	return in
}

func (in *installation) must(err error) {
	in.t.Helper()
	if err != nil {
		in.t.Fatal(err)
	}
}

// client is a client of one replica.
func (in *installation) client(m *cluster.Member) *client.Client {
	in.t.Helper()
	c, err := client.New(client.Config{Servers: []string{m.URL}, Patience: time.Minute})
	in.must(err)
	return c
}

func (in *installation) await(what string, holds func() bool) {
	in.t.Helper()
	for deadline := time.Now().Add(time.Minute); !holds(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			in.t.Fatalf("it took more than a minute until %s", what)
		}
	}
}

func (in *installation) executions() []validate.Execution {
	in.t.Helper()
	executions, err := traffic.Executions(in.Dir)
	in.must(err)
	return executions
}

// awaitEnd waits until the replica that followed reports the end of the run.
func (in *installation) awaitEnd() {
	in.t.Helper()
	in.await("the run ends", func() bool {
		run, err := in.client(in.follower).Run(in.t.Context(), in.run.ID)
		return err == nil && run.State.Final()
	})
}

// validate returns the violations once all runs have ended, or 10 s later.
func (in *installation) validate() []validate.Violation {
	in.t.Helper()
	var evidence validate.Evidence
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		var err error
		evidence, err = validate.ReadStore(in.t.Context(), in.store, "replicante")
		in.must(err)
		if evidence.Settled() {
			break
		}
	}
	evidence.Executions, evidence.Requests = in.executions(), []validate.Request{{Reason: "one", RunID: in.run.ID}}
	return validate.Validate(evidence)
}

func TestABrokenPromiseIsReported(t *testing.T) {
	testenv.Mongod(t)
	programs := t.TempDir()
	if err := cluster.Build(t.Context(), programs, "failpoints"); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		broken string
		faults func(in *installation)
		rules  []string // one of these reports it; none where nothing is wrong
	}{
		{failpoint.Deadline, stopLeaderUntilTheRunEnds, nil},
		{failpoint.Deadline + "," + failpoint.Fence, stopLeaderUntilTheRunEnds, []string{"saved before sent", "events", "finished records", "ended"}},
		{"", killLeaderWithoutStore, nil},
		{failpoint.Save, killLeaderWithoutStore, []string{"saved before sent"}},
	}
	for _, test := range tests {
		t.Run(fmt.Sprintf("without %q", test.broken), func(t *testing.T) {
			t.Parallel()
			in := start(t, programs, test.broken)
			test.faults(in)
			violations := in.validate()
			if test.rules == nil {
				for _, v := range violations {
					t.Errorf("reported: %s", v)
				}
				return
			}
			if !slices.ContainsFunc(violations, func(v validate.Violation) bool { return slices.Contains(test.rules, v.Rule) }) {
				t.Errorf("no violation of %v was reported, but: %v", test.rules, violations)
			}
			for _, v := range violations {
				t.Log(v)
			}
		})
	}
}

// stopLeaderUntilTheRunEnds stops the leader before a commit, and continues it when another leader has brought the run to its end.
func stopLeaderUntilTheRunEnds(in *installation) {
	in.must(in.leader.Arm(in.t.Context(), failpoint.Decided, 4, "stop"))
	in.await("the leader is stopped", in.leader.Frozen)
	in.awaitEnd()
	in.leader.Thaw()
	in.await("the leader notices that it leads no longer", func() bool {
		log, err := os.ReadFile(filepath.Join(in.Dir, in.leader.Name+".log"))
		return err == nil && strings.Contains(string(log), `"leadership":"lost"`)
	})
}

// killLeaderWithoutStore cuts the leader off from the store in the middle of the run, and kills it once an action has started
// that is not saved. A cut in the middle of a commit shows nothing: then it is repeated.
func killLeaderWithoutStore(in *installation) {
	for try := 0; ; try++ {
		before := len(in.executions())
		in.await("another action starts that is saved", func() bool { return len(in.executions()) > before && !in.unsaved() })
		in.must(in.leader.Disconnect(in.t.Context(), failpoint.Store))
		// What stays unsaved cannot be watched. A command takes 300 ms at most; the next one has started by then.
		time.Sleep(1500 * time.Millisecond)
		if in.unsaved() || try == 3 {
			break
		}
		in.must(in.leader.Reconnect(in.t.Context(), failpoint.Store))
	}
	in.leader.Kill()
	in.awaitEnd()
}

// unsaved reports whether an action has started that is not in the store.
func (in *installation) unsaved() bool {
	in.t.Helper()
	executions := in.executions()
	evidence, err := validate.ReadStore(in.t.Context(), in.store, "replicante")
	in.must(err)
	saved := map[string]bool{}
	for _, n := range evidence.Nodes {
		for _, a := range n.Actions {
			saved[a.ID] = true
		}
	}
	return slices.ContainsFunc(executions, func(x validate.Execution) bool { return !saved[x.Action] })
}
