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
	takeoverTimes = 5 // killed, and asked to stop
	takeoverTTL   = 10 * time.Second
)

// TestTheNextLeaderGoesOnSoonAfterTheLastOneIsGone runs the real programs, three replicas of them, and ends the one that
// leads again and again in the middle of a run: with -9, with a request to stop, and at last by stopping it where it is.
// The agents' command writes its action, the term that it was sent under and the time into one file.
func TestTheNextLeaderGoesOnSoonAfterTheLastOneIsGone(t *testing.T) {
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
`, id, free(t), server.Endpoint, filepath.Join(dir, id), file, takeoverAction(i).Milliseconds()), id)
	}
	replicas := map[string]*exec.Cmd{}
	configs := map[string]string{}
	var servers []string
	for _, name := range []string{"core-1", "core-2", "core-3"} {
		listen := fmt.Sprintf("127.0.0.1:%d", testenv.FreePort(t)) // it is listened on again and again
		servers = append(servers, "http://"+listen)
		configs[name] = fmt.Sprintf(`
name: %s
api: {listen: %s}
etcd: {endpoints: [%s], lease_ttl: %s}
store: {url: %q, database: takeover}
`, name, listen, server.Endpoint, takeoverTTL, store)
		replicas[name] = program(t, dir, "replicore", configs[name], name, "server")
	}
	plane, err := client.New(client.Config{Servers: servers, Patience: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	await(t, "the nodes are known", func() bool {
		nodes, err := plane.Nodes(t.Context(), "c")
		return err == nil && len(nodes) == takeoverNodes
	})
	if _, err := plane.Apply(t.Context(), []client.File{{Name: "append.yaml", Data: []byte(appendBook(takeoverNodes, takeoverSteps))}}); err != nil {
		t.Fatal(err)
	}
	run, err := plane.Start(t.Context(), record.RunRequest{Playbook: "append", Cluster: "c"})
	if err != nil {
		t.Fatal(err)
	}

	ballot := watchElection(t, server.Endpoint)
	// gone ends the leader, and returns when its key was gone and another dispatched, after how long.
	gone := func(signal syscall.Signal) (withdrew, dispatched time.Duration) {
		leader := ballot.standing(t, len(replicas))
		await(t, "the leader dispatches", func() bool { return len(startsAfter(t, file, leader.Term-1)) > 0 })
		began := time.Now()
		if err := replicas[leader.Name].Process.Signal(signal); err != nil {
			t.Fatal(err)
		}
		var next []start
		await(t, "another leader dispatches", func() bool {
			next = startsAfter(t, file, leader.Term)
			return len(next) > 0
		})
		first := slices.MinFunc(next, func(a, b start) int { return a.at.Compare(b.at) })
		withdrew = ballot.withdrawn(t, leader.Instance).Sub(began)
		_ = replicas[leader.Name].Process.Kill() // where it was only stopped
		_ = replicas[leader.Name].Wait()
		replicas[leader.Name] = program(t, dir, "replicore", configs[leader.Name], leader.Name, "server")
		return withdrew, first.at.Sub(began)
	}
	var killed, resigning, resigned []time.Duration
	for range takeoverTimes {
		_, dispatched := gone(syscall.SIGKILL)
		killed = append(killed, dispatched)
		withdrew, dispatched := gone(syscall.SIGTERM)
		resigning, resigned = append(resigning, withdrew), append(resigned, dispatched-withdrew)
	}
	withdrew, vanished := gone(syscall.SIGSTOP) // as a machine that is lost: nothing closes, nothing refuses
	t.Logf("from kill -9 to the next dispatch: %v", killed)
	t.Logf("from SIGTERM to the leader's resignation: %v; from there to the next dispatch: %v", resigning, resigned)
	t.Logf("from SIGSTOP to the end of the lease: %s; to the next dispatch: %s", withdrew, vanished)
	if took := median(killed); took > time.Second {
		t.Errorf("the next dispatch comes %s after the leader was killed", took)
	}
	if withdrew < takeoverTTL/2 || vanished > takeoverTTL+time.Second {
		t.Errorf("a leader that was stopped lost its lease of %s after %s; the next dispatch came after %s", takeoverTTL, withdrew, vanished)
	}

	err = plane.Follow(t.Context(), run.ID, 0, func(e record.Event) error {
		if e.Type == record.EventRunFinished {
			return context.Canceled
		}
		return nil
	})
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("follow: %v", err)
	}
	if run, err = plane.Run(t.Context(), run.ID); err != nil || run.State != record.RunDone {
		t.Errorf("the run is %s, %v", run.State, err)
	}
	starts := startsAfter(t, file, 0)
	ordinary := ordinary(starts)
	t.Logf("between two steps of a node: %s", ordinary)
	// On a machine that is busy with other things all takes longer: a handover is compared with what any step takes.
	if took, most := median(resigned), max(100*time.Millisecond, 5*ordinary); took > most {
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

// start is one start of an action, as its command wrote it.
type start struct {
	action string
	node   string
	term   int64
	at     time.Time
}

// startsAfter are the starts under later terms than this.
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
			t.Fatalf("a start reads %q", line)
		}
		if of > term {
			starts = append(starts, start{action: parts[0], node: parts[3], term: of, at: time.Unix(0, nanos)})
		}
	}
	return starts
}

// takeoverAction is how long an action takes on the node of this index: not as long as on others, so that one ends at any time.
func takeoverAction(i int) time.Duration { return time.Duration(150+13*i) * time.Millisecond }

// ordinary is what usually passes between the end of a step and the start of the next on the same node, under one leader.
func ordinary(starts []start) time.Duration {
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

// ballot is the election as an onlooker sees it.
type ballot struct {
	mu   sync.Mutex
	keys map[string]election.Leader
	gone map[string]time.Time // by instance
}

func watchElection(t *testing.T, endpoint string) *ballot {
	t.Helper()
	connection, err := etcd.Dial(etcd.DialConfig{Endpoints: []string{endpoint}})
	if err != nil {
		t.Fatal(err)
	}
	b := &ballot{keys: map[string]election.Leader{}, gone: map[string]time.Time{}}
	follower := etcd.Follower{Client: connection, Key: "/replicante/election/controller/", Prefix: true, Log: hclog.NewNullLogger()}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = follower.Run(ctx, b.deliver)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
		_ = connection.Close()
	})
	return b
}

func (b *ballot) deliver(batch etcd.Batch) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, e := range batch.Events {
		key := string(e.Kv.Key)
		if e.Type == mvccpb.Event_DELETE {
			b.gone[b.keys[key].Instance] = time.Now()
			delete(b.keys, key)
			continue
		}
		var candidate election.Leader
		if err := json.Unmarshal(e.Kv.Value, &candidate); err != nil {
			return err
		}
		b.keys[key] = candidate
	}
	return nil
}

// standing waits until n stand, one of which leads, and returns that one.
func (b *ballot) standing(t *testing.T, n int) election.Leader {
	t.Helper()
	var leader election.Leader
	await(t, "all stand and one leads", func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		for _, candidate := range b.keys {
			if candidate.Term > 0 {
				leader = candidate
			}
		}
		return len(b.keys) == n && leader.Term > 0
	})
	return leader
}

// withdrawn waits until an instance does not stand any more, and returns when that was seen.
func (b *ballot) withdrawn(t *testing.T, instance string) time.Time {
	t.Helper()
	var at time.Time
	await(t, "its key is gone", func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		at = b.gone[instance]
		return !at.IsZero()
	})
	return at
}
