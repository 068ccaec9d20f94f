package replica_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/tests/v3/framework/integration"

	"github.com/replicante-io/playbooks/agent"
	agentclient "github.com/replicante-io/playbooks/agent/client"
	"github.com/replicante-io/playbooks/agent/wire"
	"github.com/replicante-io/playbooks/api/client"
	"github.com/replicante-io/playbooks/internal/config"
	"github.com/replicante-io/playbooks/internal/etcd/etcdtest"
	"github.com/replicante-io/playbooks/internal/node"
	"github.com/replicante-io/playbooks/internal/replica"
	"github.com/replicante-io/playbooks/record"
	"github.com/replicante-io/playbooks/store"
	"github.com/replicante-io/playbooks/store/storetest"
)

func TestReplica(t *testing.T) {
	cluster := etcdtest.Start(t, 1)
	cases := []struct {
		name string
		test func(t *testing.T, f *field)
	}{
		{"ARunGoesThroughFromTheAPIToTheAgentAndBack", endToEnd},
		{"AnEtcdThatKnowsNoStoreIsRefusedUntilItIsAdopted", newEtcd},
		{"AnotherStoreIsRefused", otherStore},
		{"AFreshStoreIsBoundByItsFirstLeader", freshStore},
		{"AFollowerServesForwardsAndTakesOver", takeOver},
		{"AFalseAlarmCostsOneElectionAndNoAction", falseAlarm},
		{"ALeaderThatStopsClosesItsPortBeforeItResigns", portBeforeLease},
		{"AnAgentThatKnowsAHigherTermMakesTheNextTermHigher", higherTerm},
		{"ATermThatAnAgentKnowsIsNotBegunAgainByAnother", higherTermElsewhere},
		{"ASecondReplicaOnOneSQLiteFileDoesNotLead", oneFile},
		{"AReplicaWithoutEtcdSaysSo", noEtcd},
		{"ALeaderThatAloneIsCutOffFromTheStoreYields", storeElsewhere},
		{"MetricsTellWhatHappened", metricsTell},
		{"AChangeOfLeadershipIsOneLineThatSaysWhy", oneLineEach},
		{"WhyALeadershipIsNotTakenIsSaidOnce", whyNotTaken},
		{"TheLeaderSaysThatTheStoreIsAwayAndRunsGoOnAfterwards", storeAway},
		{"WhoIsElectedWithoutAStoreLeadsOnceItIsBack", electedWithoutStore},
	}
	for i, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			etcd, _ := etcdtest.Dial(t, cluster)
			c.test(t, &field{t: t, cluster: cluster, etcd: etcd, prefix: fmt.Sprintf("/case-%d", i)})
		})
	}
}

// field is one installation.
type field struct {
	t       *testing.T
	cluster *integration.Cluster
	etcd    *clientv3.Client
	prefix  string
}

func (f *field) config(name, storeURL string) replica.Config {
	return replica.Config{
		Core: config.Core{
			Name: name, API: config.API{Listen: "127.0.0.1:0"},
			Etcd:       config.Etcd{Endpoints: f.cluster.Endpoints(), Prefix: f.prefix, LeaseTTL: 2 * time.Second},
			Store:      config.Store{URL: storeURL},
			Runs:       config.Runs{FinishedTTL: time.Hour},
			Membership: config.Membership{Grace: 10 * time.Second, ForgetAfter: time.Hour},
		},
		Log: etcdtest.Log(f.t, name),
	}
}

func (f *field) sqlite() string { return "sqlite://" + filepath.Join(f.t.TempDir(), "core.db") }

// running is a replica at work.
type running struct {
	*replica.Replica
	t      *testing.T
	url    string
	plane  *client.Client
	cancel context.CancelFunc
	done   chan error
}

// start starts a replica, on s if it is not nil, and waits until it serves.
func (f *field) start(c replica.Config, s store.Store) *running {
	f.t.Helper()
	serving := make(chan string, 1)
	c.Serving = func(url string) { serving <- url }
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{t: f.t, cancel: cancel, done: make(chan error, 1), Replica: replica.New(c)}
	if s != nil {
		r.Replica = replica.NewOn(c, s)
	}
	go func() { r.done <- r.Run(ctx) }()
	f.t.Cleanup(r.stop)
	select {
	case r.url = <-serving:
	case err := <-r.done:
		r.done <- err
		f.t.Fatalf("replica %s ended: %v", c.Name, err)
	}
	var err error
	if r.plane, err = client.New(client.Config{Servers: []string{r.url}, Patience: 20 * time.Second}); err != nil {
		f.t.Fatal(err)
	}
	return r
}

func (r *running) stop() {
	r.cancel()
	if err := <-r.done; err != nil {
		r.t.Errorf("replica ended with %v", err)
	}
	r.done <- nil
}

func (r *running) ready() {
	r.t.Helper()
	eventually(r.t, "the replica is ready", func() bool { return len(r.Missing(context.Background())) == 0 })
}

// refused waits until the replica says why it does not lead.
func (r *running) refused(why string) {
	r.t.Helper()
	eventually(r.t, "the replica says: "+why, func() bool {
		return strings.Contains(strings.Join(r.Missing(context.Background()), "\n"), why)
	})
}

func (f *field) agent(id string) (url, journal string) {
	f.t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		f.t.Fatal(err)
	}
	url = "http://" + listener.Addr().String()
	n := node.New(node.Config{
		Agent: agent.Config{NodeID: id, ClusterID: "c", DataDir: f.t.TempDir(), Log: etcdtest.Log(f.t, id)},
		URL:   url, Etcd: f.etcd, Prefix: f.prefix, TTL: 5 * time.Second, Log: etcdtest.Log(f.t, id),
	})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 2)
	go func() { done <- n.Run(ctx) }()
	go func() { done <- node.Serve(ctx, listener, n.Handler()) }()
	f.t.Cleanup(func() {
		cancel()
		for range 2 {
			if err := <-done; err != nil {
				f.t.Errorf("agent %s: %v", id, err)
			}
		}
	})
	<-n.Agent().Ready()
	return url, n.Agent().JournalID()
}

const book = `
apiVersion: replicante.io/v1
kind: Playbook
metadata: {name: ping}
spec:
  stages:
    - name: ping
      steps: [{name: ping, action: agent.replicante.io/test.success}]
`

func apply(t *testing.T, plane *client.Client) {
	t.Helper()
	if _, err := plane.Apply(t.Context(), []client.File{{Name: "ping.yaml", Data: []byte(book)}}); err != nil {
		t.Fatal(err)
	}
}

// ping runs the playbook on the one cluster and returns the finished run.
func ping(t *testing.T, plane *client.Client, nodes int) record.Run {
	t.Helper()
	eventually(t, "the nodes are known", func() bool {
		known, err := plane.Nodes(t.Context(), "c")
		return err == nil && len(known) == nodes
	})
	run, err := plane.Start(t.Context(), record.RunRequest{Playbook: "ping", Cluster: "c"})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the run ends", func() bool {
		run, err = plane.Run(t.Context(), run.ID)
		return err == nil && run.FinishTS != nil
	})
	return run
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(40 * time.Second); !holds(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("it did not come to this: %s", what)
		}
	}
}

func endToEnd(t *testing.T, f *field) {
	f.agent("a")
	f.agent("b")
	r := f.start(f.config("core-1", f.sqlite()), nil)
	r.ready()
	apply(t, r.plane)
	if run := ping(t, r.plane, 2); run.State != record.RunDone || run.Counts[record.NodeDone] != 2 || run.Term != 1 {
		t.Errorf("the run ended %s with %v in term %d", run.State, run.Counts, run.Term)
	}
	if status, body := get(t, r.url+"/metrics"); status != http.StatusOK || !strings.Contains(body, "replicante_term 1") {
		t.Errorf("/metrics answers %d: %s", status, body)
	}
}

// get returns status and body of an answer.
func get(t *testing.T, url string) (int, string) {
	t.Helper()
	answer, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(body)
}

func newEtcd(t *testing.T, f *field) {
	url := f.sqlite()
	first := f.start(f.config("core-1", url), nil)
	first.ready()
	first.stop()

	f.prefix += "-rebuilt" // as good as an etcd that was made anew
	second := f.start(f.config("core-2", url), nil)
	second.refused("replicore store adopt-etcd")
	if status, body := get(t, second.url+"/api/v1/leader"); status != http.StatusServiceUnavailable {
		t.Errorf("asked for the leader it answers %d: %s", status, body)
	}

	second.stop() // one SQLite file has one user
	s, err := replica.OpenStore(f.config("tool", url).Core, etcdtest.Log(t, "tool"))
	if err != nil {
		t.Fatal(err)
	}
	term, err := s.Term(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if before, err := replica.AdoptEtcd(t.Context(), f.etcd, f.prefix, term); err != nil || before != "" {
		t.Fatalf("adopt: before %q, %v", before, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	third := f.start(f.config("core-3", url), nil)
	third.ready()
	leader, err := third.plane.Leader(t.Context())
	if err != nil || leader.Term <= term.Term {
		t.Errorf("leader %+v, %v: the term must be above %d", leader, err, term.Term)
	}
}

func otherStore(t *testing.T, f *field) {
	first := f.start(f.config("core-1", f.sqlite()), nil)
	first.ready()
	first.stop()
	second := f.start(f.config("core-2", f.sqlite()), nil)
	second.refused(replica.ErrOtherInstallation.Error())
}

func freshStore(t *testing.T, f *field) {
	memory := storetest.NewMemory()
	r := f.start(f.config("core-1", ""), memory)
	r.ready()
	term, err := memory.Term(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	answer, err := f.etcd.Get(t.Context(), f.prefix+"/installation")
	if err != nil || len(answer.Kvs) != 1 || string(answer.Kvs[0].Value) != term.Installation {
		t.Errorf("etcd says %v, %v; the store is %s", answer, err, term.Installation)
	}
}

func takeOver(t *testing.T, f *field) {
	f.agent("a")
	memory := shared{storetest.NewMemory()}
	first := f.start(f.config("core-1", ""), memory)
	first.ready()
	second := f.start(f.config("core-2", ""), memory)
	second.ready()
	apply(t, second.plane) // forwarded
	if run := ping(t, second.plane, 1); run.State != record.RunDone || run.Term != 1 {
		t.Errorf("the run ended %s in term %d", run.State, run.Term)
	}

	first.stop()
	eventually(t, "the second leads", func() bool {
		leader, err := second.plane.Leader(t.Context())
		return err == nil && leader.Name == "core-2" && leader.Term == 2
	})
	if run := ping(t, second.plane, 1); run.State != record.RunDone || run.Term != 2 {
		t.Errorf("the run ended %s in term %d", run.State, run.Term)
	}
}

// shared is a store that several replicas of a test use; each would close it.
type shared struct{ store.Store }

func (shared) Close() error { return nil }

func portBeforeLease(t *testing.T, f *field) {
	r := f.start(f.config("core-1", ""), storetest.NewMemory())
	r.ready()
	address := strings.TrimPrefix(r.url, "http://")
	watching, stop := context.WithTimeout(t.Context(), 20*time.Second)
	defer stop()
	gone := f.etcd.Watch(watching, f.prefix+"/election/", clientv3.WithPrefix(), clientv3.WithFilterPut(), clientv3.WithCreatedNotify())
	<-gone // it watches
	r.cancel()
	if response := <-gone; len(response.Events) == 0 {
		t.Fatal("the election key was not given back")
	}
	if conn, err := net.DialTimeout("tcp", address, time.Second); err == nil {
		_ = conn.Close()
		t.Error("the port was still open when the leadership was given back")
	}
}

func higherTerm(t *testing.T, f *field) {
	url, journal := f.agent("a")
	memory := storetest.NewMemory()
	r := f.start(f.config("core-1", ""), memory)
	r.ready()
	apply(t, r.plane)
	if run := ping(t, r.plane, 1); run.Term != 1 {
		t.Fatalf("the first run is of term %d", run.Term)
	}
	term, err := memory.Term(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	agents := agentclient.New(agentclient.Config{})
	defer agents.Close()
	err = agents.Post(t.Context(), url, wire.ActionRequest{
		ID: uuid.NewString(), Kind: wire.KindSuccess, Args: json.RawMessage("{}"), CreatedTime: time.Now(),
		Metadata: map[string]string{wire.MetaTerm: "41", wire.MetaInstallation: term.Installation, wire.MetaJournal: journal},
	})
	if err != nil {
		t.Fatal(err)
	}
	if run := ping(t, r.plane, 1); run.State != record.RunDone || run.Term <= 41 {
		t.Errorf("the run ended %s in term %d", run.State, run.Term)
	}
}

// higherTermElsewhere has an agent know the very term that another replica would begin next.
func higherTermElsewhere(t *testing.T, f *field) {
	url, journal := f.agent("a")
	memory := storetest.NewMemory()
	r := f.start(f.config("core-1", ""), shared{memory})
	r.ready()
	other := f.start(f.config("core-2", ""), shared{memory})
	other.ready()
	apply(t, r.plane)
	term, err := memory.Term(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	agents := agentclient.New(agentclient.Config{})
	defer agents.Close()
	err = agents.Post(t.Context(), url, wire.ActionRequest{
		ID: uuid.NewString(), Kind: wire.KindSuccess, Args: json.RawMessage("{}"), CreatedTime: time.Now(),
		Metadata: map[string]string{wire.MetaTerm: "2", wire.MetaInstallation: term.Installation, wire.MetaJournal: journal},
	})
	if err != nil {
		t.Fatal(err)
	}
	if run := ping(t, r.plane, 1); run.State != record.RunDone || run.Term <= 2 {
		t.Errorf("the run ended %s in term %d", run.State, run.Term)
	}
}

func oneFile(t *testing.T, f *field) {
	url := f.sqlite()
	first := f.start(f.config("core-1", url), nil)
	first.ready()
	f.prefix += "-elsewhere" // so that it is elected
	c := f.config("core-2", url)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	second := replica.New(c)
	go func() { ended <- second.Run(ctx) }()
	select {
	case err := <-ended:
		if !errors.Is(err, store.ErrUnusable) {
			t.Errorf("it ended with %v", err)
		}
	case <-time.After(30 * time.Second):
		t.Error("it goes on")
	}
}

func noEtcd(t *testing.T, f *field) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nowhere := listener.Addr().String()
	_ = listener.Close()
	c := f.config("core-1", f.sqlite())
	c.Etcd.Endpoints = []string{"http://" + nowhere}
	r := f.start(c, nil)
	status, body := get(t, r.url+"/readyz")
	if status != http.StatusServiceUnavailable {
		t.Errorf("/readyz answers %d", status)
	}
	for _, part := range []string{"etcd: ", "a leader: none is known", "the primary store has not been prepared"} {
		if !strings.Contains(body, part) {
			t.Errorf("it misses %q, not %q", body, part)
		}
	}
	eventually(t, "the failures of etcd are counted", func() bool {
		for name, value := range scrape(t, r) {
			if strings.HasPrefix(name, `replicante_etcd_errors_total{call="LeaseGrant"`) && value > 0 {
				return true
			}
		}
		return false
	})
}
