package election_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
	"go.etcd.io/etcd/tests/v3/framework/integration"

	"github.com/replicante-io/playbooks/election"
	"github.com/replicante-io/playbooks/internal/etcd"
	"github.com/replicante-io/playbooks/internal/etcd/etcdtest"
)

const (
	// longLease does not end, and its holder does not look at etcd by itself, while a test runs: what happens within one
	// was caused by what was noticed.
	longLease = time.Hour
	// patience is how long a test waits for what must happen.
	patience = time.Minute
	// observed is how long a test watches that nothing happens.
	observed = time.Second
)

// TestElection has the cases for which no member must be killed: they share a cluster, each with its own prefix.
func TestElection(t *testing.T) {
	cluster := etcdtest.Start(t, 3)
	cases := []struct {
		name string
		test func(t *testing.T, e *elections)
	}{
		{"TwoReplicasNeverLeadAtOnce", neverTwoLeaders},
		{"TheContextEndsBeforeTheLeaseWhenEtcdIsCutOff", cutOff},
		{"ALeaderWhoseLeaseIsRevokedStopsAtOnce", leaseRevoked},
		{"ALeaderWhoseKeyIsDeletedStopsAtOnce", keyDeleted},
		{"TheNextLeaderFollowsAResignation", handover},
		{"TheLeadershipIsKeptUntilSlowWorkReturns", slowWork},
		{"ACandidateThatLosesItsKeyCampaignsAgain", keyLostWhileWaiting},
		{"OnlyTheLeaderIsConfirmed", confirm},
		{"WorkThatFailsGivesTheLeadershipBack", failingWork},
		{"AWaitingCandidateWithdrawsAtOnce", withdraw},
		{"TheKeysAreThoseOfTheConcurrencyPackage", concurrencyKeys},
		{"ADeadLeaderIsReplacedBeforeItsLeaseEnds", leaderDies},
		{"ALeaderThatIsRestartedIsReplacedBeforeItsLeaseEnds", leaderRestarts},
		{"ADeadCandidateLeavesTheQueueBeforeItsLeaseEnds", candidateDies},
		{"ALeaderAndTheNextThatDieTogetherAreReplaced", bothDie},
		{"AFalseAlarmCostsOneElection", falseAlarm},
		{"ALeaderThatHangsKeepsItsLease", leaderHangs},
		{"AnAddressThatReachesAnotherReplicaIsNoEvidence", sharedAddress},
		{"AnswersOfOtherProgramsAreNoEvidence", otherPrograms},
		{"AReplicaDoesNotWaitForItsEarlierProcess", earlierProcess},
		{"ALostConnectionIsNoEvidence", connectionLoss},
	}
	for i, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			c.test(t, newElections(t, cluster, fmt.Sprintf("/case-%d", i)))
		})
	}
}

// elections are those under one prefix.
type elections struct {
	t       testing.TB
	cluster *integration.Cluster
	prefix  string
	etcd    *clientv3.Client // of the test itself
	won     chan *leading

	mu  sync.Mutex
	all []*leading
}

// leading is one time of leading, as its work sees it.
type leading struct {
	*election.Leadership
	by     *candidate
	ctx    context.Context
	beside []string     // who else was still leading when this began
	end    chan<- error // what the work returns
}

type candidate struct {
	*election.Candidate
	name   string
	link   *etcdtest.Link
	log    *logText
	cancel context.CancelFunc
	done   chan struct{}
}

func newElections(t testing.TB, cluster *integration.Cluster, prefix string) *elections {
	client, _ := etcdtest.Dial(t, cluster)
	return &elections{t: t, cluster: cluster, prefix: prefix, etcd: client, won: make(chan *leading, 100)}
}

// candidate starts one. If lead is nil, its work is reported to e.won, and ends with its context or on request of the test.
func (e *elections) candidate(name string, ttl time.Duration,
	lead func(ctx context.Context, l *election.Leadership) error) *candidate {
	return e.advertising(name, "http://"+name, ttl, lead)
}

// advertising is candidate, with a URL.
func (e *elections) advertising(name, url string, ttl time.Duration,
	lead func(ctx context.Context, l *election.Leadership) error) *candidate {
	return e.process(name, name+"-1", url, ttl, lead)
}

// process starts one of the processes of a candidate.
func (e *elections) process(name, instance, url string, ttl time.Duration,
	lead func(ctx context.Context, l *election.Leadership) error) *candidate {
	client, link := etcdtest.Dial(e.t, e.cluster)
	c := &candidate{name: name, link: link, log: &logText{}, done: make(chan struct{})}
	c.Candidate = election.New(election.Config{
		Client: client, Prefix: e.prefix, Name: name, Advertise: url, Instance: instance, TTL: ttl, Log: etcdtest.Log(e.t, name, c.log),
	})
	if lead == nil {
		lead = func(ctx context.Context, l *election.Leadership) error { return e.lead(ctx, c, l) }
	}
	ctx, cancel := context.WithCancel(context.Background())
	c.cancel = cancel
	go func() {
		defer close(c.done)
		if err := c.Run(ctx, lead); err != nil {
			e.t.Errorf("Run of %s: %v", name, err)
		}
	}()
	e.t.Cleanup(c.stop)
	return c
}

func (e *elections) lead(ctx context.Context, c *candidate, l *election.Leadership) error {
	end := make(chan error, 1)
	this := &leading{Leadership: l, by: c, ctx: ctx, end: end}
	e.mu.Lock()
	for _, other := range e.all {
		if other.ctx.Err() == nil {
			this.beside = append(this.beside, other.by.name)
		}
	}
	e.all = append(e.all, this)
	e.mu.Unlock()
	e.won <- this
	select {
	case err := <-end:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (c *candidate) stop() {
	c.cancel()
	c.link.Heal() // it gives back what it has
	<-c.done
}

func (e *elections) winner() *leading {
	e.t.Helper()
	select {
	case l := <-e.won:
		return l
	case <-time.After(patience):
		e.t.Fatal("nobody leads")
		return nil
	}
}

// wins waits for the next leader, and fails the test if it has another name.
func (e *elections) wins(name string) *leading {
	e.t.Helper()
	l := e.winner()
	if l.by.name != name {
		e.t.Fatalf("%s leads, want %s", l.by.name, name)
	}
	return l
}

func (e *elections) keys() []string {
	e.t.Helper()
	answer, err := e.etcd.Get(context.Background(), e.prefix+"/election/controller/", clientv3.WithPrefix(),
		clientv3.WithSort(clientv3.SortByCreateRevision, clientv3.SortAscend))
	if err != nil {
		e.t.Fatal(err)
	}
	keys := []string{}
	for _, kv := range answer.Kvs {
		keys = append(keys, string(kv.Key))
	}
	return keys
}

// queued returns the keys, in the order of the queue, once there are n of them.
func (e *elections) queued(n int) []string {
	e.t.Helper()
	var keys []string
	eventually(e.t, fmt.Sprintf("%d keys", n), func() bool {
		keys = e.keys()
		return len(keys) == n
	})
	return keys
}

// atDeletion returns a channel that receives how the leader's context has ended, nil if it has not, at the time at which
// etcd reports that the key was deleted.
func (e *elections) atDeletion(key string, l *leading) <-chan error {
	cause := make(chan error, 1)
	ctx, cancel := context.WithCancel(context.Background())
	watch := e.etcd.Watch(ctx, key, clientv3.WithCreatedNotify(), clientv3.WithFilterPut())
	<-watch
	var watching sync.WaitGroup
	watching.Go(func() {
		for r := range watch {
			if len(r.Events) > 0 {
				cause <- context.Cause(l.ctx)
				return
			}
		}
	})
	e.t.Cleanup(func() {
		cancel()
		watching.Wait()
	})
	return cause
}

func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("it did not happen: %s", what)
		}
	}
}

// ends waits for the end of the leader's context and returns its cause.
func (l *leading) ends(t *testing.T) error {
	t.Helper()
	select {
	case <-l.ctx.Done():
	case <-time.After(patience):
		t.Fatalf("the context of %s did not end", l.by.name)
	}
	return context.Cause(l.ctx)
}

func neverTwoLeaders(t *testing.T, e *elections) {
	var active, overlaps atomic.Int32
	var cuts sync.WaitGroup
	elected := make(chan *candidate, 1000)
	candidates := map[string]*candidate{}
	var mu sync.Mutex
	for i := range 3 {
		name := fmt.Sprintf("core-%d", i)
		times := 0
		mu.Lock()
		candidates[name] = e.candidate(name, time.Second, func(ctx context.Context, _ *election.Leadership) error {
			if active.Add(1) != 1 {
				overlaps.Add(1)
			}
			defer active.Add(-1)
			mu.Lock()
			c := candidates[name]
			mu.Unlock()
			elected <- c
			times++
			switch times % 3 {
			case 0: // cut off from etcd, until the lease must be over for everybody
				c.link.Cut()
				cuts.Go(func() {
					time.Sleep(1500 * time.Millisecond)
					c.link.Heal()
				})
				<-ctx.Done()
			case 1:
				select {
				case <-ctx.Done():
				case <-time.After(20 * time.Millisecond):
				}
			case 2:
				return errors.New("the work failed")
			}
			return ctx.Err()
		})
		mu.Unlock()
	}
	leaders := map[string]int{}
	timeout := time.After(patience)
	for least := 0; least < 3; { // each was cut off once
		select {
		case c := <-elected:
			leaders[c.name]++
			least = min(leaders["core-0"], leaders["core-1"], leaders["core-2"])
		case <-timeout:
			t.Fatalf("not every candidate was elected three times: %v", leaders)
		}
	}
	for _, c := range candidates {
		c.cancel()
	}
	for _, c := range candidates {
		<-c.done
	}
	cuts.Wait()
	t.Logf("times elected: %v", leaders)
	if n := overlaps.Load(); n > 0 {
		t.Errorf("%d times two candidates led at once", n)
	}
}

func cutOff(t *testing.T, e *elections) {
	const ttl = 3 * time.Second
	e.candidate("one", ttl, nil)
	first := e.winner()
	e.candidate("two", ttl, nil)
	atDeletion := e.atDeletion(e.queued(2)[0], first)

	first.by.link.Cut()
	if cause := <-atDeletion; !errors.Is(cause, etcd.ErrLeaseLost) {
		t.Errorf("when its lease was over, the leader's context had ended with: %v", cause)
	}
	if next := e.wins("two"); len(next.beside) > 0 {
		t.Errorf("%v still led when the next began", next.beside)
	}
	if err := first.Confirm(context.Background()); !errors.Is(err, election.ErrNotLeader) {
		t.Errorf("Confirm of the one that was cut off: %v", err)
	}
	first.by.link.Heal()
	e.queued(2) // it campaigns again
}

func leaseOf(t *testing.T, key string) clientv3.LeaseID {
	var id int64
	if _, err := fmt.Sscanf(path.Base(key), "%x", &id); err != nil {
		t.Fatalf("key %s: %v", key, err)
	}
	return clientv3.LeaseID(id)
}

func leaseRevoked(t *testing.T, e *elections) {
	e.candidate("one", longLease, nil)
	first := e.winner()
	e.candidate("two", longLease, nil)
	key := e.queued(2)[0]
	if _, err := e.etcd.Revoke(context.Background(), leaseOf(t, key)); err != nil {
		t.Fatal(err)
	}
	if cause := first.ends(t); !errors.Is(cause, election.ErrKeyLost) {
		t.Errorf("the context ended with %v", cause)
	}
	e.wins("two")
}

func keyDeleted(t *testing.T, e *elections) {
	e.candidate("one", longLease, nil)
	first := e.winner()
	if _, err := e.etcd.Delete(context.Background(), e.queued(1)[0]); err != nil {
		t.Fatal(err)
	}
	if cause := first.ends(t); !errors.Is(cause, election.ErrKeyLost) {
		t.Errorf("the context ended with %v", cause)
	}
	e.wins("one")
}

func handover(t *testing.T, e *elections) {
	for _, name := range []string{"one", "two", "three"} {
		e.candidate(name, longLease, nil)
	}
	l := e.winner()
	for i := range 7 {
		e.queued(3)
		stopped := i%2 == 1
		if stopped {
			l.by.cancel() // SIGTERM
		} else {
			l.end <- nil
		}
		next := e.winner()
		if next.by.name == l.by.name || len(next.beside) > 0 {
			t.Errorf("%s follows %s while these lead: %v", next.by.name, l.by.name, next.beside)
		}
		if stopped {
			e.candidate(l.by.name, longLease, nil)
		}
		l = next
	}
}

func slowWork(t *testing.T, e *elections) {
	release := make(chan struct{})
	began := make(chan struct{}, 1)
	var returned atomic.Bool
	one := e.candidate("one", time.Second, func(ctx context.Context, _ *election.Leadership) error {
		began <- struct{}{}
		<-ctx.Done()
		<-release
		returned.Store(true)
		return nil
	})
	<-began
	var early atomic.Bool
	e.candidate("two", time.Second, func(ctx context.Context, l *election.Leadership) error {
		early.Store(!returned.Load())
		return e.lead(ctx, &candidate{name: "two"}, l)
	})
	e.queued(2)
	one.cancel()
	select {
	case <-e.won:
		t.Error("another leads while the work of the first has not returned")
	case <-time.After(2500 * time.Millisecond): // more than two leases
	}
	close(release)
	e.wins("two")
	if early.Load() {
		t.Error("another led before the work of the first returned")
	}
}

func keyLostWhileWaiting(t *testing.T, e *elections) {
	e.candidate("one", longLease, nil)
	first := e.winner()
	e.candidate("two", longLease, nil)
	lost := e.queued(2)[1]
	if _, err := e.etcd.Delete(context.Background(), lost); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a new key", func() bool {
		keys := e.keys()
		return len(keys) == 2 && keys[1] != lost
	})
	if first.ctx.Err() != nil {
		t.Error("the leader lost its leadership")
	}
	first.end <- nil
	e.wins("two")
}

func confirm(t *testing.T, e *elections) {
	ctx := context.Background()
	e.candidate("one", longLease, nil)
	first := e.winner()
	two := e.candidate("two", longLease, nil)
	key := e.queued(2)[0]
	if err := first.Confirm(ctx); err != nil {
		t.Errorf("Confirm of the leader: %v", err)
	}
	if err := first.Announce(ctx, 7); err != nil {
		t.Errorf("Announce: %v", err)
	}
	want := election.Leader{Name: "one", Advertise: "http://one", Instance: "one-1", Term: 7}
	for _, c := range []*candidate{first.by, two} {
		for {
			changed := c.Changed()
			if l, ok := c.Leader(); ok && l == want {
				break
			}
			select {
			case <-changed:
			case <-time.After(patience):
				t.Fatalf("%s does not see the announced term", c.name)
			}
		}
	}
	if _, err := e.etcd.Delete(ctx, key); err != nil {
		t.Fatal(err)
	}
	if err := first.Confirm(ctx); !errors.Is(err, election.ErrNotLeader) {
		t.Errorf("Confirm of a leader that lost its key: %v", err)
	}
	if err := first.Announce(ctx, 8); !errors.Is(err, election.ErrNotLeader) {
		t.Errorf("Announce of a leader that lost its key: %v", err)
	}
	e.winner()
	eventually(t, "the new leader", func() bool {
		l, ok := two.Leader()
		return ok && l.Name == "two" && l.Term == 0
	})
}

func failingWork(t *testing.T, e *elections) {
	e.candidate("one", longLease, nil)
	first := e.winner()
	e.candidate("two", longLease, nil)
	e.queued(2)
	first.end <- errors.New("the store is gone")
	second := e.wins("two")
	e.queued(2)
	second.end <- nil
	e.wins("one")
}

func withdraw(t *testing.T, e *elections) {
	e.candidate("one", longLease, nil)
	e.winner()
	two := e.candidate("two", longLease, nil)
	key := e.queued(2)[1]
	two.stop()
	if keys := e.keys(); slices.Contains(keys, key) {
		t.Errorf("the key still exists: %v", keys)
	}
}

func concurrencyKeys(t *testing.T, e *elections) {
	ctx := context.Background()
	session, err := concurrency.NewSession(e.etcd, concurrency.WithTTL(60))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = session.Close() }()
	theirs := concurrency.NewElection(session, e.prefix+"/election/controller")
	if err := theirs.Campaign(ctx, "somebody"); err != nil {
		t.Fatal(err)
	}
	one := e.candidate("one", longLease, nil)
	e.queued(2)
	if l, ok := one.Leader(); ok {
		t.Errorf("another program's leader is taken for one of ours: %+v", l)
	}
	select {
	case <-e.won:
		t.Fatal("two lead")
	default:
	}
	if err := theirs.Resign(ctx); err != nil {
		t.Fatal(err)
	}
	e.winner()
	answer, err := theirs.Leader(ctx)
	if err != nil {
		t.Fatal(err)
	}
	var l election.Leader
	if err := json.Unmarshal(answer.Kvs[0].Value, &l); err != nil || l.Name != "one" {
		t.Errorf("the leader's value is %s (%v)", answer.Kvs[0].Value, err)
	}
}
