//go:build integration

package failover

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/replicante-io/playbooks/api/client"
	"github.com/replicante-io/playbooks/internal/failpoint"
	"github.com/replicante-io/playbooks/record"
	"github.com/replicante-io/playbooks/tests/robustness/cluster"
)

func TestAReplicaIsStoppedOrCutOff(t *testing.T) {
	t.Parallel()
	in := start(t, cluster.Config{Etcds: 3, Replicas: 3, Mongods: 1, Agents: 8})
	cases := []struct {
		name string
		test func(in *installation)
	}{
		{"TheLeaderIsTerminated", leaderTerminated},
		{"TheLeaderIsFrozenBeforeACommit", func(in *installation) { leaderFrozen(in, failpoint.Decided) }},
		{"TheLeaderIsFrozenAfterACommit", func(in *installation) { leaderFrozen(in, failpoint.Committed) }},
		{"TheLeaderIsFrozenBeforeItSendsAnAction", func(in *installation) { leaderFrozen(in, failpoint.Sending) }},
		{"TheLeaderIsFrozenWithTheAnswerOfAnAgent", func(in *installation) { leaderFrozen(in, failpoint.Answered) }},
		{"TheLeaderIsFrozenBeforeItCreatesARun", func(in *installation) { leaderFrozenInARequest(in, failpoint.Creating) }},
		{"TheLeaderIsFrozenAfterItCreatedARun", func(in *installation) { leaderFrozenInARequest(in, failpoint.Created) }},
		{"TheLeaderIsFrozenBeforeItAdmitsARun", func(in *installation) { leaderFrozenInARequest(in, failpoint.Decided) }},
		{"TheLeaderIsCutOffFromEtcd", leaderWithoutEtcd},
		{"TheLeaderIsCutOffFromTheStore", leaderWithoutStore},
		{"TheLeaderIsCutOffFromTheAgents", leaderWithoutAgents},
		{"AFollowerIsCutOffFromTheStore", followerWithoutStore},
		{"AFollowerIsCutOffFromTheLeader", followerWithoutLeader},
	}
	for _, c := range cases {
		if !t.Run(c.name, func(t *testing.T) { c.test(in.with(t)) }) {
			for _, m := range in.Replicas {
				for _, peer := range []string{failpoint.Etcd, failpoint.Store, failpoint.Agents, failpoint.Replica} {
					_ = m.Reconnect(context.Background(), peer)
				}
			}
		}
		for _, m := range in.Replicas {
			m.Thaw()
			if !m.Running() {
				in.must(m.Launch())
			}
		}
		in.awaitReady(in.Replicas...)
	}
}

func leaderTerminated(in *installation) {
	run := in.startRun("slow", 100*time.Millisecond)
	in.awaitStarts(run.ID, 2)
	leader := in.leader()
	term := in.readRun(run.ID).Term
	in.must(leader.Terminate(10 * time.Second))
	in.leader(leader)
	in.must(leader.Start(in.t.Context()))
	if run = in.awaitDone(run.ID, 30*time.Second); run.Term <= term {
		in.t.Errorf("the run ended in term %d, that of the leader that stopped is %d", run.Term, term)
	}
}

// leaderFrozen freezes the leader at a failpoint in the middle of a run, and continues it when another replica leads.
func leaderFrozen(in *installation, point string) {
	old := in.leader()
	in.must(old.Arm(in.t.Context(), point, 4, "stop"))
	logged := len(in.log(old))
	run := in.startRun("slow", 300*time.Millisecond)
	term := run.Term
	in.await("the leader is frozen", 20*time.Second, old.Frozen)
	started := len(in.starts(run.ID))
	frozen := record.Now()
	in.leader(old)
	in.await("the next leader continues the run", 10*time.Second, func() bool {
		return len(in.starts(run.ID)) > started && in.readRun(run.ID).Term > term
	})
	old.Thaw()
	in.awaitLog(old, logged, "leadership lost", 5*time.Second)
	run = in.awaitDone(run.ID, 30*time.Second)
	in.awaitFollower(old)
	for _, n := range in.nodes(run.ID) {
		for _, a := range n.Actions {
			if a.Term <= term && a.StartTS.After(frozen) {
				in.t.Errorf("the action on %s was saved at %s in term %d, whose leader was frozen at %s", n.Node, a.StartTS, a.Term, frozen)
			}
		}
	}
}

// awaitFollower waits until a replica that led follows another one.
func (in *installation) awaitFollower(old *cluster.Member) {
	in.t.Helper()
	in.awaitReady(old)
	in.await(old.Name+" follows", 10*time.Second, func() bool { return !leads(old) })
	if leader, err := in.clientOf(old).Leader(in.t.Context()); err != nil || leader.Name == old.Name {
		in.t.Errorf("%s reports the leader %+v, %v", old.Name, leader, err)
	}
}

// leaderFrozenInARequest freezes the leader while it starts a run, and continues it when another replica has answered the request.
func leaderFrozenInARequest(in *installation, point string) {
	old := in.leader()
	logged := len(in.log(old))
	in.must(old.Arm(in.t.Context(), point, 1, "stop"))
	reason := in.t.Name()
	begin := time.Now()
	run, err := in.clientOf(append(in.others(old), old)...).Start(in.t.Context(), record.RunRequest{
		Playbook: "wide", Cluster: in.Cluster, Reason: reason, Params: map[string]any{"seconds": "0.2"}})
	in.must(err)
	in.t.Logf("it was answered after %s", time.Since(begin).Round(time.Millisecond))
	in.await("the leader is frozen", 20*time.Second, old.Frozen)
	next := in.leader(old)
	in.awaitStarts(run.ID, 1)
	old.Thaw()
	in.awaitLog(old, logged, "leadership lost", 5*time.Second)
	in.awaitDone(run.ID, 30*time.Second)
	in.awaitFollower(old)
	runs, err := in.clientOf(next).Runs(in.t.Context(), client.RunFilter{})
	in.must(err)
	n := 0
	for _, r := range runs {
		if r.Reason == reason {
			n++
		}
	}
	if n != 1 {
		in.t.Errorf("there are %d runs instead of 1", n)
	}
	if took := time.Since(begin); point != failpoint.Decided && took > 20*time.Second {
		in.t.Errorf("the run ended %s after the request", took)
	}
}

func leaderWithoutEtcd(in *installation) {
	old := in.leader()
	run := in.startRun("slow", 300*time.Millisecond)
	in.awaitStarts(run.ID, 2)
	logged, term := len(in.log(old)), in.readRun(run.ID).Term
	in.must(old.Disconnect(in.t.Context(), failpoint.Etcd))
	cut := time.Now()
	in.await("it leads no longer", lease, func() bool { return !leads(old) })
	in.leader(old)
	in.t.Logf("another replica leads %s after the cut", time.Since(cut).Round(time.Millisecond))
	in.awaitLog(old, logged, "could not be renewed in time", time.Second)
	in.awaitUnready(old, "etcd: ")
	if read, err := in.clientOf(old).Run(in.t.Context(), run.ID); err != nil || read.Term < term {
		in.t.Errorf("it answers %+v, %v", read, err)
	}
	run = in.awaitDone(run.ID, 30*time.Second)
	if run.Term <= term {
		in.t.Errorf("the run ended in term %d", run.Term)
	}
	in.must(old.Reconnect(in.t.Context(), failpoint.Etcd))
	in.awaitFollower(old)
}

// storeTimeout bounds how long a leader keeps runs waiting for a store that other replicas reach.
const storeTimeout = 20 * time.Second

func leaderWithoutStore(in *installation) {
	old := in.leader()
	run := in.startRun("slow", 300*time.Millisecond)
	in.awaitStarts(run.ID, 2)
	logged := len(in.log(old))
	in.must(old.Disconnect(in.t.Context(), failpoint.Store))
	cut := time.Now()
	in.leader(old)
	took := time.Since(cut)
	in.t.Logf("another replica leads %s after the cut", took.Round(time.Millisecond))
	if took > storeTimeout {
		in.t.Errorf("the runs waited %s for a leader that reaches the store", took)
	}
	in.awaitLog(old, logged, "store_elsewhere", time.Second)
	in.awaitUnready(old, "the primary store: ")
	in.awaitDone(run.ID, 30*time.Second)
	in.must(old.Reconnect(in.t.Context(), failpoint.Store))
	in.awaitFollower(old)
}

func leaderWithoutAgents(in *installation) {
	old := in.leader()
	run := in.startRun("slow", 300*time.Millisecond)
	in.awaitStarts(run.ID, 2)
	in.must(old.Disconnect(in.t.Context(), failpoint.Agents))
	in.await("the run waits for an agent", 20*time.Second, func() bool {
		return waitsForNode(in.readRun(run.ID))
	})
	in.t.Logf("the run waits for: %+v", in.readRun(run.ID).Waiting)
	in.must(old.Reconnect(in.t.Context(), failpoint.Agents))
	in.awaitDone(run.ID, 30*time.Second)
	if !leads(old) {
		in.t.Errorf("%s no longer leads", old.Name)
	}
}

func followerWithoutStore(in *installation) {
	leader := in.leader()
	follower := in.others(leader)[0]
	run := in.startRun("slow", time.Second)
	in.awaitStarts(run.ID, 1)
	in.must(follower.Disconnect(in.t.Context(), failpoint.Store))
	if _, err := in.clientOf(follower).Command(in.t.Context(), run.ID, record.Command{Verb: record.VerbPause}); err != nil {
		in.t.Errorf("a command through the follower: %v", err)
	}
	in.awaitUnready(follower, "the primary store: ")
	in.await("the follower cannot read it", 15*time.Second, func() bool {
		status, body := get(follower, "/api/v1/runs/"+run.ID)
		return status == http.StatusServiceUnavailable && strings.Contains(body, "store_unavailable")
	})
	// A client that has several servers uses the next one.
	begin := time.Now()
	if _, err := in.clientOf(follower, leader).Run(in.t.Context(), run.ID); err != nil {
		in.t.Error(err)
	}
	in.t.Logf("a client of two servers reads it after %s", time.Since(begin).Round(time.Millisecond))
	if _, err := in.clientOf(follower).Command(in.t.Context(), run.ID, record.Command{Verb: record.VerbResume}); err != nil {
		in.t.Error(err)
	}
	in.awaitDone(run.ID, 30*time.Second)
	in.must(follower.Reconnect(in.t.Context(), failpoint.Store))
	in.awaitReady(follower)
	if !leads(leader) {
		in.t.Errorf("%s no longer leads", leader.Name)
	}
}

func followerWithoutLeader(in *installation) {
	leader := in.leader()
	follower := in.others(leader)[0]
	in.must(follower.Disconnect(in.t.Context(), failpoint.Replica))
	begin := time.Now()
	run, err := in.clientOf(follower, in.others(leader)[1]).Start(in.t.Context(), record.RunRequest{Playbook: "wide", Cluster: in.Cluster})
	in.must(err)
	in.t.Logf("a run is started through another follower after %s", time.Since(begin).Round(time.Millisecond))
	if read, err := in.clientOf(follower).Run(in.t.Context(), run.ID); err != nil || read.ID != run.ID {
		in.t.Errorf("it answers %+v, %v", read, err)
	}
	in.awaitDone(run.ID, 30*time.Second)
	in.must(follower.Reconnect(in.t.Context(), failpoint.Replica))
}

func waitsForNode(run record.Run) bool { return run.Waiting != nil && run.Waiting.Node != "" }
