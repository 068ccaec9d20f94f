//go:build integration

package failover

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/replicante-io/playbooks/api/client"
	"github.com/replicante-io/playbooks/internal/testenv"
	"github.com/replicante-io/playbooks/record"
	"github.com/replicante-io/playbooks/tests/robustness/cluster"
)

// lease is etcd.lease_ttl of the replicas.
const lease = 2 * time.Second

var built struct {
	once sync.Once
	dir  string
	err  error
}

func TestMain(m *testing.M) {
	code := testenv.Main(m)
	if built.dir != "" {
		_ = os.RemoveAll(built.dir)
	}
	os.Exit(code)
}

// programs builds the programs with failpoints, once.
func programs(t *testing.T) string {
	t.Helper()
	built.once.Do(func() {
		if built.dir, built.err = os.MkdirTemp("", "failover"); built.err == nil {
			built.err = cluster.Build(context.Background(), built.dir, "failpoints")
		}
	})
	if built.err != nil {
		t.Fatal(built.err)
	}
	return built.dir
}

// playbooks are those of all tests. How long their one action takes is a parameter of the run.
const playbooks = `
apiVersion: replicante.io/v1
kind: Playbook
metadata: {name: slow}
spec:
  params: [{name: seconds, type: string, default: "0.1"}]
  stages:
    - name: work
      batch: 1
      steps: [{name: act, action: external.agent.replicante.io/act, args: {seconds: "${params.seconds}"}}]
---
apiVersion: replicante.io/v1
kind: Playbook
metadata: {name: wide}
spec:
  params:
    - {name: seconds, type: string, default: "0.1"}
    - {name: timeout, type: duration, default: 1m}
  stages:
    - name: work
      batch: "100%"
      steps: [{name: act, action: external.agent.replicante.io/act, args: {seconds: "${params.seconds}"}}]
---
apiVersion: replicante.io/v1
kind: Playbook
metadata: {name: impatient}
spec:
  params: [{name: seconds, type: string, default: "0.1"}]
  stages:
    - name: work
      batch: "100%"
      max_failures: "100%"
      on_failure: continue
      health: none
      steps: [{name: act, action: external.agent.replicante.io/act, timeout: 3s, args: {seconds: "${params.seconds}"}}]
---
apiVersion: replicante.io/v1
kind: Playbook
metadata: {name: gated}
spec:
  params: [{name: seconds, type: string, default: "0.1"}]
  stages:
    - name: work
      batch: "100%"
      max_failures: 0
      steps: [{name: act, action: external.agent.replicante.io/act, timeout: 8s, args: {seconds: "${params.seconds}"}}]
      health: {check: 'node.status == "HEALTHY"', timeout: 10s, interval: 1s, settle: 2s}
`

// installation is a running installation, for one test.
type installation struct {
	*cluster.Installation
	t      *testing.T
	client *client.Client // of all replicas
	file   string         // in which the agents' commands record their starts
}

// start starts an installation that has the playbooks and knows all nodes. It is stopped when the test ends.
func start(t *testing.T, config cluster.Config) *installation {
	t.Helper()
	config.Dir, config.Programs, config.LeaseTTL = t.TempDir(), programs(t), lease
	if config.Mongods > 0 {
		config.Mongod = testenv.Mongod(t)
	}
	in := &installation{t: t, file: filepath.Join(config.Dir, "starts")}
	further := config.AgentYAML
	config.AgentYAML = func(id string) string {
		yaml := fmt.Sprintf(`actions: {act: {command: [/bin/sh, -c, %q], timeout: 60s}}`,
			cluster.RecordStart(in.file)+`exec sleep "$REPLICANTE_ARG_SECONDS"`)
		if further != nil {
			yaml += "\n" + further(id)
		}
		return yaml
	}
	var err error
	if in.Installation, err = cluster.Start(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Stop()
		if t.Failed() {
			in.keepLogs()
		}
	})
	in.client = in.clientOf(in.Replicas...)
	if _, err := in.client.Apply(t.Context(), []client.File{{Name: "playbooks.yaml", Data: []byte(playbooks)}}); err != nil {
		t.Fatal(err)
	}
	in.await("the control plane knows all nodes", time.Minute, func() bool {
		nodes, err := in.client.Nodes(t.Context(), in.Cluster)
		return err == nil && len(nodes) == len(in.Nodes)
	})
	return in
}

// keepLogs copies the logs to the directory that KEEP_LOGS names, if it does.
func (in *installation) keepLogs() {
	keep := os.Getenv("KEEP_LOGS")
	if keep == "" {
		return
	}
	logs, _ := filepath.Glob(filepath.Join(in.Dir, "*.log"))
	for _, log := range append(logs, in.file) {
		if text, err := os.ReadFile(log); err == nil {
			_ = os.WriteFile(filepath.Join(keep, in.t.Name()+"-"+filepath.Base(log)), text, 0o600)
		}
	}
}

// with is the installation, for a subtest.
func (in *installation) with(t *testing.T) *installation {
	sub := *in
	sub.t = t
	return &sub
}

// clientOf is a client that asks these replicas, in their order.
func (in *installation) clientOf(replicas ...*cluster.Member) *client.Client {
	in.t.Helper()
	var servers []string
	for _, m := range replicas {
		servers = append(servers, m.URL)
	}
	c, err := client.New(client.Config{Servers: servers, Patience: time.Minute})
	in.must(err)
	return c
}

// await waits until something holds.
func (in *installation) await(what string, within time.Duration, holds func() bool) {
	in.t.Helper()
	for deadline := time.Now().Add(within); !holds(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			in.t.Fatalf("%s: not within %s", what, within)
		}
		if in.t.Context().Err() != nil {
			in.t.Fatal(in.t.Context().Err())
		}
	}
}

func (in *installation) must(err error) {
	in.t.Helper()
	if err != nil {
		in.t.Fatal(err)
	}
}

// leader waits until a replica leads that is none of those, and returns it.
func (in *installation) leader(not ...*cluster.Member) *cluster.Member {
	in.t.Helper()
	var found *cluster.Member
	in.await("another replica leads", 30*time.Second, func() bool {
		for _, m := range in.Replicas {
			if !slices.Contains(not, m) && leads(m) {
				found = m
				return true
			}
		}
		return false
	})
	return found
}

// others are the replicas besides one.
func (in *installation) others(m *cluster.Member) []*cluster.Member {
	return slices.DeleteFunc(slices.Clone(in.Replicas), func(other *cluster.Member) bool { return other == m })
}

// get asks a replica for a path, for at most 5 s.
func get(m *cluster.Member, path string) (status int, body string) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, m.URL+path, nil)
	if err != nil {
		return 0, err.Error()
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, err.Error()
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, err.Error()
	}
	return response.StatusCode, string(text)
}

func leads(m *cluster.Member) bool {
	if !m.Running() || m.Frozen() {
		return false
	}
	var health struct{ Leading bool }
	status, body := get(m, "/healthz")
	return status == http.StatusOK && json.Unmarshal([]byte(body), &health) == nil && health.Leading
}

// awaitReady waits until these replicas report that they are ready.
func (in *installation) awaitReady(members ...*cluster.Member) {
	in.t.Helper()
	for _, m := range members {
		in.await(m.Name+" is ready", 30*time.Second, func() bool {
			status, _ := get(m, "/readyz")
			return status == http.StatusOK
		})
	}
}

// awaitUnready waits until a replica, which still answers, reports that it is not ready because of a part.
func (in *installation) awaitUnready(m *cluster.Member, part string) {
	in.t.Helper()
	in.await(m.Name+" is not ready because of "+part, 15*time.Second, func() bool {
		status, body := get(m, "/readyz")
		return status == http.StatusServiceUnavailable && strings.Contains(body, part)
	})
	if status, body := get(m, "/healthz"); status != http.StatusOK {
		in.t.Errorf("/healthz of %s answers %d: %s", m.Name, status, body)
	}
}

// startRun starts a run whose actions take so long.
func (in *installation) startRun(playbook string, lasting time.Duration) record.Run {
	in.t.Helper()
	run, err := in.client.Start(in.t.Context(), record.RunRequest{Playbook: playbook, Cluster: in.Cluster,
		Params: map[string]any{"seconds": fmt.Sprintf("%.2f", lasting.Seconds())}})
	in.must(err)
	return run
}

func (in *installation) readRun(id string) record.Run {
	in.t.Helper()
	run, err := in.client.Run(in.t.Context(), id)
	in.must(err)
	return run
}

func (in *installation) nodes(id string) []record.RunNode {
	in.t.Helper()
	nodes, err := in.client.RunNodes(in.t.Context(), id, nil, 0)
	in.must(err)
	return nodes
}

// starts are the starts of a run's actions, as the agents' commands recorded them.
func (in *installation) starts(id string) []cluster.ActionStart {
	in.t.Helper()
	ids := map[string]bool{}
	for _, node := range in.Nodes {
		for attempt := 1; attempt <= 3; attempt++ {
			ids[record.ActionID(id, node, "work", record.PassMain, "act", attempt)] = true
		}
	}
	all, err := cluster.ReadStarts(in.file)
	in.must(err)
	return slices.DeleteFunc(all, func(s cluster.ActionStart) bool { return !ids[s.ActionID] })
}

// awaitStarts waits until this many actions of the run have started.
func (in *installation) awaitStarts(id string, n int) {
	in.t.Helper()
	in.await(fmt.Sprintf("%d actions have started", n), 30*time.Second, func() bool { return len(in.starts(id)) >= n })
}

// awaitDone waits until the run is DONE and all its records are final, and checks that each action was started once.
func (in *installation) awaitDone(id string, within time.Duration) record.Run {
	in.t.Helper()
	run := in.awaitEnd(id, within)
	if run.State != record.RunDone {
		in.t.Errorf("the run ended %s: %+v", run.State, run.Error)
	}
	if starts := in.starts(id); len(starts) != len(in.Nodes) {
		in.t.Errorf("%d actions were started on %d nodes", len(starts), len(in.Nodes))
	}
	return run
}

// awaitEnd waits until the run has ended and all its records are final, and checks that no action was started twice and none
// is DONE that was not started.
func (in *installation) awaitEnd(id string, within time.Duration) record.Run {
	in.t.Helper()
	var run record.Run
	deadline := time.Now().Add(within)
	for run.FinishTS == nil || !run.Stamped {
		if time.Now().After(deadline) {
			in.t.Fatalf("run %s has not ended after %s: it is %s with nodes %v and waits for %+v", id, within, run.State, run.Counts, run.Waiting)
		}
		ctx, cancel := context.WithDeadline(in.t.Context(), deadline.Add(time.Second))
		read, err := in.client.Run(ctx, id)
		cancel()
		if err == nil {
			run = read
		}
		time.Sleep(20 * time.Millisecond)
	}
	times := map[string]int{}
	for _, s := range in.starts(id) {
		times[s.ActionID]++
	}
	for _, n := range in.nodes(id) {
		if !n.State.Final() || n.FinishTS == nil || !n.FinishTS.Equal(*run.FinishTS) {
			in.t.Errorf("the record of %s is %s and finished at %v, the run at %s", n.Node, n.State, n.FinishTS, run.FinishTS)
		}
		for _, a := range n.Actions {
			if a.State.InFlight() || times[a.ID] > 1 || a.State == record.ActionDone && times[a.ID] != 1 {
				in.t.Errorf("action %s of %s is %s and was started %d times", a.ID, n.Node, a.State, times[a.ID])
			}
			delete(times, a.ID)
		}
	}
	for action, n := range times {
		in.t.Errorf("action %s, which no record contains, was started %d times", action, n)
	}
	return run
}

// awaitLog waits until the log of a program contains a text after so many bytes.
func (in *installation) awaitLog(m *cluster.Member, since int, text string, within time.Duration) {
	in.t.Helper()
	in.await(fmt.Sprintf("%s logs %q", m.Name, text), within, func() bool { return strings.Contains(in.log(m)[since:], text) })
}

func (in *installation) log(m *cluster.Member) string {
	in.t.Helper()
	text, err := os.ReadFile(filepath.Join(in.Dir, m.Name+".log"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		in.t.Fatal(err)
	}
	return string(text)
}
