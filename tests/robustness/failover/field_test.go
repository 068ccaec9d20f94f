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
	rig "github.com/replicante-io/playbooks/tests/robustness/cluster"
)

// lease is of the election.
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

// programs builds the programs, once, so that they can be broken.
func programs(t *testing.T) string {
	t.Helper()
	built.once.Do(func() {
		if built.dir, built.err = os.MkdirTemp("", "failover"); built.err == nil {
			built.err = rig.Build(context.Background(), built.dir, "failpoints")
		}
	})
	if built.err != nil {
		t.Fatal(built.err)
	}
	return built.dir
}

// books are the playbooks of all tests: what their one action does is said when a run starts.
const books = `
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
metadata: {name: hasty}
spec:
  params: [{name: seconds, type: string, default: "0.1"}]
  stages:
    - name: work
      batch: "100%"
      max_failures: "100%"
      on_failure: continue
      health: none
      steps: [{name: act, action: external.agent.replicante.io/act, timeout: 3s, args: {seconds: "${params.seconds}"}}]
`

// field is an installation, and what its agents' commands write down when they start.
type field struct {
	*rig.Rig
	t       *testing.T
	plane   *client.Client // of all replicas
	history string
}

// newField starts an installation in which the playbooks are applied and all nodes are known. It ends with the test.
func newField(t *testing.T, config rig.Config) *field {
	t.Helper()
	config.Dir, config.Programs, config.LeaseTTL = t.TempDir(), programs(t), lease
	if config.Mongods > 0 {
		config.Mongod = testenv.Mongod(t)
	}
	f := &field{t: t, history: filepath.Join(config.Dir, "history")}
	config.AgentYAML = func(string) string {
		return fmt.Sprintf(`actions: {act: {command: [/bin/sh, -c, %q], timeout: 60s}}`,
			rig.RecordStart(f.history)+`exec sleep "$REPLICANTE_ARG_SECONDS"`)
	}
	var err error
	if f.Rig, err = rig.New(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		f.End()
		if t.Failed() {
			f.keepLogs()
		}
	})
	f.plane = f.asking(f.Replicas...)
	if _, err := f.plane.Apply(t.Context(), []client.File{{Name: "books.yaml", Data: []byte(books)}}); err != nil {
		t.Fatal(err)
	}
	f.until("the nodes are known", time.Minute, func() bool {
		nodes, err := f.plane.Nodes(t.Context(), f.Cluster)
		return err == nil && len(nodes) == len(f.Nodes)
	})
	return f
}

// keepLogs copies what the programs said to where the next run of the tests does not remove it, where that is asked for.
func (f *field) keepLogs() {
	keep := os.Getenv("KEEP_LOGS")
	if keep == "" {
		return
	}
	logs, _ := filepath.Glob(filepath.Join(f.Dir, "*.log"))
	for _, log := range append(logs, f.history) {
		if text, err := os.ReadFile(log); err == nil {
			_ = os.WriteFile(filepath.Join(keep, f.t.Name()+"-"+filepath.Base(log)), text, 0o600)
		}
	}
}

// with is the field, for a subtest.
func (f *field) with(t *testing.T) *field {
	sub := *f
	sub.t = t
	return &sub
}

func (f *field) asking(replicas ...*rig.Member) *client.Client {
	f.t.Helper()
	var servers []string
	for _, m := range replicas {
		servers = append(servers, m.URL)
	}
	plane, err := client.New(client.Config{Servers: servers, Patience: time.Minute})
	f.must(err)
	return plane
}

// until waits for what does not take long.
func (f *field) until(what string, within time.Duration, holds func() bool) {
	f.t.Helper()
	for deadline := time.Now().Add(within); !holds(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			f.t.Fatalf("it does not come about within %s that %s", within, what)
		}
		if f.t.Context().Err() != nil {
			f.t.Fatal(f.t.Context().Err())
		}
	}
}

func (f *field) must(err error) {
	f.t.Helper()
	if err != nil {
		f.t.Fatal(err)
	}
}

// leader waits for one, other than those.
func (f *field) leader(not ...*rig.Member) *rig.Member {
	f.t.Helper()
	var found *rig.Member
	f.until("another replica leads", 30*time.Second, func() bool {
		for _, m := range f.Replicas {
			if !slices.Contains(not, m) && leading(m) {
				found = m
				return true
			}
		}
		return false
	})
	return found
}

// others are the replicas besides one.
func (f *field) others(m *rig.Member) []*rig.Member {
	return slices.DeleteFunc(slices.Clone(f.Replicas), func(other *rig.Member) bool { return other == m })
}

// ask is what a replica answers at a path, within 5 s.
func ask(m *rig.Member, path string) (status int, body string) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, m.URL+path, nil)
	if err != nil {
		return 0, err.Error()
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, err.Error()
	}
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return 0, err.Error()
	}
	return answer.StatusCode, string(text)
}

func leading(m *rig.Member) bool {
	if !m.Running() || m.Frozen() {
		return false
	}
	var health struct{ Leading bool }
	status, body := ask(m, "/healthz")
	return status == http.StatusOK && json.Unmarshal([]byte(body), &health) == nil && health.Leading
}

// ready waits until a replica says that it can serve.
func (f *field) ready(members ...*rig.Member) {
	f.t.Helper()
	for _, m := range members {
		f.until(m.Name+" is ready", 30*time.Second, func() bool {
			status, _ := ask(m, "/readyz")
			return status == http.StatusOK
		})
	}
}

// misses waits until a living replica says that it misses something.
func (f *field) misses(m *rig.Member, part string) {
	f.t.Helper()
	f.until(m.Name+" misses "+part, 15*time.Second, func() bool {
		status, body := ask(m, "/readyz")
		return status == http.StatusServiceUnavailable && strings.Contains(body, part)
	})
	if status, body := ask(m, "/healthz"); status != http.StatusOK {
		f.t.Errorf("/healthz of %s answers %d: %s", m.Name, status, body)
	}
}

// start starts a run whose actions last so long.
func (f *field) start(book string, lasting time.Duration) record.Run {
	f.t.Helper()
	run, err := f.plane.Start(f.t.Context(), record.RunRequest{Playbook: book, Cluster: f.Cluster,
		Params: map[string]any{"seconds": fmt.Sprintf("%.2f", lasting.Seconds())}})
	f.must(err)
	return run
}

func (f *field) run(id string) record.Run {
	f.t.Helper()
	run, err := f.plane.Run(f.t.Context(), id)
	f.must(err)
	return run
}

func (f *field) records(id string) []record.RunNode {
	f.t.Helper()
	nodes, err := f.plane.RunNodes(f.t.Context(), id, nil, 0)
	f.must(err)
	return nodes
}

// began are the starts of a run's actions, as the agents' commands wrote them down.
func (f *field) began(id string) []rig.Began {
	f.t.Helper()
	ids := map[string]bool{}
	for _, node := range f.Nodes {
		for attempt := 1; attempt <= 3; attempt++ {
			ids[record.ActionID(id, node, "work", record.PassMain, "act", attempt)] = true
		}
	}
	all, err := rig.History(f.history)
	f.must(err)
	var began []rig.Began
	for _, b := range all {
		if ids[b.ActionID] {
			began = append(began, b)
		}
	}
	return began
}

// hasBegun waits until this many actions of the run have started.
func (f *field) hasBegun(id string, n int) {
	f.t.Helper()
	f.until(fmt.Sprintf("%d actions have started", n), 30*time.Second, func() bool { return len(f.began(id)) >= n })
}

// done waits until the run is DONE and all its records are final, and finds each action started once.
func (f *field) done(id string, within time.Duration) record.Run {
	f.t.Helper()
	run := f.ended(id, within)
	if run.State != record.RunDone {
		f.t.Errorf("the run ended %s: %+v", run.State, run.Error)
	}
	if began := f.began(id); len(began) != len(f.Nodes) {
		f.t.Errorf("%d actions were started on %d nodes", len(began), len(f.Nodes))
	}
	return run
}

// ended waits until the run has ended and all its records are final, and finds no action that was started twice, and
// none that is DONE without having been started.
func (f *field) ended(id string, within time.Duration) record.Run {
	f.t.Helper()
	var run record.Run
	deadline := time.Now().Add(within)
	for run.FinishTS == nil || !run.Stamped {
		if time.Now().After(deadline) {
			f.t.Fatalf("run %s has not ended after %s: it is %s, %v, and waits for %q", id, within, run.State, run.Counts, run.WaitsFor)
		}
		ctx, cancel := context.WithDeadline(f.t.Context(), deadline.Add(time.Second))
		read, err := f.plane.Run(ctx, id)
		cancel()
		if err == nil {
			run = read
		}
		time.Sleep(20 * time.Millisecond)
	}
	times := map[string]int{}
	for _, b := range f.began(id) {
		times[b.ActionID]++
	}
	for _, n := range f.records(id) {
		if !n.State.Final() || n.FinishTS == nil || !n.FinishTS.Equal(*run.FinishTS) {
			f.t.Errorf("the record of %s is %s and finished at %v, the run at %s", n.Node, n.State, n.FinishTS, run.FinishTS)
		}
		for _, a := range n.Actions {
			if a.State.InFlight() || times[a.ID] > 1 || a.State == record.ActionDone && times[a.ID] != 1 {
				f.t.Errorf("action %s of %s is %s and was started %d times", a.ID, n.Node, a.State, times[a.ID])
			}
			delete(times, a.ID)
		}
	}
	for action, n := range times {
		f.t.Errorf("action %s, of which there is no record, was started %d times", action, n)
	}
	return run
}

// says waits until a program has written this into its log since it had this many bytes.
func (f *field) says(m *rig.Member, since int, text string, within time.Duration) {
	f.t.Helper()
	f.until(fmt.Sprintf("%s says %q", m.Name, text), within, func() bool { return strings.Contains(f.log(m)[since:], text) })
}

func (f *field) log(m *rig.Member) string {
	f.t.Helper()
	text, err := os.ReadFile(filepath.Join(f.Dir, m.Name+".log"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		f.t.Fatal(err)
	}
	return string(text)
}
