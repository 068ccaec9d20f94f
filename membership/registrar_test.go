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
	link   *etcdtest.Link
	log    *lockedBuffer
	cancel context.CancelFunc
	done   chan struct{}
}

// register runs a registrar until it is stopped or the test ends.
func (k *nodeKeys) register(n membership.Node, ttl time.Duration) *agent {
	client, link := etcdtest.Dial(k.t, k.cluster)
	a := &agent{link: link, log: &lockedBuffer{}, done: make(chan struct{})}
	a.Registrar = membership.NewRegistrar(membership.RegistrarConfig{Client: client, Prefix: k.prefix, TTL: ttl, Node: n,
		Log: hclog.New(&hclog.LoggerOptions{Output: a.log})})
	ctx, cancel := context.WithCancel(context.Background())
	a.cancel = cancel
	go func() {
		defer close(a.done)
		if err := a.Run(ctx); err != nil {
			k.t.Errorf("Run: %v", err)
		}
	}()
	k.t.Cleanup(a.stop)
	return a
}

func (a *agent) stop() {
	a.cancel()
	<-a.done
}

// registered waits until the key has this value, and returns its lease.
func (k *nodeKeys) registered(want membership.Node) clientv3.LeaseID {
	k.t.Helper()
	var lease clientv3.LeaseID
	eventually(k.t, "the key of "+want.NodeID, func() bool {
		n, on, ok := k.value(want.NodeID)
		lease = on
		return ok && cmp.Equal(n, want)
	})
	return lease
}

func registerAndLeave(t *testing.T, k *nodeKeys) {
	a := k.register(node("a"), longLease)
	if lease := k.registered(node("a")); lease == 0 {
		t.Error("the key is on no lease")
	}
	a.stop()
	if _, _, ok := k.value("a"); ok {
		t.Error("the key still exists after Run has returned")
	}
}

func updates(t *testing.T, k *nodeKeys) {
	a := k.register(node("a"), 10*time.Second)
	lease := k.registered(node("a"))
	p := k.watch()
	p.shows(map[string]membership.Node{"a": node("a")})
	want := node("a")
	for _, status := range []string{"UNHEALTHY", "JOINING", "HEALTHY"} {
		want.Status = status
		update := want
		update.NodeID, update.JournalID = "other", "other" // these stay
		a.Update(update)
	}
	p.shows(map[string]membership.Node{"a": want})
	if now := k.registered(want); now != lease {
		t.Error("an update changed the lease")
	}
}

func otherJournal(t *testing.T, k *nodeKeys) {
	other := node("a")
	other.JournalID = "another"
	first := k.register(other, 10*time.Second)
	k.registered(other)
	before, err := k.etcd.Get(context.Background(), k.key("a"))
	if err != nil {
		t.Fatal(err)
	}

	second := k.register(node("a"), 10*time.Second)
	logged := func() int { return strings.Count(second.log.String(), "not registered") }
	eventually(t, "the second agent logs that it waits", func() bool { return logged() == 1 })
	changed := node("a")
	changed.Status = "HEALTHY"
	second.Update(changed) // makes it read the key again
	first.Update(other)
	p := k.watch()
	k.put("b", node("b"))
	p.shows(map[string]membership.Node{"a": other, "b": node("b")})
	after, err := k.etcd.Get(context.Background(), k.key("a"))
	if err != nil {
		t.Fatal(err)
	}
	if after.Kvs[0].ModRevision != before.Kvs[0].ModRevision {
		t.Errorf("the key was written: %s", after.Kvs[0].Value)
	}
	first.stop()
	k.registered(changed)
	if n := logged(); n != 1 {
		t.Errorf("it logged %d times that it waits", n)
	}

	k.put("plain", `{"agent_url": "http://plain"}`) // of an agent without a journal
	third := k.register(node("plain"), 10*time.Second)
	eventually(t, "the third agent logs that it waits", func() bool {
		return strings.Contains(third.log.String(), "not registered")
	})
	if n, _, _ := k.value("plain"); n.JournalID != "" {
		t.Error("the key of an agent without a journal was overwritten")
	}
}

func restartedAgent(t *testing.T, k *nodeKeys) {
	dead := k.register(node("a"), longLease)
	old := k.registered(node("a"))
	dead.link.Cut() // it dies: nothing of it reaches etcd from now on
	again := node("a")
	again.AgentURL = "http://moved"
	k.register(again, longLease)
	if lease := k.registered(again); lease == old {
		t.Error("the key is still on the lease of the dead agent")
	}
	if _, err := k.etcd.Revoke(context.Background(), old); err != nil {
		t.Fatal(err)
	}
	k.registered(again) // the key did not go with the old lease
	dead.link.Heal()
}

func clones(t *testing.T, k *nodeKeys) {
	one := k.register(node("a"), 10*time.Second)
	k.registered(node("a"))
	copied := node("a")
	copied.AgentURL = "http://copy"
	two := k.register(copied, 10*time.Second)
	k.registered(copied)
	eventually(t, "the first agent logs that it was replaced", func() bool {
		return strings.Contains(one.log.String(), "no longer registered")
	})
	again := node("a")
	again.Status = "HEALTHY"
	one.Update(again)
	if n, _, _ := k.value("a"); n.AgentURL != copied.AgentURL {
		t.Errorf("the key went back to %s", n.AgentURL)
	}
	two.stop()
	k.registered(again)
	if log := two.log.String(); strings.Contains(log, "not registered") || strings.Contains(log, "no longer registered") {
		t.Error("the second agent was replaced, too")
	}
}

func lostKey(t *testing.T, k *nodeKeys) {
	ctx := context.Background()
	k.register(node("a"), longLease) // no renewal finds out
	lease := k.registered(node("a"))
	k.remove("a")
	if now := k.registered(node("a")); now != lease {
		t.Error("a key that was deleted returned on another lease")
	}
	if _, err := k.etcd.Revoke(ctx, lease); err != nil {
		t.Fatal(err)
	}
	if now := k.registered(node("a")); now == lease {
		t.Error("the key is on a lease that was revoked")
	}
}

func cutOffAgent(t *testing.T, k *nodeKeys) {
	a := k.register(node("a"), time.Second)
	k.registered(node("a"))
	p := k.watch()
	p.shows(map[string]membership.Node{"a": node("a")})
	a.link.Cut()
	p.shows(map[string]membership.Node{})
	a.link.Heal()
	p.shows(map[string]membership.Node{"a": node("a")})
}

func badIDs(t *testing.T, k *nodeKeys) {
	for _, id := range []string{"", "a/b", "a b", "a\n", "\xff", strings.Repeat("x", 256)} {
		for _, n := range []membership.Node{{NodeID: id, ClusterID: "c"}, {NodeID: "n", ClusterID: id}} {
			r := membership.NewRegistrar(membership.RegistrarConfig{Client: k.etcd, Prefix: k.prefix, TTL: time.Second,
				Node: n, Log: hclog.NewNullLogger()})
			if err := r.Run(context.Background()); err == nil {
				t.Errorf("node %q of cluster %q can register", n.NodeID, n.ClusterID)
			}
		}
	}
}
