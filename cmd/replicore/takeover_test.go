//go:build integration

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"go.etcd.io/etcd/api/v3/mvccpb"

	"github.com/replicante-io/playbooks/api/client"
	"github.com/replicante-io/playbooks/election"
	"github.com/replicante-io/playbooks/internal/etcd"
	"github.com/replicante-io/playbooks/internal/etcd/embedded"
	"github.com/replicante-io/playbooks/internal/testenv"
	"github.com/replicante-io/playbooks/record"
)

const (
	takeoverNodes = 8
	takeoverSteps = 60
	takeoverTimes = 5 // with each of SIGKILL and SIGTERM
	takeoverTTL   = 10 * time.Second
)

// TestTheNextLeaderContinuesWithinASecond runs the real programs with three replicas, and ends the leader several times in the
// middle of a run: with SIGKILL, with SIGTERM, and at last with SIGSTOP, after which it has to lose its lease. The agents' command
// appends its action, the term of the leader that sent it, and the time to a file.
func TestTheNextLeaderContinuesWithinASecond(t *testing.T) {
	store := testenv.Mongo(t)
	dir := t.TempDir()
	build := exec.Command("go", "build", "-o", dir+"/", "../replicore", "../repliagent")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	server, err := embedded.Start(t.Context(), filepath.Join(dir, "etcd"), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	file := filepath.Join(dir, "starts")
	for i := range takeoverNodes {
		id := fmt.Sprintf("n%d", i)
		program(t, dir, "repliagent", fmt.Sprintf(`
node: {id: %s, cluster: c}
api: {listen: %s}
etcd: {endpoints: [%s], lease_ttl: 10s}
data_dir: %s
actions:
  append: {command: [/bin/sh, -c, 'echo "$REPLICANTE_ACTION_ID,$REPLICANTE_TERM,$(date +%%s%%N),$REPLICANTE_NODE_ID" >> %s && sleep 0.%d'], timeout: 30s}
probe: {command: [/bin/echo, '{"status": "HEALTHY"}'], interval: 5s}
`, id, freeAddress(t), server.Endpoint, filepath.Join(dir, id), file, takeoverAction(i).Milliseconds()), id)
	}
	replicas := map[string]*exec.Cmd{}
	configs := map[string]string{}
	var servers []string
	for _, name := range []string{"core-1", "core-2", "core-3"} {
		listen := fmt.Sprintf("127.0.0.1:%d", testenv.FreePort(t)) // it is used again after a restart
		servers = append(servers, "http://"+listen)
		configs[name] = fmt.Sprintf(`
name: %s
api: {listen: %s}
etcd: {endpoints: [%s], lease_ttl: %s}
store: {url: %q, database: takeover}
`, name, listen, server.Endpoint, takeoverTTL, store)
		replicas[name] = program(t, dir, "replicore", configs[name], name, "server")
	}
	api, err := client.New(client.Config{Servers: servers, Patience: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	await(t, "the control plane knows the nodes", func() bool {
		nodes, err := api.Nodes(t.Context(), "c")
		return err == nil && len(nodes) == takeoverNodes
	})
	if _, err := api.Apply(t.Context(), []client.File{{Name: "append.yaml", Data: []byte(appendPlaybook(takeoverNodes, takeoverSteps))}}); err != nil {
		t.Fatal(err)
	}
	run, err := api.Start(t.Context(), record.RunRequest{Playbook: "append", Cluster: "c"})
	if err != nil {
		t.Fatal(err)
	}

	view := watchElection(t, server.Endpoint)
	// end signals the leader, and returns the time until its election key was deleted and until another leader dispatched.
	end := func(signal syscall.Signal) (deleted, dispatched time.Duration) {
		leader := view.awaitLeader(t, len(replicas))
		await(t, "the leader dispatches", func() bool { return len(startsAfter(t, file, leader.Term-1)) > 0 })
		begin := time.Now()
		if err := replicas[leader.Name].Process.Signal(signal); err != nil {
			t.Fatal(err)
		}
		var next []start
		await(t, "another leader dispatches", func() bool {
			next = startsAfter(t, file, leader.Term)
			return len(next) > 0
		})
		first := slices.MinFunc(next, func(a, b start) int { return a.at.Compare(b.at) })
		deleted = view.awaitDeleted(t, leader.Instance).Sub(begin)
		_ = replicas[leader.Name].Process.Kill() // where it was only stopped
		_ = replicas[leader.Name].Wait()
		replicas[leader.Name] = program(t, dir, "replicore", configs[leader.Name], leader.Name, "server")
		return deleted, first.at.Sub(begin)
	}
	var killed, resigning, resigned []time.Duration
	for range takeoverTimes {
		_, dispatched := end(syscall.SIGKILL)
		killed = append(killed, dispatched)
		deleted, dispatched := end(syscall.SIGTERM)
		resigning, resigned = append(resigning, deleted), append(resigned, dispatched-deleted)
	}
	deleted, frozen := end(syscall.SIGSTOP) // as when a machine is lost: connections are neither closed nor refused
	t.Logf("from SIGKILL to the next dispatch: %v", killed)
	t.Logf("from SIGTERM to the leader's resignation: %v; from there to the next dispatch: %v", resigning, resigned)
	t.Logf("from SIGSTOP to the end of the lease: %s; to the next dispatch: %s", deleted, frozen)
	if took := median(killed); took > time.Second {
		t.Errorf("the next dispatch comes %s after the leader was killed", took)
	}
	if deleted < takeoverTTL/2 || frozen > takeoverTTL+time.Second {
		t.Errorf("a frozen leader lost its lease of %s after %s; the next dispatch came after %s", takeoverTTL, deleted, frozen)
	}

	err = api.Follow(t.Context(), run.ID, 0, func(e record.Event) error {
		if e.Type == record.EventRunFinished {
			return context.Canceled
		}
		return nil
	})
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("follow: %v", err)
	}
	if run, err = api.Run(t.Context(), run.ID); err != nil || run.State != record.RunDone {
		t.Errorf("the run is %s, %v", run.State, err)
	}
	starts := startsAfter(t, file, 0)
	gap := usualGap(starts)
	t.Logf("between two steps of a node: %s", gap)
	// On a busy machine everything takes longer: a handover is compared with the time between two steps.
	if took, most := median(resigned), max(100*time.Millisecond, 5*gap); took > most {
		t.Errorf("the next dispatch comes %s after the leader resigned; more than %s", took, most)
	}
	started := map[string]bool{}
	for _, s := range starts {
		if started[s.action] {
			t.Errorf("action %s was started twice", s.action)
		}
		started[s.action] = true
	}
	if len(started) != takeoverNodes*takeoverSteps {
		t.Errorf("%d actions were started, not %d", len(started), takeoverNodes*takeoverSteps)
	}
}

// start is one start of an action, as its command recorded it.
type start struct {
	action string
	node   string
	term   int64
	at     time.Time
}

// startsAfter are the starts of later terms than this.
func startsAfter(t *testing.T, file string, term int64) []start {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	text = text[:strings.LastIndexByte(string(text), '\n')+1]
	var starts []start
	for _, line := range strings.Fields(string(text)) {
		parts := strings.Split(line, ",")
		of, err := strconv.ParseInt(parts[1], 10, 64)
		nanos, err2 := strconv.ParseInt(parts[2], 10, 64)
		if err != nil || err2 != nil {
			t.Fatalf("%q is not a start", line)
		}
		if of > term {
			starts = append(starts, start{action: parts[0], node: parts[3], term: of, at: time.Unix(0, nanos)})
		}
	}
	return starts
}

// takeoverAction is how long an action takes on a node. It differs between nodes, so that at any time one is about to end.
func takeoverAction(i int) time.Duration { return time.Duration(150+13*i) * time.Millisecond }

// usualGap is the median time between the end of a step and the start of the next on the same node, under one leader.
func usualGap(starts []start) time.Duration {
	var between []time.Duration
	before := map[string]start{}
	for _, s := range starts {
		var i int
		_, _ = fmt.Sscanf(s.node, "n%d", &i)
		if b, known := before[s.node]; known && b.term == s.term {
			between = append(between, s.at.Sub(b.at)-takeoverAction(i))
		}
		before[s.node] = s
	}
	return median(between)
}

func median(took []time.Duration) time.Duration {
	return slices.Sorted(slices.Values(took))[len(took)/2]
}

// electionView is what a watcher of the election's keys has seen.
type electionView struct {
	mu      sync.Mutex
	keys    map[string]election.Leader
	deleted map[string]time.Time // by instance
}

func watchElection(t *testing.T, endpoint string) *electionView {
	t.Helper()
	connection, err := etcd.Dial(etcd.DialConfig{Endpoints: []string{endpoint}})
	if err != nil {
		t.Fatal(err)
	}
	v := &electionView{keys: map[string]election.Leader{}, deleted: map[string]time.Time{}}
	follower := etcd.Follower{Client: connection, Key: "/replicante/election/controller/", Prefix: true, Log: hclog.NewNullLogger()}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = follower.Run(ctx, v.deliver)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
		_ = connection.Close()
	})
	return v
}

func (v *electionView) deliver(batch etcd.Batch) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, e := range batch.Events {
		key := string(e.Kv.Key)
		if e.Type == mvccpb.Event_DELETE {
			v.deleted[v.keys[key].Instance] = time.Now()
			delete(v.keys, key)
			continue
		}
		var candidate election.Leader
		if err := json.Unmarshal(e.Kv.Value, &candidate); err != nil {
			return err
		}
		v.keys[key] = candidate
	}
	return nil
}

// awaitLeader waits until there are n candidates and one of them leads, and returns that one.
func (v *electionView) awaitLeader(t *testing.T, n int) election.Leader {
	t.Helper()
	var leader election.Leader
	await(t, "all replicas are candidates and one leads", func() bool {
		v.mu.Lock()
		defer v.mu.Unlock()
		for _, candidate := range v.keys {
			if candidate.Term > 0 {
				leader = candidate
			}
		}
		return len(v.keys) == n && leader.Term > 0
	})
	return leader
}

// awaitDeleted waits until the key of an instance is deleted, and returns when that was seen.
func (v *electionView) awaitDeleted(t *testing.T, instance string) time.Time {
	t.Helper()
	var at time.Time
	await(t, "its key is deleted", func() bool {
		v.mu.Lock()
		defer v.mu.Unlock()
		at = v.deleted[instance]
		return !at.IsZero()
	})
	return at
}
