//go:build integration

package failover

import (
	"context"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/replicante-io/playbooks/internal/etcd"
	"github.com/replicante-io/playbooks/record"
	"github.com/replicante-io/playbooks/tests/robustness/cluster"
)

func TestEtcdOrTheStoreIsLostOrRestored(t *testing.T) {
	t.Parallel()
	in := start(t, cluster.Config{Etcds: 3, Replicas: 3, Mongods: 1, Agents: 6})
	cases := []struct {
		name string
		test func(in *installation)
	}{
		{"EtcdLosesItsQuorum", etcdLosesItsQuorum},
		{"EtcdIsCompacted", etcdCompacted},
		{"EtcdIsRestartedMemberByMember", etcdRestarted},
		{"EtcdIsRestoredFromAnOlderSnapshot", etcdRestored},
		{"EtcdIsReplacedByAnEmptyOne", etcdEmptied},
		{"TheStoreIsRestoredFromABackup", storeRestored},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) { c.test(in.with(t)) })
		in.awaitReady(in.Replicas...)
	}
}

func etcdLosesItsQuorum(in *installation) {
	old := in.leader()
	run := in.startRun("slow", 1500*time.Millisecond)
	in.awaitStarts(run.ID, 2)
	term := in.readRun(run.ID).Term
	for _, m := range in.Etcds[:2] {
		m.Kill()
	}
	lost := time.Now()
	in.await("no replica leads", 2*lease, func() bool { return !leads(old) })
	in.t.Logf("no replica leads %s after the quorum was lost", time.Since(lost).Round(time.Millisecond))
	for _, m := range in.Replicas {
		in.awaitUnready(m, "etcd: ")
		if read, err := in.clientOf(m).Run(in.t.Context(), run.ID); err != nil || read.State != record.RunRunning {
			in.t.Errorf("%s reads %s, %v", m.Name, read.State, err)
		}
	}
	started := len(in.starts(run.ID))
	for time.Since(lost) < 20*time.Second {
		time.Sleep(100 * time.Millisecond)
		if now := len(in.starts(run.ID)); now != started {
			in.t.Fatalf("%d actions were started, and %d when no replica can lead", started, now)
		}
	}
	back := time.Now()
	for _, m := range in.Etcds[:2] {
		in.must(m.Launch())
	}
	in.await("the run continues", 30*time.Second, func() bool { return len(in.starts(run.ID)) > started })
	in.t.Logf("the run continues %s after the members were started", time.Since(back).Round(time.Millisecond))
	if run = in.awaitDone(run.ID, 30*time.Second); run.Term <= term {
		in.t.Errorf("the run ended in term %d", run.Term)
	}
}

func (in *installation) etcdClient() *clientv3.Client {
	in.t.Helper()
	connection, err := etcd.Dial(etcd.DialConfig{Endpoints: in.Endpoints})
	in.must(err)
	in.t.Cleanup(func() { _ = connection.Close() })
	return connection
}

func etcdCompacted(in *installation) {
	leader := in.leader()
	run := in.startRun("slow", 300*time.Millisecond)
	in.awaitStarts(run.ID, 1)
	connection := in.etcdClient()
	ctx, cancel := context.WithTimeout(in.t.Context(), 20*time.Second)
	defer cancel()
	for range 200 {
		_, err := connection.Put(ctx, "/other", "x")
		in.must(err)
	}
	response, err := connection.Get(ctx, "/other")
	in.must(err)
	_, err = connection.Compact(ctx, response.Header.Revision, clientv3.WithCompactPhysical())
	in.must(err)
	for _, m := range in.Etcds {
		_, err := connection.Defragment(ctx, m.URL)
		in.must(err)
	}
	in.awaitDone(run.ID, 30*time.Second)
	if !leads(leader) {
		in.t.Errorf("%s no longer leads", leader.Name)
	}
	// A watch that has to start again receives what it missed.
	agent := in.Agents[0]
	in.must(agent.Terminate(10 * time.Second))
	in.must(agent.Start(in.t.Context()))
	in.awaitDone(in.startRun("wide", 100*time.Millisecond).ID, 30*time.Second)
}

func etcdRestarted(in *installation) {
	run := in.startRun("slow", time.Second)
	in.awaitStarts(run.ID, 1)
	for _, m := range in.Etcds {
		m.Kill()
		in.must(m.Start(in.t.Context()))
	}
	in.awaitDone(run.ID, 60*time.Second)
}

// stopEtcd stops all members, calls do with the directory of each, and starts them again.
func (in *installation) stopEtcd(do func(data string)) {
	in.t.Helper()
	for _, m := range in.Etcds {
		m.Kill()
	}
	for _, m := range in.Etcds {
		do(filepath.Join(in.Dir, m.Name))
	}
	for _, m := range in.Etcds {
		in.must(m.Launch())
	}
	for _, m := range in.Etcds {
		in.must(m.WaitServing(in.t.Context()))
	}
}

func (in *installation) copyTo(from, to string) {
	in.t.Helper()
	in.must(os.RemoveAll(to))
	in.must(os.CopyFS(to, os.DirFS(from)))
}

func etcdRestored(in *installation) {
	in.stopEtcd(func(data string) { in.copyTo(data, data+".old") })
	in.awaitReady(in.Replicas...)
	// Leaders and agents change, and the revision of etcd grows.
	old := in.leader()
	old.Kill()
	in.must(old.Start(in.t.Context()))
	for _, m := range in.Agents[:2] {
		in.must(m.Terminate(10 * time.Second))
		in.must(m.Start(in.t.Context()))
	}
	run := in.startRun("slow", 500*time.Millisecond)
	in.awaitStarts(run.ID, 1)
	in.await("a leader has claimed the run", 20*time.Second, func() bool { return in.readRun(run.ID).Term > 0 })
	term := in.readRun(run.ID).Term
	in.stopEtcd(func(data string) { in.copyTo(data+".old", data) })
	run = in.awaitDone(run.ID, 60*time.Second)
	if run.Term < term {
		in.t.Errorf("the run ended in term %d, after %d", run.Term, term)
	}
	in.await("all nodes are present", 30*time.Second, func() bool {
		nodes, err := in.client.Nodes(in.t.Context(), in.Cluster)
		for _, n := range nodes {
			if !n.Present {
				return false
			}
		}
		return err == nil && len(nodes) == len(in.Nodes)
	})
	next := in.awaitDone(in.startRun("wide", 100*time.Millisecond).ID, 30*time.Second)
	if next.Term < run.Term {
		in.t.Errorf("a later run has term %d, after %d", next.Term, run.Term)
	}
}

func etcdEmptied(in *installation) {
	run := in.startRun("slow", 500*time.Millisecond)
	in.awaitStarts(run.ID, 2)
	term := in.readRun(run.ID).Term
	in.stopEtcd(func(data string) { in.must(os.RemoveAll(data)) })
	in.await("a replica reports what to do", 30*time.Second, func() bool {
		for _, m := range in.Replicas {
			if status, body := get(m, "/readyz"); status == http.StatusServiceUnavailable && strings.Contains(body, "replicore store adopt-etcd") {
				return true
			}
		}
		return false
	})
	time.Sleep(time.Second) // what was in flight may still be answered
	started := len(in.starts(run.ID))
	for at := time.Now(); time.Since(at) < 3*time.Second; time.Sleep(100 * time.Millisecond) {
		if now := len(in.starts(run.ID)); now != started {
			in.t.Fatalf("%d actions were started, and %d with an etcd that was not adopted", started, now)
		}
	}
	adopt := exec.CommandContext(in.t.Context(), filepath.Join(in.Programs, "replicore"), "store", "adopt-etcd",
		"--config", filepath.Join(in.Dir, in.Replicas[0].Name+".yaml"))
	out, err := adopt.CombinedOutput()
	if err != nil {
		in.t.Fatalf("%v: %s", err, out)
	}
	in.t.Logf("adopt-etcd prints: %s", out)
	adopted := time.Now()
	if run = in.awaitDone(run.ID, 60*time.Second); run.Term <= term {
		in.t.Errorf("the run ended in term %d, after %d", run.Term, term)
	}
	in.t.Logf("the run is done %s after that", time.Since(adopted).Round(time.Millisecond))
}

// restartReplicas kills all replicas, calls do, and starts them again.
func (in *installation) restartReplicas(do func()) {
	in.t.Helper()
	for _, m := range in.Replicas {
		m.Kill()
	}
	do()
	for _, m := range in.Replicas {
		in.must(m.Launch())
	}
	in.awaitReady(in.Replicas...)
}

// storeRestored copies the store in the middle of a run, and restores the copy after the run has continued in later terms:
// agents know later terms than the store.
func storeRestored(in *installation) {
	mongod := in.ReplicaSet.Members[0]
	data := filepath.Join(in.Dir, "mongo", "0", "db")
	run := in.startRun("slow", time.Second)
	in.awaitStarts(run.ID, 2)
	in.restartReplicas(func() {
		mongod.Kill()
		in.copyTo(data, data+".old")
		in.must(mongod.Start())
	})
	started := len(in.starts(run.ID))
	in.awaitStarts(run.ID, started+1)
	for range 2 {
		in.leader().Kill()
		for _, m := range in.Replicas {
			if !m.Running() {
				in.must(m.Launch())
			}
		}
		in.awaitStarts(run.ID, min(len(in.starts(run.ID))+1, len(in.Nodes)))
	}
	in.awaitDone(run.ID, 60*time.Second)
	ended := in.awaitDone(in.startRun("wide", 10*time.Millisecond).ID, 30*time.Second) // all agents know the term of this one
	var logged []int
	for _, m := range in.Replicas {
		logged = append(logged, len(in.log(m)))
	}
	in.restartReplicas(func() {
		mongod.Kill()
		in.copyTo(data+".old", data)
		in.must(mongod.Start())
	})
	again := in.awaitDone(run.ID, 60*time.Second) // each action was started once
	if again.Term <= ended.Term {
		in.t.Errorf("it ended in term %d, and agents know term %d", again.Term, ended.Term)
	}
	if !slices.ContainsFunc(in.Replicas, func(m *cluster.Member) bool {
		return strings.Contains(in.log(m)[logged[slices.Index(in.Replicas, m)]:], `"reason":"agent_term"`)
	}) {
		in.t.Error("no leader stepped down because agents know a later term")
	}
}
