package membership_test

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/tests/v3/framework/integration"

	"github.com/replicante-io/playbooks/internal/etcd/etcdtest"
	"github.com/replicante-io/playbooks/membership"
)

// TestMembership holds what needs no member killed: the cases share a cluster, and each has a prefix of its own.
func TestMembership(t *testing.T) {
	cluster := etcdtest.Start(t, 3)
	cases := []struct {
		name string
		test func(t *testing.T, f *field)
	}{
		{"ASnapshotThenTheChangesInOrder", snapshotThenChanges},
		{"KeysOfOtherProgramsCount", otherPrograms},
		{"AValueThatCannotBeReadCountsAsAbsent", badValues},
		{"NothingIsMissedAcrossACompaction", compaction},
		{"NothingIsMissedWhenConnectionsBreak", brokenConnections},
		{"ASilentConnectionIsReplaced", silentConnection},
		{"TenThousandKeysComeAndGoWithoutAScanPerChange", tenThousand},
		{"AnErrorOfTheReceiverEndsTheWatch", receiverError},
		{"ANodeIsThereWhileItsRegistrarRuns", registerAndLeave},
		{"UpdatesReachTheKey", updates},
		{"AnotherJournalsKeyIsNeverOverwritten", otherJournal},
		{"ARestartedAgentTakesItsKeyOver", restartedAgent},
		{"TwoAgentsOfOneJournalDoNotFight", clones},
		{"ALostLeaseOrKeyIsReplaced", lostKey},
		{"AnAgentThatWasCutOffRegistersAgain", cutOffAgent},
		{"IdsThatCannotBeKeysAreRefused", badIDs},
	}
	for i, c := range cases {
		t.Run(c.name, func(t *testing.T) { c.test(t, newField(t, cluster, fmt.Sprintf("/case-%d", i))) })
	}
}

type field struct {
	t       *testing.T
	cluster *integration.Cluster
	prefix  string
	etcd    *clientv3.Client // of an onlooker
}

func newField(t *testing.T, cluster *integration.Cluster, prefix string) *field {
	client, _ := etcdtest.Dial(t, cluster)
	return &field{t: t, cluster: cluster, prefix: prefix, etcd: client}
}

func (f *field) key(node string) string { return f.prefix + "/clusters/orders/nodes/" + node }

func node(id string) membership.Node {
	return membership.Node{NodeID: id, ClusterID: "orders", AgentURL: "http://" + id, JournalID: "journal-" + id}
}

func (f *field) put(id string, value any) {
	f.t.Helper()
	text, isText := value.(string)
	if !isText {
		raw, err := json.Marshal(value)
		if err != nil {
			f.t.Fatal(err)
		}
		text = string(raw)
	}
	if _, err := f.etcd.Put(context.Background(), f.key(id), text); err != nil {
		f.t.Fatal(err)
	}
}

func (f *field) remove(id string) {
	f.t.Helper()
	if _, err := f.etcd.Delete(context.Background(), f.key(id)); err != nil {
		f.t.Fatal(err)
	}
}

// there returns what the key says, and its lease.
func (f *field) there(id string) (membership.Node, clientv3.LeaseID, bool) {
	f.t.Helper()
	answer, err := f.etcd.Get(context.Background(), f.key(id))
	if err != nil {
		f.t.Fatal(err)
	}
	var n membership.Node
	if len(answer.Kvs) == 0 {
		return n, 0, false
	}
	if err := json.Unmarshal(answer.Kvs[0].Value, &n); err != nil {
		f.t.Fatal(err)
	}
	return n, clientv3.LeaseID(answer.Kvs[0].Lease), true
}

// picture is what a receiver of updates knows.
type picture struct {
	t      *testing.T
	client *clientv3.Client
	line   *etcdtest.Line

	mu       sync.Mutex
	nodes    map[string]membership.Node
	complete int // how many complete updates came
	updates  int
	changes  int
	changed  chan struct{}
}

// watch starts a watcher with a line of its own; it ends with the test.
func (f *field) watch() *picture {
	client, line := etcdtest.Dial(f.t, f.cluster)
	return f.watchWith(client, line)
}

func (f *field) watchWith(client *clientv3.Client, line *etcdtest.Line) *picture {
	p := &picture{t: f.t, client: client, line: line, nodes: map[string]membership.Node{}, changed: make(chan struct{})}
	w := membership.NewWatcher(membership.WatcherConfig{Client: client, Prefix: f.prefix, Log: etcdtest.Log(f.t, "watcher")})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := w.Run(ctx, p.take); err != nil {
			f.t.Errorf("Run: %v", err)
		}
	}()
	f.t.Cleanup(func() {
		cancel()
		<-done
	})
	return p
}

func (p *picture) take(u membership.Update) error {
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

// until waits for the picture to become so. holds is called with the picture's lock.
func (p *picture) until(what string, holds func() bool) {
	p.t.Helper()
	timeout := time.After(30 * time.Second)
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
			p.t.Fatalf("not in time: %s; %d nodes, %d updates, %d complete", what, len(p.nodes), p.updates, p.complete)
		}
	}
}

func (p *picture) shows(want map[string]membership.Node) {
	p.t.Helper()
	p.until(fmt.Sprintf("%d nodes as they are", len(want)), func() bool { return cmp.Equal(p.nodes, want) })
}

func (p *picture) completes() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.complete
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not in time: %s", what)
		}
	}
}
