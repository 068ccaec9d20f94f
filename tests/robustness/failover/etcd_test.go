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
	rig "github.com/replicante-io/playbooks/tests/robustness/cluster"
)

func TestAnEtcdThatIsLost(t *testing.T) {
	t.Parallel()
	f := newField(t, rig.Config{Etcds: 3, Replicas: 3, Mongods: 1, Agents: 6})
	cases := []struct {
		name string
		test func(f *field)
	}{
		{"ItLosesItsQuorum", quorumLost},
		{"ItIsCompacted", compacted},
		{"ItIsRestartedMemberByMember", memberByMember},
		{"ItIsRestoredFromAnOlderSnapshot", olderEtcd},
		{"ItIsRebuilt", rebuiltEtcd},
		{"TheStoreIsRestoredFromABackup", olderStore},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) { c.test(f.with(t)) })
		f.ready(f.Replicas...)
	}
}

func quorumLost(f *field) {
	old := f.leader()
	run := f.start("slow", 1500*time.Millisecond)
	f.hasBegun(run.ID, 2)
	term := f.run(run.ID).Term
	for _, m := range f.Etcds[:2] {
		m.Kill()
	}
	lost := time.Now()
	f.until("nobody leads", 2*lease, func() bool { return !leading(old) })
	f.t.Logf("nobody leads %s after the quorum was lost", time.Since(lost).Round(time.Millisecond))
	for _, m := range f.Replicas {
		f.misses(m, "etcd: ")
		if read, err := f.asking(m).Run(f.t.Context(), run.ID); err != nil || read.State != record.RunRunning {
			f.t.Errorf("%s reads %s, %v", m.Name, read.State, err)
		}
	}
	begun := len(f.began(run.ID))
	for time.Since(lost) < 20*time.Second {
		time.Sleep(100 * time.Millisecond)
		if now := len(f.began(run.ID)); now != begun {
			f.t.Fatalf("%d actions had started, and %d have while nobody can lead", begun, now)
		}
	}
	back := time.Now()
	for _, m := range f.Etcds[:2] {
		f.must(m.Launch())
	}
	f.until("it goes on", 30*time.Second, func() bool { return len(f.began(run.ID)) > begun })
	f.t.Logf("the run goes on %s after the members were started", time.Since(back).Round(time.Millisecond))
	if run = f.done(run.ID, 30*time.Second); run.Term <= term {
		f.t.Errorf("the run ended in term %d", run.Term)
	}
}

func (f *field) etcd() *clientv3.Client {
	f.t.Helper()
	connection, err := etcd.Dial(etcd.DialConfig{Endpoints: f.Endpoints})
	f.must(err)
	f.t.Cleanup(func() { _ = connection.Close() })
	return connection
}

func compacted(f *field) {
	leader := f.leader()
	run := f.start("slow", 300*time.Millisecond)
	f.hasBegun(run.ID, 1)
	connection := f.etcd()
	ctx, cancel := context.WithTimeout(f.t.Context(), 20*time.Second)
	defer cancel()
	for range 200 {
		_, err := connection.Put(ctx, "/elsewhere", "x")
		f.must(err)
	}
	answer, err := connection.Get(ctx, "/elsewhere")
	f.must(err)
	_, err = connection.Compact(ctx, answer.Header.Revision, clientv3.WithCompactPhysical())
	f.must(err)
	for _, m := range f.Etcds {
		_, err := connection.Defragment(ctx, m.URL)
		f.must(err)
	}
	f.done(run.ID, 30*time.Second)
	if !leading(leader) {
		f.t.Errorf("%s does not lead any more", leader.Name)
	}
	// A watch that has to begin anew finds what it needs.
	agent := f.Agents[0]
	f.must(agent.Terminate(10 * time.Second))
	f.must(agent.Start(f.t.Context()))
	f.done(f.start("wide", 100*time.Millisecond).ID, 30*time.Second)
}

func memberByMember(f *field) {
	run := f.start("slow", time.Second)
	f.hasBegun(run.ID, 1)
	for _, m := range f.Etcds {
		m.Kill()
		f.must(m.Start(f.t.Context()))
	}
	f.done(run.ID, 60*time.Second)
}

// stopEtcd ends all members, do does something to their data, and starts them again.
func (f *field) stopEtcd(do func(data string)) {
	f.t.Helper()
	for _, m := range f.Etcds {
		m.Kill()
	}
	for _, m := range f.Etcds {
		do(filepath.Join(f.Dir, m.Name))
	}
	for _, m := range f.Etcds {
		f.must(m.Launch())
	}
	for _, m := range f.Etcds {
		f.must(m.Serves(f.t.Context()))
	}
}

func (f *field) copyTo(from, to string) {
	f.t.Helper()
	f.must(os.RemoveAll(to))
	f.must(os.CopyFS(to, os.DirFS(from)))
}

func olderEtcd(f *field) {
	f.stopEtcd(func(data string) { f.copyTo(data, data+".old") })
	f.ready(f.Replicas...)
	// Time goes on: leaders and agents change, etcd's revision grows.
	old := f.leader()
	old.Kill()
	f.must(old.Start(f.t.Context()))
	for _, m := range f.Agents[:2] {
		f.must(m.Terminate(10 * time.Second))
		f.must(m.Start(f.t.Context()))
	}
	run := f.start("slow", 500*time.Millisecond)
	f.hasBegun(run.ID, 1)
	f.until("the next term has begun", 20*time.Second, func() bool { return f.run(run.ID).Term > 0 })
	term := f.run(run.ID).Term
	f.stopEtcd(func(data string) { f.copyTo(data+".old", data) })
	run = f.done(run.ID, 60*time.Second)
	if run.Term < term {
		f.t.Errorf("the run ended in term %d, after %d", run.Term, term)
	}
	f.until("all nodes are there", 30*time.Second, func() bool {
		nodes, err := f.plane.Nodes(f.t.Context(), f.Cluster)
		for _, n := range nodes {
			if !n.Present {
				return false
			}
		}
		return err == nil && len(nodes) == len(f.Nodes)
	})
	next := f.done(f.start("wide", 100*time.Millisecond).ID, 30*time.Second)
	if next.Term < run.Term {
		f.t.Errorf("a later run has term %d, after %d", next.Term, run.Term)
	}
}

func rebuiltEtcd(f *field) {
	run := f.start("slow", 500*time.Millisecond)
	f.hasBegun(run.ID, 2)
	term := f.run(run.ID).Term
	f.stopEtcd(func(data string) { f.must(os.RemoveAll(data)) })
	f.until("a replica says what to do", 30*time.Second, func() bool {
		for _, m := range f.Replicas {
			if status, body := ask(m, "/readyz"); status == http.StatusServiceUnavailable && strings.Contains(body, "replicore store adopt-etcd") {
				return true
			}
		}
		return false
	})
	time.Sleep(time.Second) // what was in flight may still be answered
	begun := len(f.began(run.ID))
	for at := time.Now(); time.Since(at) < 3*time.Second; time.Sleep(100 * time.Millisecond) {
		if now := len(f.began(run.ID)); now != begun {
			f.t.Fatalf("%d actions had started, and %d have with an etcd that nobody adopted", begun, now)
		}
	}
	adopt := exec.CommandContext(f.t.Context(), filepath.Join(f.Programs, "replicore"), "store", "adopt-etcd",
		"--config", filepath.Join(f.Dir, f.Replicas[0].Name+".yaml"))
	out, err := adopt.CombinedOutput()
	if err != nil {
		f.t.Fatalf("%v: %s", err, out)
	}
	f.t.Logf("adopt-etcd says: %s", out)
	adopted := time.Now()
	if run = f.done(run.ID, 60*time.Second); run.Term <= term {
		f.t.Errorf("the run ended in term %d, after %d", run.Term, term)
	}
	f.t.Logf("the run is done %s after that", time.Since(adopted).Round(time.Millisecond))
}

// restartReplicas ends all replicas, do does something meanwhile, and starts them again.
func (f *field) restartReplicas(do func()) {
	f.t.Helper()
	for _, m := range f.Replicas {
		m.Kill()
	}
	do()
	for _, m := range f.Replicas {
		f.must(m.Launch())
	}
	f.ready(f.Replicas...)
}

// olderStore takes a copy of the store in the middle of a run, and puts it back after the run has gone on under later
// terms: agents know more than the store does.
func olderStore(f *field) {
	mongod := f.Mongo.Members[0]
	data := filepath.Join(f.Dir, "mongo", "0", "db")
	run := f.start("slow", time.Second)
	f.hasBegun(run.ID, 2)
	f.restartReplicas(func() {
		mongod.Kill()
		f.copyTo(data, data+".old")
		f.must(mongod.Start())
	})
	begun := len(f.began(run.ID))
	f.hasBegun(run.ID, begun+1)
	for range 2 {
		f.leader().Kill()
		for _, m := range f.Replicas {
			if !m.Running() {
				f.must(m.Launch())
			}
		}
		f.hasBegun(run.ID, min(len(f.began(run.ID))+1, len(f.Nodes)))
	}
	f.done(run.ID, 60*time.Second)
	ended := f.done(f.start("wide", 10*time.Millisecond).ID, 30*time.Second) // all agents know its term
	var said []int
	for _, m := range f.Replicas {
		said = append(said, len(f.log(m)))
	}
	f.restartReplicas(func() {
		mongod.Kill()
		f.copyTo(data+".old", data)
		f.must(mongod.Start())
	})
	again := f.done(run.ID, 60*time.Second) // with each action started once all the same
	if again.Term <= ended.Term {
		f.t.Errorf("it ended in term %d, and agents know %d", again.Term, ended.Term)
	}
	if !slices.ContainsFunc(f.Replicas, func(m *rig.Member) bool {
		return strings.Contains(f.log(m)[said[slices.Index(f.Replicas, m)]:], `"reason":"agent_term"`)
	}) {
		f.t.Error("no leader stepped down because of the term that agents know")
	}
}
