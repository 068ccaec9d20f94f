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

// TestElection holds what needs no member killed: the cases share a cluster, and each has a prefix of its own.
func TestElection(t *testing.T) {
	cluster := etcdtest.Start(t, 3)
	cases := []struct {
		name string
		test func(t *testing.T, f *field)
	}{
		{"LeadershipsNeverOverlap", leadershipsNeverOverlap},
		{"TheContextEndsBeforeTheLeaseWhenEtcdIsCutOff", cutOff},
		{"ARevokedLeaseDeposesAtOnce", revoked},
		{"ADeletedKeyDeposesAtOnce", deleted},
		{"TheNextLeaderFollowsAResignationWithin100ms", handover},
		{"TheLeadershipIsKeptUntilSlowWorkReturns", slowWork},
		{"ACandidateThatLosesItsKeyStandsAgain", keyLostWhileWaiting},
		{"OnlyTheLeaderIsConfirmed", confirm},
		{"WorkThatFailsGivesTheLeadershipBack", failingWork},
		{"AWaitingCandidateWithdrawsAtOnce", withdraw},
		{"TheKeysAreThoseOfTheConcurrencyPackage", concurrencyKeys},
		{"ADeadLeaderIsReplacedAtOnce", leaderDies},
		{"ALeaderThatWasRestartedIsReplacedAtOnce", restarted},
		{"ADeadCandidateLeavesTheQueueAtOnce", deadAhead},
		{"ALeaderAndTheNextThatDieTogetherAreReplacedAtOnce", bothDie},
		{"AFalseAlarmCostsOneElection", falseAlarm},
		{"ALeaderThatHangsIsLeftToItsLease", hangingPeer},
		{"AnAddressThatReachesAnotherIsNoEvidence", elsewhere},
		{"AnswersOfStrangersAreNoEvidence", strangers},
		{"AReplicaDoesNotWaitForItsEarlierLife", earlierLife},
		{"ALostConnectionIsNoDeath", connectionLoss},
	}
	for i, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			c.test(t, newField(t, cluster, fmt.Sprintf("/case-%d", i)))
		})
	}
}

// field is where candidates stand.
type field struct {
	t       *testing.T
	cluster *integration.Cluster
	prefix  string
	etcd    *clientv3.Client // of an onlooker
	won     chan *reign
}

// reign is one time of leading, as the work of the leader sees it.
type reign struct {
	*election.Leadership
	by    *candidate
	ctx   context.Context
	began time.Time
	end   chan error // what the work returns
}

type candidate struct {
	*election.Candidate
	name   string
	client *clientv3.Client
	line   *etcdtest.Line
	cancel context.CancelFunc
	done   chan struct{}
}

func newField(t *testing.T, cluster *integration.Cluster, prefix string) *field {
	client, _ := etcdtest.Dial(t, cluster)
	return &field{t: t, cluster: cluster, prefix: prefix, etcd: client, won: make(chan *reign, 100)}
}

// candidate starts one whose work ends with its context or as the test says. If lead is nil it reports to f.won.
func (f *field) candidate(name string, ttl time.Duration,
	lead func(ctx context.Context, l *election.Leadership) error) *candidate {
	return f.advertising(name, "http://"+name, ttl, lead)
}

// advertising is candidate, with a URL.
func (f *field) advertising(name, url string, ttl time.Duration,
	lead func(ctx context.Context, l *election.Leadership) error) *candidate {
	return f.living(name, name+"-1", url, ttl, lead)
}

// living starts one of the lives of a candidate.
func (f *field) living(name, instance, url string, ttl time.Duration,
	lead func(ctx context.Context, l *election.Leadership) error) *candidate {
	client, line := etcdtest.Dial(f.t, f.cluster)
	c := &candidate{name: name, client: client, line: line, done: make(chan struct{})}
	c.Candidate = election.New(election.Config{
		Client: client, Prefix: f.prefix, Name: name, Advertise: url, Instance: instance,
		TTL: ttl, Log: etcdtest.Log(f.t, name),
	})
	if lead == nil {
		lead = func(ctx context.Context, l *election.Leadership) error {
			r := &reign{Leadership: l, by: c, ctx: ctx, began: time.Now(), end: make(chan error, 1)}
			f.won <- r
			select {
			case err := <-r.end:
				return err
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	c.cancel = cancel
	go func() {
		defer close(c.done)
		if err := c.Run(ctx, lead); err != nil {
			f.t.Errorf("Run of %s: %v", name, err)
		}
	}()
	f.t.Cleanup(c.stop)
	return c
}

func (c *candidate) stop() {
	c.cancel()
	c.line.Heal() // it gives back what it has
	<-c.done
}

func (f *field) winner() *reign {
	f.t.Helper()
	select {
	case r := <-f.won:
		return r
	case <-time.After(20 * time.Second):
		f.t.Fatal("nobody leads")
		return nil
	}
}

func (f *field) keys() []string {
	f.t.Helper()
	answer, err := f.etcd.Get(context.Background(), f.prefix+"/election/controller/", clientv3.WithPrefix(),
		clientv3.WithSort(clientv3.SortByCreateRevision, clientv3.SortAscend))
	if err != nil {
		f.t.Fatal(err)
	}
	keys := []string{}
	for _, kv := range answer.Kvs {
		keys = append(keys, string(kv.Key))
	}
	return keys
}

// waiting returns the keys once there are n of them.
func (f *field) waiting(n int) []string {
	f.t.Helper()
	var keys []string
	eventually(f.t, fmt.Sprintf("%d keys", n), func() bool {
		keys = f.keys()
		return len(keys) == n
	})
	return keys
}

// gone returns a channel that receives the time at which an onlooker heard that the key was deleted.
func (f *field) gone(key string) <-chan time.Time {
	heard := make(chan time.Time, 1)
	ctx, cancel := context.WithCancel(context.Background())
	f.t.Cleanup(cancel)
	watch := f.etcd.Watch(ctx, key, clientv3.WithCreatedNotify())
	<-watch
	go func() {
		for r := range watch {
			for _, e := range r.Events {
				if e.Type == clientv3.EventTypeDelete {
					heard <- time.Now()
					return
				}
			}
		}
	}()
	return heard
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not in time: %s", what)
		}
	}
}

func ended(t *testing.T, ctx context.Context, within time.Duration) {
	t.Helper()
	select {
	case <-ctx.Done():
	case <-time.After(within):
		t.Fatalf("the leader's context did not end within %s", within)
	}
}

func leadershipsNeverOverlap(t *testing.T, f *field) {
	var leading, overlaps atomic.Int32
	var cuts sync.WaitGroup
	reigns := make(chan *candidate, 1000)
	candidates := map[string]*candidate{}
	var mu sync.Mutex
	for i := range 3 {
		name := fmt.Sprintf("core-%d", i)
		turn := 0
		mu.Lock()
		candidates[name] = f.candidate(name, time.Second, func(ctx context.Context, _ *election.Leadership) error {
			if leading.Add(1) != 1 {
				overlaps.Add(1)
			}
			defer leading.Add(-1)
			mu.Lock()
			c := candidates[name]
			mu.Unlock()
			reigns <- c
			turn++
			switch turn % 3 {
			case 0: // cut off from etcd, until the lease must be over for everybody
				c.line.Cut()
				cuts.Go(func() {
					time.Sleep(1500 * time.Millisecond)
					c.line.Heal()
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
	for deadline := time.After(6 * time.Second); ; {
		select {
		case c := <-reigns:
			leaders[c.name]++
			continue
		case <-deadline:
		}
		break
	}
	for _, c := range candidates {
		c.cancel()
	}
	cuts.Wait()
	t.Logf("leaderships: %v", leaders)
	if n := overlaps.Load(); n > 0 {
		t.Errorf("%d times two candidates led at once", n)
	}
	if len(leaders) < 3 {
		t.Errorf("not every candidate led: %v", leaders)
	}
}

func cutOff(t *testing.T, f *field) {
	const ttl = 2 * time.Second
	f.candidate("one", ttl, nil)
	first := f.winner()
	second := f.candidate("two", ttl, nil)
	gone := f.gone(f.waiting(2)[0])

	cut := time.Now()
	first.by.line.Cut()
	ended(t, first.ctx, 10*time.Second)
	end := time.Now()
	if !errors.Is(context.Cause(first.ctx), etcd.ErrLeaseLost) {
		t.Errorf("cause: %v", context.Cause(first.ctx))
	}
	if took, most := end.Sub(cut), ttl-etcd.Margin(ttl)+100*time.Millisecond; took > most {
		t.Errorf("the context ended %s after etcd was cut off, more than %s", took, most)
	}
	if took := end.Sub(cut); took < ttl-etcd.Margin(ttl)-ttl/3-200*time.Millisecond {
		t.Errorf("the context ended only %s after etcd was cut off: the lease was given up early", took)
	}
	next := f.winner()
	if next.by != second {
		t.Errorf("%s leads next", next.by.name)
	}
	if over := <-gone; !over.After(end) || !next.began.After(end) {
		t.Errorf("context ended %s, lease ended %s, next began %s after the cut", end.Sub(cut), over.Sub(cut),
			next.began.Sub(cut))
	}
	if err := first.Confirm(context.Background()); !errors.Is(err, election.ErrDeposed) {
		t.Errorf("Confirm of the one that was cut off: %v", err)
	}
	first.by.line.Heal()
	f.waiting(2) // it stands again
}

func leaseOf(t *testing.T, key string) clientv3.LeaseID {
	var id int64
	if _, err := fmt.Sscanf(path.Base(key), "%x", &id); err != nil {
		t.Fatalf("key %s: %v", key, err)
	}
	return clientv3.LeaseID(id)
}

func revoked(t *testing.T, f *field) {
	f.candidate("one", 5*time.Second, nil)
	first := f.winner()
	f.candidate("two", 5*time.Second, nil)
	key := f.waiting(2)[0]
	began := time.Now()
	if _, err := f.etcd.Revoke(context.Background(), leaseOf(t, key)); err != nil {
		t.Fatal(err)
	}
	ended(t, first.ctx, 500*time.Millisecond)
	next := f.winner()
	if next.by.name != "two" || next.began.Sub(began) > 500*time.Millisecond {
		t.Errorf("%s leads %s after the lease was revoked", next.by.name, next.began.Sub(began))
	}
}

func deleted(t *testing.T, f *field) {
	f.candidate("one", 5*time.Second, nil)
	first := f.winner()
	if _, err := f.etcd.Delete(context.Background(), f.waiting(1)[0]); err != nil {
		t.Fatal(err)
	}
	ended(t, first.ctx, 500*time.Millisecond)
	if again := f.winner(); again.by.name != "one" {
		t.Errorf("%s leads", again.by.name)
	}
}

func handover(t *testing.T, f *field) {
	for _, name := range []string{"one", "two", "three"} {
		f.candidate(name, 5*time.Second, nil)
	}
	var took []time.Duration
	r := f.winner()
	for i := range 7 {
		f.waiting(3)
		resigned := time.Now()
		if i%2 == 0 {
			r.end <- nil
		} else {
			r.by.cancel() // SIGTERM
		}
		next := f.winner()
		took = append(took, next.began.Sub(resigned))
		if i%2 == 1 {
			f.candidate(r.by.name, 5*time.Second, nil)
		}
		r = next
	}
	slices.Sort(took)
	t.Logf("handovers: %v", took)
	if median := took[len(took)/2]; median > 100*time.Millisecond {
		t.Errorf("the next leader leads %s after a resignation", median)
	}
}

func slowWork(t *testing.T, f *field) {
	release := make(chan struct{})
	began, over := make(chan struct{}, 1), make(chan time.Time, 1)
	one := f.candidate("one", time.Second, func(ctx context.Context, _ *election.Leadership) error {
		began <- struct{}{}
		<-ctx.Done()
		<-release
		over <- time.Now()
		return nil
	})
	<-began
	f.candidate("two", time.Second, nil)
	f.waiting(2)
	one.cancel()
	select {
	case <-f.won:
		t.Error("another leads while the work of the first has not returned")
	case <-time.After(2500 * time.Millisecond): // more than two leases
	}
	close(release)
	if next := f.winner(); next.began.Before(<-over) {
		t.Error("another led before the work of the first returned")
	}
}

func keyLostWhileWaiting(t *testing.T, f *field) {
	f.candidate("one", 5*time.Second, nil)
	first := f.winner()
	f.candidate("two", 5*time.Second, nil)
	lost := f.waiting(2)[1]
	if _, err := f.etcd.Delete(context.Background(), lost); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a new key", func() bool {
		keys := f.keys()
		return len(keys) == 2 && keys[1] != lost
	})
	if first.ctx.Err() != nil {
		t.Error("the leader lost its leadership")
	}
	first.end <- nil
	if next := f.winner(); next.by.name != "two" {
		t.Errorf("%s leads", next.by.name)
	}
}

func confirm(t *testing.T, f *field) {
	ctx := context.Background()
	f.candidate("one", 5*time.Second, nil)
	first := f.winner()
	two := f.candidate("two", 5*time.Second, nil)
	key := f.waiting(2)[0]
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
			case <-time.After(10 * time.Second):
				t.Fatalf("%s does not see the announced term", c.name)
			}
		}
	}
	if _, err := f.etcd.Delete(ctx, key); err != nil {
		t.Fatal(err)
	}
	if err := first.Confirm(ctx); !errors.Is(err, election.ErrDeposed) {
		t.Errorf("Confirm of a deposed leader: %v", err)
	}
	if err := first.Announce(ctx, 8); !errors.Is(err, election.ErrDeposed) {
		t.Errorf("Announce of a deposed leader: %v", err)
	}
	f.winner()
	eventually(t, "the new leader", func() bool {
		l, ok := two.Leader()
		return ok && l.Name == "two" && l.Term == 0
	})
}

func failingWork(t *testing.T, f *field) {
	f.candidate("one", 5*time.Second, nil)
	first := f.winner()
	f.candidate("two", 5*time.Second, nil)
	f.waiting(2)
	first.end <- errors.New("the store is gone")
	second := f.winner()
	if second.by.name != "two" {
		t.Errorf("%s leads next", second.by.name)
	}
	f.waiting(2)
	second.end <- nil
	if third := f.winner(); third.by.name != "one" {
		t.Errorf("%s leads last", third.by.name)
	}
}

func withdraw(t *testing.T, f *field) {
	f.candidate("one", 10*time.Second, nil)
	f.winner()
	two := f.candidate("two", 10*time.Second, nil)
	key := f.waiting(2)[1]
	began := time.Now()
	two.stop()
	if took := time.Since(began); took > time.Second {
		t.Errorf("withdrawing took %s", took)
	}
	if keys := f.keys(); slices.Contains(keys, key) {
		t.Errorf("the key is still there: %v", keys)
	}
}

func concurrencyKeys(t *testing.T, f *field) {
	ctx := context.Background()
	session, err := concurrency.NewSession(f.etcd, concurrency.WithTTL(5))
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	theirs := concurrency.NewElection(session, f.prefix+"/election/controller")
	if err := theirs.Campaign(ctx, "somebody"); err != nil {
		t.Fatal(err)
	}
	one := f.candidate("one", 5*time.Second, nil)
	f.waiting(2)
	if l, ok := one.Leader(); ok {
		t.Errorf("somebody else's leader is taken for ours: %+v", l)
	}
	select {
	case <-f.won:
		t.Fatal("two lead")
	default:
	}
	if err := theirs.Resign(ctx); err != nil {
		t.Fatal(err)
	}
	f.winner()
	answer, err := theirs.Leader(ctx)
	if err != nil {
		t.Fatal(err)
	}
	var l election.Leader
	if err := json.Unmarshal(answer.Kvs[0].Value, &l); err != nil || l.Name != "one" {
		t.Errorf("the leader's value is %s (%v)", answer.Kvs[0].Value, err)
	}
}
