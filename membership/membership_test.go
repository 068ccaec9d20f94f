package membership_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/tests/v3/framework/integration"

	"github.com/replicante-io/playbooks/internal/etcd/etcdtest"
	"github.com/replicante-io/playbooks/membership"
)

// TestMembership has the cases for which no member must be killed: they share a cluster, each with its own prefix.
func TestMembership(t *testing.T) {
	cluster := etcdtest.Start(t, 3)
	cases := []struct {
		name string
		test func(t *testing.T, k *nodeKeys)
	}{
		{"ASnapshotThenTheChangesInOrder", snapshotThenChanges},
		{"KeysOfOtherProgramsAreNodes", otherPrograms},
		{"AValueThatCannotBeReadCountsAsAbsent", badValues},
		{"NothingIsMissedAcrossACompaction", compaction},
		{"NothingIsMissedWhenConnectionsBreak", brokenConnections},
		{"ASilentConnectionIsReplaced", silentConnection},
		{"TenThousandKeysAppearAndVanishWithoutAReadPerChange", tenThousand},
		{"AnErrorOfTheReceiverEndsTheWatch", receiverError},
		{"ANodeHasAKeyWhileItsRegistrarRuns", registerAndLeave},
		{"UpdatesReachTheKey", updates},
		{"AnotherJournalsKeyIsNeverOverwritten", otherJournal},
		{"ARestartedAgentTakesOverItsKey", restartedAgent},
		{"TwoAgentsOfOneJournalDoNotOverwriteEachOther", clones},
		{"ALostLeaseOrKeyIsReplaced", lostKey},
		{"AnAgentThatWasCutOffRegistersAgain", cutOffAgent},
		{"IDsThatCannotBeKeysAreRefused", badIDs},
	}
	for i, c := range cases {
		t.Run(c.name, func(t *testing.T) { c.test(t, newNodeKeys(t, cluster, fmt.Sprintf("/case-%d", i))) })
	}
}

const (
	// longLease does not end while a test runs.
	longLease = time.Hour
	// patience is how long a test waits for what must happen.
	patience = time.Minute
)

// nodeKeys are those under one prefix.
type nodeKeys struct {
	t       *testing.T
	cluster *integration.Cluster
	prefix  string
	etcd    *clientv3.Client // of the test itself
}

func newNodeKeys(t *testing.T, cluster *integration.Cluster, prefix string) *nodeKeys {
	client, _ := etcdtest.Dial(t, cluster)
	return &nodeKeys{t: t, cluster: cluster, prefix: prefix, etcd: client}
}

func (k *nodeKeys) key(node string) string { return k.prefix + "/clusters/orders/nodes/" + node }

func node(id string) membership.Node {
	return membership.Node{NodeID: id, ClusterID: "orders", AgentURL: "http://" + id, JournalID: "journal-" + id}
}

func (k *nodeKeys) put(id string, value any) {
	k.t.Helper()
	text, isText := value.(string)
	if !isText {
		raw, err := json.Marshal(value)
		if err != nil {
			k.t.Fatal(err)
		}
		text = string(raw)
	}
	if _, err := k.etcd.Put(context.Background(), k.key(id), text); err != nil {
		k.t.Fatal(err)
	}
}

func (k *nodeKeys) remove(id string) {
	k.t.Helper()
	if _, err := k.etcd.Delete(context.Background(), k.key(id)); err != nil {
		k.t.Fatal(err)
	}
}

// value returns the value of the key, and its lease.
func (k *nodeKeys) value(id string) (membership.Node, clientv3.LeaseID, bool) {
	k.t.Helper()
	answer, err := k.etcd.Get(context.Background(), k.key(id))
	if err != nil {
		k.t.Fatal(err)
	}
	var n membership.Node
	if len(answer.Kvs) == 0 {
		return n, 0, false
	}
	if err := json.Unmarshal(answer.Kvs[0].Value, &n); err != nil {
		k.t.Fatal(err)
	}
	return n, clientv3.LeaseID(answer.Kvs[0].Lease), true
}

// receiver receives updates and keeps what they amount to.
type receiver struct {
	t      *testing.T
	client *clientv3.Client
	link   *etcdtest.Link

	mu       sync.Mutex
	nodes    map[string]membership.Node
	complete int // complete updates
	updates  int
	changes  int
	changed  chan struct{}

	unreadable map[string]error // of nodes that were reported with one
}

// watch starts a watcher with its own link; it ends with the test.
func (k *nodeKeys) watch() *receiver {
	client, link := etcdtest.Dial(k.t, k.cluster)
	return k.watchWith(client, link)
}

func (k *nodeKeys) watchWith(client *clientv3.Client, link *etcdtest.Link) *receiver {
	p := &receiver{t: k.t, client: client, link: link, nodes: map[string]membership.Node{}, changed: make(chan struct{})}
	w := membership.NewWatcher(membership.WatcherConfig{Client: client, Prefix: k.prefix, Log: etcdtest.Log(k.t, "watcher")})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := w.Run(ctx, p.take); err != nil {
			k.t.Errorf("Run: %v", err)
		}
	}()
	k.t.Cleanup(func() {
		cancel()
		<-done
	})
	return p
}

func (p *receiver) take(u membership.Update) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.updates++
	if u.Complete {
		p.complete++
		p.nodes = map[string]membership.Node{}
	} else {
		p.changes += len(u.Changes)
	}
	for _, c := range u.Changes {
		if c.Unreadable != nil {
			if p.unreadable == nil {
				p.unreadable = map[string]error{}
			}
			p.unreadable[c.Node.NodeID] = c.Unreadable
		}
		if c.Gone {
			delete(p.nodes, c.Node.NodeID)
		} else {
			p.nodes[c.Node.NodeID] = c.Node
		}
	}
	close(p.changed)
	p.changed = make(chan struct{})
	return nil
}

// until waits until holds, which is called with the receiver's lock.
func (p *receiver) until(what string, holds func() bool) {
	p.t.Helper()
	timeout := time.After(patience)
	for {
		p.mu.Lock()
		ok, changed := holds(), p.changed
		p.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-changed:
		case <-timeout:
			p.mu.Lock()
			defer p.mu.Unlock()
			p.t.Fatalf("it did not happen: %s; %d nodes, %d updates, %d complete", what, len(p.nodes), p.updates, p.complete)
		}
	}
}

// reasons are why the keys of nodes could not be read.
func (p *receiver) reasons() map[string]error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return maps.Clone(p.unreadable)
}

func (p *receiver) shows(want map[string]membership.Node) {
	p.t.Helper()
	p.until(fmt.Sprintf("the %d nodes that exist", len(want)), func() bool { return cmp.Equal(p.nodes, want) })
}

func (p *receiver) completes() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.complete
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("it did not happen: %s", what)
		}
	}
}
