package membership_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/go-hclog"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/replicante-io/playbooks/internal/etcd"
	"github.com/replicante-io/playbooks/internal/etcd/etcdtest"
	"github.com/replicante-io/playbooks/membership"
)

func snapshotThenChanges(t *testing.T, k *nodeKeys) {
	k.put("a", node("a"))
	k.put("b", node("b"))
	updates := make(chan membership.Update, 10)
	w := membership.NewWatcher(membership.WatcherConfig{Client: k.etcd, Prefix: k.prefix, Log: etcdtest.Log(t, "watcher")})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- w.Run(ctx, func(u membership.Update) error {
			updates <- u
			return nil
		})
	}()
	u := <-updates
	want := []membership.Change{{Node: node("a")}, {Node: node("b")}}
	if !u.Complete || !cmp.Equal(u.Changes, want) {
		t.Errorf("the first update is %+v", u)
	}
	full := node("a")
	full.Status, full.Role, full.StartTS = "HEALTHY", "PRIMARY", time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	full.Attributes = map[string]any{"zone": "x"}
	full.Shards = []membership.Shard{{ID: "s", Role: "PRIMARY", Lag: &membership.Lag{Value: 1, Unit: "seconds"}}}
	k.put("a", full)
	k.remove("b")
	k.put("b", node("b"))
	k.remove("a")
	want = []membership.Change{{Node: full}, {Node: membership.Node{ClusterID: "orders", NodeID: "b"}, Gone: true},
		{Node: node("b")}, {Node: membership.Node{ClusterID: "orders", NodeID: "a"}, Gone: true}}
	var got []membership.Change
	last := u.Revision
	for len(got) < len(want) {
		u := <-updates
		if u.Complete || u.Revision <= last {
			t.Errorf("update %+v after revision %d", u, last)
		}
		last = u.Revision
		got = append(got, u.Changes...)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Run: %v", err)
	}
}

func otherPrograms(t *testing.T, k *nodeKeys) {
	k.put("plain", `{"agent_url": "http://h/base/path", "start_ts": "2026-01-02T03:04:05Z", "new_field": [1], "attributes": {"n": 1}}`)
	for _, other := range []string{"/clusters/orders", "/clusters/orders/nodes/", "/clusters/orders/nodes/a/b", "/clusters/orders/nodes/..", "/clusters/orders/nodes/.", "/clusters/orders/nodes/a$b.c", "/clusters/./nodes/a",
		"/clusters/orders/nodes/" + strings.Repeat("x", 254),
		"/clusters/orders/shards/a", "/clusters//nodes/a", "/elsewhere"} {
		if _, err := k.etcd.Put(context.Background(), k.prefix+other, "{}"); err != nil {
			t.Fatal(err)
		}
	}
	var out lockedBuffer
	p := &receiver{t: t, nodes: map[string]membership.Node{}, changed: make(chan struct{})}
	w := membership.NewWatcher(membership.WatcherConfig{Client: k.etcd, Prefix: k.prefix, Log: hclog.New(&hclog.LoggerOptions{Output: &out})})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx, p.take) }()
	defer func() {
		cancel()
		<-done
		for _, bad := range []string{"nodes/a/b", "nodes/..", "nodes/a$b.c", "clusters/./nodes/a"} {
			if n := strings.Count(strings.ReplaceAll(out.String(), `"`, " "), bad+" "); n != 1 {
				t.Errorf("%s was logged %d times: %s", bad, n, out.String())
			}
		}
	}()
	p.shows(map[string]membership.Node{"plain": {NodeID: "plain", ClusterID: "orders",
		AgentURL: "http://h/base/path", StartTS: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
		Attributes: map[string]any{"n": json.Number("1")}}})
}

func badValues(t *testing.T, k *nodeKeys) {
	var out lockedBuffer
	k.put("early", "{")
	p := &receiver{t: t, nodes: map[string]membership.Node{}, changed: make(chan struct{})}
	w := membership.NewWatcher(membership.WatcherConfig{Client: k.etcd, Prefix: k.prefix,
		Log: hclog.New(&hclog.LoggerOptions{Output: &out})})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx, p.take) }()
	defer func() {
		cancel()
		<-done
	}()
	k.put("good", node("good"))
	p.shows(map[string]membership.Node{"good": node("good")})
	k.put("good", "no JSON")
	p.shows(map[string]membership.Node{})
	if unreadable := p.reasons(); unreadable["good"] == nil || unreadable["early"] == nil {
		t.Errorf("nothing says why nodes are gone: %v", unreadable)
	}
	k.put("good", "{\"role\":\"\xff\"}") // still not readable
	k.put("early", node("another"))      // names another node
	k.put("end", node("end"))
	p.shows(map[string]membership.Node{"end": node("end")})
	k.put("good", node("good"))
	p.shows(map[string]membership.Node{"end": node("end"), "good": node("good")})
	for _, id := range []string{"early", "good"} {
		if n := strings.Count(out.String(), k.key(id)); n != 1 {
			t.Errorf("logged %d times that the value of %s cannot be read, not once:\n%s", n, id, out.String())
		}
	}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func compaction(t *testing.T, k *nodeKeys) {
	k.put("stays", node("stays"))
	k.put("goes", node("goes"))
	p := k.watch()
	p.shows(map[string]membership.Node{"stays": node("stays"), "goes": node("goes")})
	p.link.Cut()
	k.remove("goes")
	k.put("comes", node("comes"))
	k.put("passes", node("passes"))
	k.remove("passes")
	now, err := k.etcd.Get(context.Background(), "/")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := k.etcd.Compact(context.Background(), now.Header.Revision, clientv3.WithCompactPhysical()); err != nil {
		t.Fatal(err)
	}
	p.link.Heal()
	p.shows(map[string]membership.Node{"stays": node("stays"), "comes": node("comes")})
	k.remove("stays")
	p.shows(map[string]membership.Node{"comes": node("comes")})
}

func brokenConnections(t *testing.T, k *nodeKeys) {
	p := k.watch()
	want := map[string]membership.Node{}
	random := rand.New(rand.NewPCG(1, 2))
	for i := range 600 {
		id := fmt.Sprintf("n-%d", random.IntN(40))
		if _, there := want[id]; there && random.IntN(3) > 0 {
			k.remove(id)
			delete(want, id)
		} else {
			n := node(id)
			n.Status = fmt.Sprint(i)
			k.put(id, n)
			want[id] = n
		}
		switch random.IntN(15) {
		case 0:
			p.link.Drop()
		case 1:
			p.shows(want)
		}
	}
	p.shows(want)
	if n := p.completes(); n < 5 {
		t.Errorf("only %d complete updates: the connection did not break", n)
	}
}

// silentConnection tests the follower under the watcher, whose timeout can be set.
func silentConnection(t *testing.T, k *nodeKeys) {
	client, link := etcdtest.Dial(t, k.cluster)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	var following, completes, delivered atomic.Int64
	const followers = 12 // spread over the three members
	for range followers {
		follower := etcd.Follower{Client: client, Key: k.prefix, Prefix: true, SilenceTimeout: 250 * time.Millisecond,
			Log: etcdtest.Log(t, "follower")}
		knows := map[string]bool{}
		var first sync.Once
		running.Go(func() {
			_ = follower.Run(ctx, func(b etcd.Batch) error {
				if b.Complete { // more than one where a busy machine lets a stream look silent
					completes.Add(1)
					first.Do(func() { following.Add(1) })
				}
				for _, e := range b.Events {
					if key := string(e.Kv.Key); !knows[key] {
						knows[key] = true
						delivered.Add(1)
					}
				}
				return nil
			})
		})
	}
	eventually(t, "all follow", func() bool { return following.Load() == followers })
	for i, name := range []string{"a", "b"} { // no follower may be on the first connection
		before := completes.Load()
		link.Stall() // nothing is closed; one member just does not answer
		k.put(name, node(name))
		eventually(t, "all have it", func() bool { return delivered.Load() == followers*int64(i+1) })
		if completes.Load() > before {
			return
		}
	}
	t.Error("no follower was on a connection that stalled")
}

// countedKV counts what is read.
type countedKV struct {
	clientv3.KV
	reads atomic.Int64
}

func (c *countedKV) Get(ctx context.Context, key string, opts ...clientv3.OpOption) (*clientv3.GetResponse, error) {
	c.reads.Add(1)
	return c.KV.Get(ctx, key, opts...)
}

func (c *countedKV) Do(ctx context.Context, op clientv3.Op) (clientv3.OpResponse, error) {
	c.reads.Add(1)
	return c.KV.Do(ctx, op)
}

func (c *countedKV) Txn(ctx context.Context) clientv3.Txn {
	c.reads.Add(1)
	return c.KV.Txn(ctx)
}

func tenThousand(t *testing.T, k *nodeKeys) {
	const nodes = 10_000
	ctx := context.Background()
	counted := func() (*receiver, *countedKV) {
		client, link := etcdtest.Dial(t, k.cluster)
		kv := &countedKV{KV: client.KV}
		client.KV = kv
		return k.watchWith(client, link), kv
	}
	early, earlyReads := counted()
	early.until("the first update", func() bool { return early.complete == 1 })

	lease, err := k.etcd.Grant(ctx, 300)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < nodes; i += 100 {
		var puts []clientv3.Op
		for j := i; j < i+100; j++ {
			id := fmt.Sprintf("node-%05d", j)
			puts = append(puts, clientv3.OpPut(k.key(id), fmt.Sprintf(`{"agent_url": "http://%s"}`, id), clientv3.WithLease(lease.ID)))
		}
		if _, err := k.etcd.Txn(ctx).Then(puts...).Commit(); err != nil {
			t.Fatal(err)
		}
	}
	early.until("all nodes", func() bool { return len(early.nodes) == nodes })

	late, lateReads := counted()
	late.until("all nodes in the first update", func() bool { return len(late.nodes) == nodes && late.updates == 1 })

	began := time.Now()
	if _, err := k.etcd.Revoke(ctx, lease.ID); err != nil {
		t.Fatal(err)
	}
	for _, p := range []*receiver{early, late} {
		p.until("no nodes", func() bool { return len(p.nodes) == 0 })
		p.mu.Lock()
		t.Logf("%d changes in %d updates; all gone %s after the revocation", p.changes, p.updates, time.Since(began))
		if p.complete != 1 {
			t.Errorf("%d complete updates, want 1", p.complete)
		}
		p.mu.Unlock()
	}
	if n := earlyReads.reads.Load(); n != 1 {
		t.Errorf("%d reads for no nodes and 20,000 changes, want 1", n)
	}
	if n := lateReads.reads.Load(); n > nodes/1000+1 {
		t.Errorf("%d reads for 10,000 nodes and 10,000 changes, want at most 11", n)
	}
}

func receiverError(t *testing.T, k *nodeKeys) {
	refused := errors.New("full")
	w := membership.NewWatcher(membership.WatcherConfig{Client: k.etcd, Prefix: k.prefix, Log: etcdtest.Log(t, "watcher")})
	if err := w.Run(context.Background(), func(membership.Update) error { return refused }); !errors.Is(err, refused) {
		t.Errorf("Run: %v", err)
	}
}
