package membership_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.etcd.io/etcd/tests/v3/framework/integration"

	"github.com/replicante-io/playbooks/internal/etcd/etcdtest"
	"github.com/replicante-io/playbooks/membership"
)

func TestNothingIsMissedAcrossARestartOfEtcd(t *testing.T) {
	cluster := etcdtest.Start(t, 1)
	k := newNodeKeys(t, cluster, "/restart")
	k.register(node("agent"), 10*time.Second)
	k.put("a", node("a"))
	p := k.watch()
	p.shows(map[string]membership.Node{"a": node("a"), "agent": node("agent")})
	restart(t, cluster, false)
	k.put("b", node("b"))
	k.remove("a")
	p.shows(map[string]membership.Node{"b": node("b"), "agent": node("agent")})
}

// The new cluster has the name, the members and the cluster id of the old one, and less or more revisions.
func TestNothingIsMissedWhenEtcdIsReplacedByAnother(t *testing.T) {
	for name, puts := range map[string]int{"BehindTheOldRevision": 1, "BeyondTheOldRevision": 200} {
		t.Run(name, func(t *testing.T) {
			cluster := etcdtest.Start(t, 1)
			k := newNodeKeys(t, cluster, "/replaced")
			k.register(node("agent"), 10*time.Second)
			for range 50 {
				k.put("old", node("old"))
			}
			p := k.watch()
			p.shows(map[string]membership.Node{"old": node("old"), "agent": node("agent")})

			p.link.Cut()
			restart(t, cluster, true)
			want := map[string]membership.Node{"agent": node("agent")}
			for i := range puts {
				id := fmt.Sprintf("new-%d", i)
				k.put(id, node(id))
				want[id] = node(id)
			}
			p.link.Heal()
			p.shows(want)
			k.remove("new-0")
			delete(want, "new-0")
			p.shows(want)
		})
	}
}

// restart stops the only member and starts it again, with nothing in it if empty.
func restart(t *testing.T, cluster *integration.Cluster, empty bool) {
	t.Helper()
	member := cluster.Members[0]
	member.Stop(t)
	if empty {
		if err := os.RemoveAll(filepath.Join(member.DataDir, "member")); err != nil {
			t.Fatal(err)
		}
	}
	if err := member.Restart(t); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	client, _ := etcdtest.Dial(t, cluster)
	if _, err := client.Get(ctx, "/"); err != nil {
		t.Fatal(err)
	}
}
