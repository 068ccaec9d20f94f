package replica_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/hashicorp/go-hclog"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/tests/v3/framework/integration"
	"golang.org/x/sync/errgroup"

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
		test func(t *testing.T, i *installation)
	}{
		{"ARunIsCarriedOutFromTheAPIToTheAgentAndBack", endToEnd},
		{"WhatCannotBeStoredIsRefusedWhereItEnters", func(t *testing.T, i *installation) {
			whatEnters(t, i, i.start(i.config("core-1", i.sqlite()), nil))
		}},
		{"APlanIsTheBatchesThatTheRunThenTakes", planOfCanary},
		{"AnEtcdThatKnowsNoStoreIsRefusedUntilItIsAdopted", newEtcd},
		{"AnotherStoreIsRefused", otherStore},
		{"AFollowerWithAnotherStoreSaysSo", otherStoreFollows},
		{"AFreshStoreIsBoundByItsFirstLeader", freshStore},
		{"AFollowerServesForwardsAndTakesOver", takeOver},
		{"AFalseAlarmCostsOneElectionAndNoAction", falseAlarm},
		{"ALeaderThatStopsClosesItsPortBeforeItResigns", portBeforeLease},
		{"AnAgentThatKnowsAHigherTermMakesTheNextTermHigher", higherTerm},
		{"ATermThatAnAgentKnowsIsNotBegunByAnotherReplica", higherTermElsewhere},
		{"ATermThatNoElectionReachedEndsNothing", wildTerm},
		{"AnAgentRaisesTheTermOnce", raisedOnce},
		{"AReplicaThatHasToBeAloneEndsWhenAnotherLeads", notAlone},
		{"AnotherFinishedTTLOfAReplicaChangesNothing", otherTTL},
		{"BeingReadyIsAskedOfTheStoreOnceForManyAndWritesNothing", readyIsCheap},
		{"ALeaderWhoseDatabaseFileWasRemovedStepsDown", fileRemoved},
		{"ASecondReplicaOnOneSQLiteFileDoesNotLead", oneFile},
		{"AReplicaWithoutEtcdReportsThat", noEtcd},
		{"ALeaderThatAloneIsCutOffFromTheStoreStepsDown", storeElsewhere},
		{"MetricsCountWhatHappened", metricsCount},
		{"AChangeOfLeadershipIsOneLineWithItsReason", oneLineEach},
		{"WhyALeadershipIsNotTakenIsLoggedOnce", whyNotTaken},
		{"TheLeaderReportsThatTheStoreIsUnavailableAndRunsContinueAfterwards", storeUnavailable},
		{"AReplicaThatIsElectedWithoutAStoreLeadsOnceItIsBack", electedWithoutStore},
	}
	for i, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			etcd, _ := etcdtest.Dial(t, cluster)
			c.test(t, &installation{t: t, cluster: cluster, etcd: etcd, prefix: fmt.Sprintf("/case-%d", i)})
		})
	}
}

// installation is one installation of the control plane.
type installation struct {
	t       *testing.T
	cluster *integration.Cluster
	etcd    *clientv3.Client
	prefix  string
}

func (i *installation) config(name, storeURL string) replica.Config {
	return replica.Config{
		Core: config.Core{
			Name: name, API: config.API{Listen: "127.0.0.1:0"},
			Etcd:       config.Etcd{Endpoints: i.cluster.Endpoints(), Prefix: i.prefix, LeaseTTL: 2 * time.Second},
			Store:      config.Store{URL: storeURL},
			Runs:       config.Runs{FinishedTTL: time.Hour},
			Membership: config.Membership{Grace: 10 * time.Second, ForgetAfter: time.Hour},
		},
		Log: etcdtest.Log(i.t, name),
	}
}

func (i *installation) sqlite() string { return "sqlite://" + filepath.Join(i.t.TempDir(), "core.db") }

// running is a replica that runs.
type running struct {
	*replica.Replica
	t      *testing.T
	url    string
	plane  *client.Client
	cancel context.CancelFunc
	done   chan error
}

// start starts a replica, on s if it is not nil, and waits until it serves.
func (i *installation) start(c replica.Config, s store.Store) *running {
	i.t.Helper()
	serving := make(chan string, 1)
	c.Serving = func(url string) { serving <- url }
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{t: i.t, cancel: cancel, done: make(chan error, 1), Replica: replica.New(c)}
	if s != nil {
		r.Replica = replica.NewOn(c, s)
	}
	go func() { r.done <- r.Run(ctx) }()
	i.t.Cleanup(r.stop)
	select {
	case r.url = <-serving:
	case err := <-r.done:
		r.done <- err
		i.t.Fatalf("replica %s ended: %v", c.Name, err)
	}
	var err error
	if r.plane, err = client.New(client.Config{Servers: []string{r.url}, Patience: 20 * time.Second}); err != nil {
		i.t.Fatal(err)
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
	eventually(r.t, "the replica is ready", func() bool { return len(r.NotReady(context.Background())) == 0 })
}

// refused waits until the replica reports why it does not lead.
func (r *running) refused(why string) {
	r.t.Helper()
	eventually(r.t, "the replica reports: "+why, func() bool {
		return strings.Contains(strings.Join(r.NotReady(context.Background()), "\n"), why)
	})
}

func (i *installation) agent(id string) (url, journal string) {
	i.t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		i.t.Fatal(err)
	}
	url = "http://" + listener.Addr().String()
	n := node.New(node.Config{
		Agent: agent.Config{NodeID: id, ClusterID: "c", DataDir: i.t.TempDir(), Log: etcdtest.Log(i.t, id)},
		URL:   url, Etcd: i.etcd, Prefix: i.prefix, TTL: 5 * time.Second, Log: etcdtest.Log(i.t, id),
	})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 2)
	go func() { done <- n.Run(ctx) }()
	go func() { done <- node.Serve(ctx, listener, n.Handler(), 1, nil, hclog.NewNullLogger()) }()
	i.t.Cleanup(func() {
		cancel()
		for range 2 {
			if err := <-done; err != nil {
				i.t.Errorf("agent %s: %v", id, err)
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
		return err == nil && run.State.Final()
	})
	return run
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(40 * time.Second); !holds(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("it did not happen: %s", what)
		}
	}
}

func endToEnd(t *testing.T, i *installation) {
	i.agent("a")
	i.agent("b")
	r := i.start(i.config("core-1", i.sqlite()), nil)
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

func newEtcd(t *testing.T, i *installation) {
	url := i.sqlite()
	first := i.start(i.config("core-1", url), nil)
	first.ready()
	first.stop()

	i.prefix += "-rebuilt" // as good as a new etcd
	second := i.start(i.config("core-2", url), nil)
	second.refused("replicore store adopt-etcd")
	if status, body := get(t, second.url+"/api/v1/leader"); status != http.StatusServiceUnavailable {
		t.Errorf("/api/v1/leader answers %d: %s", status, body)
	}

	second.stop() // one SQLite file has one user
	s, err := replica.OpenStore(i.config("tool", url).Core, store.Config{}, etcdtest.Log(t, "tool"))
	if err != nil {
		t.Fatal(err)
	}
	term, err := s.Term(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if before, err := replica.AdoptEtcd(t.Context(), i.etcd, i.prefix, term); err != nil || before != "" {
		t.Fatalf("adopt: before %q, %v", before, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	third := i.start(i.config("core-3", url), nil)
	third.ready()
	leader, err := third.plane.Leader(t.Context())
	if err != nil || leader.Term <= term.Term {
		t.Errorf("leader %+v, %v: the term must be above %d", leader, err, term.Term)
	}
}

func otherStore(t *testing.T, i *installation) {
	first := i.start(i.config("core-1", i.sqlite()), nil)
	first.ready()
	first.stop()
	second := i.start(i.config("core-2", i.sqlite()), nil)
	second.refused(replica.ErrOtherInstallation.Error())
}

func otherStoreFollows(t *testing.T, i *installation) {
	leader := i.start(i.config("core-1", i.sqlite()), nil)
	leader.ready()
	for _, name := range []string{"new", "used"} {
		url := i.sqlite()
		if name == "used" {
			elsewhere := *i
			elsewhere.prefix += "-elsewhere"
			r := elsewhere.start(elsewhere.config("core-3", url), nil)
			r.ready()
			r.stop()
		}
		var logged lines
		c := i.config("core-2", url)
		c.Log = logged.log()
		r := i.start(c, nil)
		eventually(t, "the log says that the store is another's", func() bool {
			return logged.contains(`"@level":"error"`) && logged.contains(replica.ErrOtherInstallation.Error())
		})
		r.refused(replica.ErrOtherInstallation.Error())
		if reasons := r.NotReady(t.Context()); len(reasons) != 1 {
			t.Errorf("with a %s store it reports %q", name, reasons)
		}
		r.stop()
	}
	leader.ready()
}

func freshStore(t *testing.T, i *installation) {
	memory := storetest.NewMemory()
	r := i.start(i.config("core-1", ""), memory)
	r.ready()
	term, err := memory.Term(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	answer, err := i.etcd.Get(t.Context(), i.prefix+"/installation")
	if err != nil || len(answer.Kvs) != 1 || string(answer.Kvs[0].Value) != term.Installation {
		t.Errorf("etcd has %v, %v; the store is %s", answer, err, term.Installation)
	}
}

func takeOver(t *testing.T, i *installation) {
	i.agent("a")
	memory := shared{storetest.NewMemory()}
	first := i.start(i.config("core-1", ""), memory)
	first.ready()
	second := i.start(i.config("core-2", ""), memory)
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

func portBeforeLease(t *testing.T, i *installation) {
	r := i.start(i.config("core-1", ""), storetest.NewMemory())
	r.ready()
	address := strings.TrimPrefix(r.url, "http://")
	watching, stop := context.WithTimeout(t.Context(), 20*time.Second)
	defer stop()
	gone := i.etcd.Watch(watching, i.prefix+"/election/", clientv3.WithPrefix(), clientv3.WithFilterPut(), clientv3.WithCreatedNotify())
	<-gone // the watch has begun
	r.cancel()
	if response := <-gone; len(response.Events) == 0 {
		t.Fatal("the election key was not given back")
	}
	if conn, err := net.DialTimeout("tcp", address, time.Second); err == nil {
		_ = conn.Close()
		t.Error("the port was still open when the leadership was given back")
	}
}

func higherTerm(t *testing.T, i *installation) {
	url, journal := i.agent("a")
	memory := storetest.NewMemory()
	r := i.start(i.config("core-1", ""), memory)
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
	_, err = agents.Post(t.Context(), url, wire.ActionRequest{
		ID: uuid.NewString(), Kind: wire.KindSuccess, Args: json.RawMessage("{}"), CreatedTime: time.Now(),
		Metadata: map[string]string{wire.MetaTerm: "41", wire.MetaInstallation: term.Installation, wire.MetaJournal: journal},
	}, 0)
	if err != nil {
		t.Fatal(err)
	}
	if run := ping(t, r.plane, 1); run.State != record.RunDone || run.Term <= 41 {
		t.Errorf("the run ended %s in term %d", run.State, run.Term)
	}
}

// higherTermElsewhere has an agent that knows the very term that another replica would begin next.
func higherTermElsewhere(t *testing.T, i *installation) {
	url, journal := i.agent("a")
	memory := storetest.NewMemory()
	r := i.start(i.config("core-1", ""), shared{memory})
	r.ready()
	other := i.start(i.config("core-2", ""), shared{memory})
	other.ready()
	apply(t, r.plane)
	term, err := memory.Term(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	agents := agentclient.New(agentclient.Config{})
	defer agents.Close()
	_, err = agents.Post(t.Context(), url, wire.ActionRequest{
		ID: uuid.NewString(), Kind: wire.KindSuccess, Args: json.RawMessage("{}"), CreatedTime: time.Now(),
		Metadata: map[string]string{wire.MetaTerm: "2", wire.MetaInstallation: term.Installation, wire.MetaJournal: journal},
	}, 0)
	if err != nil {
		t.Fatal(err)
	}
	if run := ping(t, r.plane, 1); run.State != record.RunDone || run.Term <= 2 {
		t.Errorf("the run ended %s in term %d", run.State, run.Term)
	}
}

// wildTerm has somebody call an agent with terms that no leader had.
func wildTerm(t *testing.T, i *installation) {
	url, journal := i.agent("a")
	memory := storetest.NewMemory()
	r := i.start(i.config("core-1", ""), memory)
	r.ready()
	apply(t, r.plane)
	term, err := memory.Term(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	agents := agentclient.New(agentclient.Config{})
	defer agents.Close()
	for _, claimed := range []string{"9007199254740992", "9223372036854775807", "1099511627776", "-9223372036854775808"} {
		fence := map[string]string{wire.MetaTerm: claimed, wire.MetaInstallation: term.Installation, wire.MetaJournal: journal}
		if _, err := agents.Cancel(t.Context(), url, uuid.NewString(), wire.CancelRequest{Metadata: fence}); err == nil {
			t.Errorf("a cancel with term %s is accepted", claimed)
		}
		action := wire.ActionRequest{ID: uuid.NewString(), Kind: wire.KindSuccess, Args: json.RawMessage("{}"), CreatedTime: time.Now(), Metadata: fence}
		if _, err := agents.Post(t.Context(), url, action, 0); err == nil {
			t.Errorf("an action with term %s is accepted", claimed)
		}
		if run := ping(t, r.plane, 1); run.State != record.RunDone || run.Term != 1 {
			t.Errorf("after term %s a run ended %s in term %d", claimed, run.State, run.Term)
		}
	}
}

// raisedOnce has an agent raise the term twice: the second time it is not believed.
func raisedOnce(t *testing.T, i *installation) {
	url, journal := i.agent("a")
	memory := storetest.NewMemory()
	r := i.start(i.config("core-1", ""), memory)
	r.ready()
	apply(t, r.plane)
	term, err := memory.Term(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	agents := agentclient.New(agentclient.Config{})
	defer agents.Close()
	for _, step := range []struct {
		claimed string
		state   record.RunState
	}{{"41", record.RunDone}, {"141", record.RunFailed}} {
		_, err := agents.Cancel(t.Context(), url, uuid.NewString(), wire.CancelRequest{Metadata: map[string]string{
			wire.MetaTerm: step.claimed, wire.MetaInstallation: term.Installation, wire.MetaJournal: journal}})
		if err != nil {
			t.Fatal(err)
		}
		if run := ping(t, r.plane, 1); run.State != step.state || run.Term != 43 {
			t.Errorf("after term %s a run ended %s in term %d", step.claimed, run.State, run.Term)
		}
	}
}

func notAlone(t *testing.T, i *installation) {
	memory := storetest.NewMemory()
	c := i.config("core-1", "")
	c.Alone = &replica.Alone{Accept: func(record.Term) error { return nil }}
	r := i.start(c, memory)
	r.ready()
	if _, err := memory.BeginTerm(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	if err := <-r.done; err == nil || !strings.Contains(err.Error(), "another process has begun to lead") {
		t.Errorf("it ended with %v", err)
	}
	r.done <- nil
}

func otherTTL(t *testing.T, i *installation) {
	url := i.sqlite()
	first := i.start(i.config("core-1", url), nil)
	first.ready()
	first.stop()
	c := i.config("core-2", url)
	c.Runs.FinishedTTL = 100 * time.Hour
	var log bytes.Buffer
	c.Log = hclog.New(&hclog.LoggerOptions{Output: &log})
	second := i.start(c, nil)
	second.ready()
	second.stop()
	if said := log.String(); strings.Count(said, "--set-finished-ttl") != 1 || !strings.Contains(said, "installation=1h configured=100h") {
		t.Errorf("it logs %s", said)
	}
	s, err := replica.OpenStore(c.Core, store.Config{}, hclog.NewNullLogger())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if term, err := s.Term(t.Context()); err != nil || term.FinishedTTL() != time.Hour {
		t.Errorf("finished runs are kept for %s, %v", term.FinishedTTL(), err)
	}
}

// pings counts what a store is asked by /readyz.
type pings struct {
	store.Store
	pings, terms atomic.Int64
}

func (p *pings) Ping(ctx context.Context) error {
	p.pings.Add(1)
	return p.Store.Ping(ctx)
}

func (p *pings) Term(ctx context.Context) (record.Term, error) {
	p.terms.Add(1)
	return p.Store.Term(ctx)
}

func readyIsCheap(t *testing.T, i *installation) {
	counted := &pings{Store: storetest.NewMemory()}
	r := i.start(i.config("core-1", ""), counted)
	r.ready()
	pings, terms := counted.pings.Load(), counted.terms.Load()
	var group errgroup.Group
	for range 500 {
		group.Go(func() error {
			if reasons := r.NotReady(context.Background()); len(reasons) > 0 {
				t.Errorf("it is not ready: %q", reasons)
			}
			return nil
		})
	}
	_ = group.Wait()
	if asked := counted.pings.Load() - pings; asked > 100 || counted.terms.Load() != terms { // once each second
		t.Errorf("500 requests asked the store %d times, and read the terms record %d times", asked, counted.terms.Load()-terms)
	}
}

func fileRemoved(t *testing.T, i *installation) {
	url := i.sqlite()
	r := i.start(i.config("core-1", url), nil)
	r.ready()
	path := strings.TrimPrefix(url, "sqlite://")
	if err := os.Rename(path, path+".away"); err != nil {
		t.Fatal(err)
	}
	r.refused(path + " was removed while it was in use")
	eventually(t, "it does not lead", func() bool { return !leads(t, r) })
	if err := os.Rename(path+".away", path); err != nil {
		t.Fatal(err)
	}
	r.ready() // leads again
}

// leads reports whether the replica says that it leads.
func leads(t *testing.T, r *running) bool {
	t.Helper()
	_, body := get(t, r.url+"/healthz")
	return strings.Contains(body, `"leading":true`)
}

func oneFile(t *testing.T, i *installation) {
	url := i.sqlite()
	first := i.start(i.config("core-1", url), nil)
	first.ready()
	i.prefix += "-elsewhere" // so that it is elected
	c := i.config("core-2", url)
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
		t.Error("it still runs")
	}
}

func noEtcd(t *testing.T, i *installation) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nowhere := listener.Addr().String()
	_ = listener.Close()
	c := i.config("core-1", i.sqlite())
	c.Etcd.Endpoints = []string{"http://" + nowhere}
	r := i.start(c, nil)
	status, body := get(t, r.url+"/readyz")
	if status != http.StatusServiceUnavailable {
		t.Errorf("/readyz answers %d", status)
	}
	for _, part := range []string{"etcd: ", "the leader: none is known", "the primary store: not prepared yet"} {
		if !strings.Contains(body, part) {
			t.Errorf("it reports %q, without %q", body, part)
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
