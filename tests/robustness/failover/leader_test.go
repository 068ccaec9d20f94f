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
	rig "github.com/replicante-io/playbooks/tests/robustness/cluster"
)

func TestALeaderThatIsGone(t *testing.T) {
	t.Parallel()
	f := newField(t, rig.Config{Etcds: 3, Replicas: 3, Mongods: 1, Agents: 8})
	cases := []struct {
		name string
		test func(f *field)
	}{
		{"HandsOverWhenItIsAskedToStop", handsOver},
		{"IsAZombieThatWasStoppedWithADecisionInHand", func(f *field) { zombie(f, failpoint.Decided) }},
		{"IsAZombieThatWasStoppedWithAnActionSavedAndNotSent", func(f *field) { zombie(f, failpoint.Committed) }},
		{"IsAZombieThatWasStoppedWithARequestInHand", func(f *field) { zombie(f, failpoint.Sending) }},
		{"IsAZombieThatWasStoppedWithAnAnswerInHand", func(f *field) { zombie(f, failpoint.Answered) }},
		{"IsAZombieThatWasStoppedWhileItCreatedARun", func(f *field) { zombieCreates(f, failpoint.Creating) }},
		{"IsAZombieThatWasStoppedAfterItCreatedARun", func(f *field) { zombieCreates(f, failpoint.Created) }},
		{"IsAZombieThatWasStoppedWhileItAdmittedARun", func(f *field) { zombieCreates(f, failpoint.Decided) }},
		{"IsCutOffFromEtcd", withoutEtcd},
		{"IsCutOffFromTheStore", withoutStore},
		{"IsCutOffFromTheAgents", withoutAgents},
		{"AFollowerIsCutOffFromTheStore", followerWithoutStore},
		{"AFollowerIsCutOffFromTheLeader", followerWithoutLeader},
	}
	for _, c := range cases {
		if !t.Run(c.name, func(t *testing.T) { c.test(f.with(t)) }) {
			for _, m := range f.Replicas {
				for _, peer := range []string{failpoint.Etcd, failpoint.Store, failpoint.Agents, failpoint.Replica} {
					_ = m.Heal(context.Background(), peer)
				}
			}
		}
		for _, m := range f.Replicas {
			m.Thaw()
			if !m.Running() {
				f.must(m.Launch())
			}
		}
		f.ready(f.Replicas...)
	}
}

func handsOver(f *field) {
	run := f.start("slow", 100*time.Millisecond)
	f.hasBegun(run.ID, 2)
	leader := f.leader()
	term := f.run(run.ID).Term
	f.must(leader.Terminate(10 * time.Second))
	f.leader(leader)
	f.must(leader.Start(f.t.Context()))
	if run = f.done(run.ID, 30*time.Second); run.Term <= term {
		f.t.Errorf("the run ended in term %d, that of the leader that stopped is %d", run.Term, term)
	}
}

// zombie stops a leader in the middle of a run where nothing can end it in order, and lets it go on when another leads.
func zombie(f *field, point string) {
	old := f.leader()
	f.must(old.Trap(f.t.Context(), point, 4, "stop"))
	said := len(f.log(old))
	run := f.start("slow", 300*time.Millisecond)
	term := run.Term
	f.until("the leader is stopped", 20*time.Second, old.Frozen)
	begun := len(f.began(run.ID))
	stopped := record.Now()
	f.leader(old)
	f.until("the next leader goes on with the run", 10*time.Second, func() bool {
		return len(f.began(run.ID)) > begun && f.run(run.ID).Term > term
	})
	old.Thaw()
	f.says(old, said, "leadership lost", 5*time.Second)
	run = f.done(run.ID, 30*time.Second)
	f.follows(old)
	for _, n := range f.records(run.ID) {
		for _, a := range n.Actions {
			if a.Term <= term && a.StartTS.After(stopped) {
				f.t.Errorf("the action on %s was saved at %s under term %d, whose leader was stopped at %s", n.Node, a.StartTS, a.Term, stopped)
			}
		}
	}
	// What it had saved before that the next leader counts: its agent may have it from either.
}

// follows waits until a replica that led follows another.
func (f *field) follows(old *rig.Member) {
	f.t.Helper()
	f.ready(old)
	f.until(old.Name+" follows", 10*time.Second, func() bool { return !leading(old) })
	if leads, err := f.asking(old).Leader(f.t.Context()); err != nil || leads.Name == old.Name {
		f.t.Errorf("%s says that %+v leads, %v", old.Name, leads, err)
	}
}

// zombieCreates stops a leader that is asked for a run, and lets it go on when another has answered for it.
func zombieCreates(f *field, point string) {
	old := f.leader()
	said := len(f.log(old))
	f.must(old.Trap(f.t.Context(), point, 1, "stop"))
	reason := f.t.Name()
	begun := time.Now()
	run, err := f.asking(append(f.others(old), old)...).Start(f.t.Context(), record.RunRequest{
		Playbook: "wide", Cluster: f.Cluster, Reason: reason, Params: map[string]any{"seconds": "0.2"}})
	f.must(err)
	f.t.Logf("it was answered after %s", time.Since(begun).Round(time.Millisecond))
	f.until("the leader is stopped", 20*time.Second, old.Frozen)
	next := f.leader(old)
	f.hasBegun(run.ID, 1)
	old.Thaw()
	f.says(old, said, "leadership lost", 5*time.Second)
	f.done(run.ID, 30*time.Second)
	f.follows(old)
	runs, err := f.asking(next).Runs(f.t.Context(), client.RunFilter{})
	f.must(err)
	n := 0
	for _, r := range runs {
		if r.Reason == reason {
			n++
		}
	}
	if n != 1 {
		f.t.Errorf("there are %d runs instead of 1", n)
	}
	if took := time.Since(begun); point != failpoint.Decided && took > 20*time.Second {
		f.t.Errorf("all of it took %s", took)
	}
}

func withoutEtcd(f *field) {
	old := f.leader()
	run := f.start("slow", 300*time.Millisecond)
	f.hasBegun(run.ID, 2)
	said, term := len(f.log(old)), f.run(run.ID).Term
	f.must(old.Cut(f.t.Context(), failpoint.Etcd))
	cut := time.Now()
	f.until("it does not lead any more", lease, func() bool { return !leading(old) })
	f.leader(old)
	f.t.Logf("another leads %s after the cut", time.Since(cut).Round(time.Millisecond))
	f.says(old, said, "could not be renewed in time", time.Second)
	f.misses(old, "etcd: ")
	if read, err := f.asking(old).Run(f.t.Context(), run.ID); err != nil || read.Term < term {
		f.t.Errorf("it reads %+v, %v", read, err)
	}
	run = f.done(run.ID, 30*time.Second)
	if run.Term <= term {
		f.t.Errorf("the run ended in term %d", run.Term)
	}
	f.must(old.Heal(f.t.Context(), failpoint.Etcd))
	f.follows(old)
}

// storeTime is how long a leader may keep runs waiting for a store that others reach.
const storeTime = 20 * time.Second

func withoutStore(f *field) {
	old := f.leader()
	run := f.start("slow", 300*time.Millisecond)
	f.hasBegun(run.ID, 2)
	said := len(f.log(old))
	f.must(old.Cut(f.t.Context(), failpoint.Store))
	cut := time.Now()
	f.leader(old)
	took := time.Since(cut)
	f.t.Logf("another leads %s after the cut", took.Round(time.Millisecond))
	if took > storeTime {
		f.t.Errorf("the runs waited %s for a leader that reaches the store", took)
	}
	f.says(old, said, "store_elsewhere", time.Second)
	f.misses(old, "the primary store: ")
	f.done(run.ID, 30*time.Second)
	f.must(old.Heal(f.t.Context(), failpoint.Store))
	f.follows(old)
}

func withoutAgents(f *field) {
	old := f.leader()
	run := f.start("slow", 300*time.Millisecond)
	f.hasBegun(run.ID, 2)
	f.must(old.Cut(f.t.Context(), failpoint.Agents))
	f.until("the run says that it waits for an agent", 20*time.Second, func() bool {
		return strings.Contains(f.run(run.ID).WaitsFor, "node-")
	})
	f.t.Logf("the run waits for: %s", f.run(run.ID).WaitsFor)
	f.must(old.Heal(f.t.Context(), failpoint.Agents))
	f.done(run.ID, 30*time.Second)
	if !leading(old) {
		f.t.Errorf("%s does not lead any more", old.Name)
	}
}

func followerWithoutStore(f *field) {
	leader := f.leader()
	follower := f.others(leader)[0]
	run := f.start("slow", time.Second)
	f.hasBegun(run.ID, 1)
	f.must(follower.Cut(f.t.Context(), failpoint.Store))
	if _, err := f.asking(follower).Command(f.t.Context(), run.ID, record.Command{Verb: record.VerbPause}); err != nil {
		f.t.Errorf("a word does not go through it: %v", err)
	}
	f.misses(follower, "the primary store: ")
	f.until("it cannot be read there", 15*time.Second, func() bool {
		status, body := ask(follower, "/api/v1/runs/"+run.ID)
		return status == http.StatusServiceUnavailable && strings.Contains(body, "store_unavailable")
	})
	// Whoever asks several servers goes on at another.
	asked := time.Now()
	if _, err := f.asking(follower, leader).Run(f.t.Context(), run.ID); err != nil {
		f.t.Error(err)
	}
	f.t.Logf("with two servers it is read after %s", time.Since(asked).Round(time.Millisecond))
	if _, err := f.asking(follower).Command(f.t.Context(), run.ID, record.Command{Verb: record.VerbResume}); err != nil {
		f.t.Error(err)
	}
	f.done(run.ID, 30*time.Second)
	f.must(follower.Heal(f.t.Context(), failpoint.Store))
	f.ready(follower)
	if !leading(leader) {
		f.t.Errorf("%s does not lead any more", leader.Name)
	}
}

func followerWithoutLeader(f *field) {
	leader := f.leader()
	follower := f.others(leader)[0]
	f.must(follower.Cut(f.t.Context(), failpoint.Replica))
	asked := time.Now()
	run, err := f.asking(follower, f.others(leader)[1]).Start(f.t.Context(), record.RunRequest{Playbook: "wide", Cluster: f.Cluster})
	f.must(err)
	f.t.Logf("a run is started by way of another follower after %s", time.Since(asked).Round(time.Millisecond))
	if read, err := f.asking(follower).Run(f.t.Context(), run.ID); err != nil || read.ID != run.ID {
		f.t.Errorf("it reads %+v, %v", read, err)
	}
	f.done(run.ID, 30*time.Second)
	f.must(follower.Heal(f.t.Context(), failpoint.Replica))
}
