package membership_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/go-hclog"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/replicante-io/playbooks/internal/etcd/etcdtest"
	"github.com/replicante-io/playbooks/membership"
)

type agent struct {
	*membership.Registrar
	line   *etcdtest.Line
	log    *lockedBuffer
	cancel context.CancelFunc
	done   chan struct{}
}

// register runs a registrar until it is stopped or the test ends.
func (f *field) register(n membership.Node, ttl time.Duration) *agent {
	client, line := etcdtest.Dial(f.t, f.cluster)
	a := &agent{line: line, log: &lockedBuffer{}, done: make(chan struct{})}
	a.Registrar = membership.NewRegistrar(membership.RegistrarConfig{Client: client, Prefix: f.prefix, TTL: ttl, Node: n,
		Log: hclog.New(&hclog.LoggerOptions{Output: a.log})})
	ctx, cancel := context.WithCancel(context.Background())
	a.cancel = cancel
	go func() {
		defer close(a.done)
		if err := a.Run(ctx); err != nil {
			f.t.Errorf("Run: %v", err)
		}
	}()
	f.t.Cleanup(a.stop)
	return a
}

func (a *agent) stop() {
	a.cancel()
	<-a.done
}

// registered waits until the key says this, and returns its lease.
func (f *field) registered(want membership.Node) clientv3.LeaseID {
	f.t.Helper()
	var lease clientv3.LeaseID
	eventually(f.t, "the key of "+want.NodeID, func() bool {
		n, on, ok := f.there(want.NodeID)
		lease = on
		return ok && cmp.Equal(n, want)
	})
	return lease
}

func registerAndLeave(t *testing.T, f *field) {
	a := f.register(node("a"), 10*time.Second)
	if lease := f.registered(node("a")); lease == 0 {
		t.Error("the key is on no lease")
	}
	began := time.Now()
	a.stop()
	if _, _, ok := f.there("a"); ok {
		t.Error("the key is there after Run returned")
	}
	if took := time.Since(began); took > time.Second {
		t.Errorf("leaving took %s", took)
	}
}

func updates(t *testing.T, f *field) {
	a := f.register(node("a"), 10*time.Second)
	lease := f.registered(node("a"))
	p := f.watch()
	p.shows(map[string]membership.Node{"a": node("a")})
	want := node("a")
	for _, status := range []string{"UNHEALTHY", "JOINING", "HEALTHY"} {
		want.Status = status
		update := want
		update.NodeID, update.JournalID = "other", "other" // these stay
		a.Update(update)
	}
	p.shows(map[string]membership.Node{"a": want})
	if now := f.registered(want); now != lease {
		t.Error("an update changed the lease")
	}
}

func otherJournal(t *testing.T, f *field) {
	other := node("a")
	other.JournalID = "another"
	first := f.register(other, 10*time.Second)
	f.registered(other)
	before, err := f.etcd.Get(context.Background(), f.key("a"))
	if err != nil {
		t.Fatal(err)
	}

	second := f.register(node("a"), 10*time.Second)
	said := func() int { return strings.Count(second.log.String(), "not registered") }
	eventually(t, "the second agent says that it waits", func() bool { return said() == 1 })
	changed := node("a")
	changed.Status = "HEALTHY"
	second.Update(changed) // makes it look again
	first.Update(other)
	p := f.watch()
	f.put("b", node("b"))
	p.shows(map[string]membership.Node{"a": other, "b": node("b")})
	after, err := f.etcd.Get(context.Background(), f.key("a"))
	if err != nil {
		t.Fatal(err)
	}
	if after.Kvs[0].ModRevision != before.Kvs[0].ModRevision {
		t.Errorf("the key was written: %s", after.Kvs[0].Value)
	}
	first.stop()
	f.registered(changed)
	if n := said(); n != 1 {
		t.Errorf("said %d times that it waits", n)
	}

	f.put("plain", `{"agent_url": "http://plain"}`) // of an agent without a journal
	third := f.register(node("plain"), 10*time.Second)
	eventually(t, "the third agent says that it waits", func() bool {
		return strings.Contains(third.log.String(), "not registered")
	})
	if n, _, _ := f.there("plain"); n.JournalID != "" {
		t.Error("the key of an agent without a journal was overwritten")
	}
}

func restartedAgent(t *testing.T, f *field) {
	dead := f.register(node("a"), 60*time.Second)
	old := f.registered(node("a"))
	dead.line.Cut() // it dies: nothing of it reaches etcd any more
	again := node("a")
	again.AgentURL = "http://moved"
	began := time.Now()
	f.register(again, 60*time.Second)
	if lease := f.registered(again); lease == old {
		t.Error("the key is still on the lease of the dead agent")
	}
	if took := time.Since(began); took > time.Second {
		t.Errorf("the takeover took %s", took)
	}
	if _, err := f.etcd.Revoke(context.Background(), old); err != nil {
		t.Fatal(err)
	}
	f.registered(again) // the old lease took nothing with it
	dead.line.Heal()
}

func clones(t *testing.T, f *field) {
	one := f.register(node("a"), 10*time.Second)
	f.registered(node("a"))
	copied := node("a")
	copied.AgentURL = "http://copy"
	two := f.register(copied, 10*time.Second)
	f.registered(copied)
	eventually(t, "the first agent says that it was replaced", func() bool {
		return strings.Contains(one.log.String(), "not registered any more")
	})
	again := node("a")
	again.Status = "HEALTHY"
	one.Update(again)
	if n, _, _ := f.there("a"); n.AgentURL != copied.AgentURL {
		t.Errorf("the key went back to %s", n.AgentURL)
	}
	two.stop()
	f.registered(again)
	if strings.Contains(two.log.String(), "not registered") {
		t.Error("the second agent was replaced, too")
	}
}

func lostKey(t *testing.T, f *field) {
	ctx := context.Background()
	const ttl = 20 * time.Second
	f.register(node("a"), ttl)
	lease := f.registered(node("a"))
	f.remove("a")
	if now := f.registered(node("a")); now != lease {
		t.Error("a key that was deleted came back on another lease")
	}
	began := time.Now()
	if _, err := f.etcd.Revoke(ctx, lease); err != nil {
		t.Fatal(err)
	}
	if now := f.registered(node("a")); now == lease {
		t.Error("the key is on a lease that was revoked")
	}
	if took := time.Since(began); took > ttl/5 { // a renewal, a third of it later, would have found out too
		t.Errorf("the key came back after %s", took)
	}
}

func cutOffAgent(t *testing.T, f *field) {
	a := f.register(node("a"), time.Second)
	f.registered(node("a"))
	p := f.watch()
	p.shows(map[string]membership.Node{"a": node("a")})
	a.line.Cut()
	p.shows(map[string]membership.Node{})
	a.line.Heal()
	p.shows(map[string]membership.Node{"a": node("a")})
}

func badIDs(t *testing.T, f *field) {
	for _, id := range []string{"", "a/b", "a b", "a\n", "\xff", strings.Repeat("x", 256)} {
		for _, n := range []membership.Node{{NodeID: id, ClusterID: "c"}, {NodeID: "n", ClusterID: id}} {
			r := membership.NewRegistrar(membership.RegistrarConfig{Client: f.etcd, Prefix: f.prefix, TTL: time.Second,
				Node: n, Log: hclog.NewNullLogger()})
			if err := r.Run(context.Background()); err == nil {
				t.Errorf("node %q of cluster %q can register", n.NodeID, n.ClusterID)
			}
		}
	}
}
